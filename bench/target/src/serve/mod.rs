//! The servers that are measured, each in a process of its own, so that the kernel counts its processor time.
//!
//! A server prints its address and serves until its standard input ends; the kernel kills it when the benchmark dies.

mod floor;
mod ours;
mod tgt;

pub use floor::serve as serve_floor;
pub use ours::serve as serve_ours;
pub use tgt::Tgt;

use crate::generator::{Address, Protocol};
use anyhow::{Context, Result};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

/// The name of every iSCSI target here.
pub const TARGET: &str = "iqn.2026-01.bench.umbra:target";

/// A server's process. Killed when dropped: what it leaves lies in a folder that goes.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it is.
    pub address: Address,
}

impl Server {
    /// Starts this program's own server with these arguments.
    pub fn start(protocol: Protocol, args: &[&str]) -> Result<Server> {
        let mut child =
            ourselves()?.arg("serve").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let told = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let socket = match (told, line.trim().parse::<SocketAddr>()) {
            (Some(Ok(_)), Ok(socket)) => Ok(socket),
            _ => Err(anyhow::anyhow!("serve {args:?} did not start")),
        };
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        // Also where it failed, so that it is waited for.
        let server =
            Server { child, address: Address { protocol, socket: *socket.as_ref().unwrap_or(&any) } };
        socket.map(|_| server)
    }

    /// Takes a child over that serves at `socket`.
    fn of(child: Child, protocol: Protocol, socket: SocketAddr) -> Server {
        Server { child, address: Address { protocol, socket } }
    }

    /// Processor time of all its threads, in seconds. Nothing is lost or counted late once it waits.
    pub fn processor_seconds(&self) -> Result<f64> {
        let pid = self.child.id();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).context("the server is gone")?;
        let nanoseconds = threads.filter_map(|thread| {
            let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Ok(nanoseconds.sum::<u64>() as f64 / 1e9)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// This program.
fn ourselves() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("find this program")?))
}

/// Makes the kernel kill this process with its parent.
pub fn die_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to die with the parent")
}

/// Becomes another program that dies with its parent.
pub fn become_program(words: &[String]) -> Result<()> {
    die_with_parent()?;
    let [program, args @ ..] = words else { anyhow::bail!("no program to become") };
    Err(Command::new(program).args(args).exec()).with_context(|| format!("start {program}"))
}

/// Says where we serve.
#[expect(clippy::print_stdout, reason = "the parent waits for it")]
fn announce(socket: SocketAddr) {
    println!("{socket}");
}

/// Returns when the parent has closed our standard input.
fn wait_for_end() {
    let _until_closed = std::io::stdin().read_to_end(&mut Vec::new());
}
