//! The iSCSI target measured (the first three rows of design section 5): against a floor that moves the same bytes over TCP
//! and a file without any protocol, and against tgt, all under one lean initiator.
//!
//! ```text
//!   generator (this process, one thread) ── TCP on loopback ──┬─ serve ours    pool in a file      each in a process
//!     sessions, slots, pre-encoded PDUs                       ├─ serve floor   a file              of its own
//!                                                             └─ tgtd          a file
//! ```
//! Each row alternates its contenders in one run on one machine and prints medians, ratios, the goal beside each and
//! whether it is met. Nothing is asserted but that data is right. docs/benchmarks.md says what each figure means.

#![forbid(unsafe_code)]

mod contents;
mod floor;
mod generator;
mod iscsi;
mod lab;
mod login;
mod placement;
mod rows;
mod serve;
mod session;
mod wire;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use generator::{Address, Generator, Limit, Protocol, Work};
use serve::die_with_parent;
use session::{Load, Unseen};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use umbra_bench_common::{
    places::Order,
    report::{Report, tell},
};
use umbra_target::Backend;
use wire::Way;

/// Measures the iSCSI target.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// Rows to run, by number; all without any.
    rows: Vec<u8>,
    /// Fewer and shorter rounds: to see that everything works, not to quote.
    #[arg(long)]
    quick: bool,
    /// An object for each line instead of a table.
    #[arg(long)]
    json: bool,
    /// Where to make the folder for pools and files; default: /dev/shm, else the temporary folder.
    #[arg(long)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Other>,
}

/// What else it can do.
#[derive(Debug, Subcommand)]
enum Other {
    /// Puts one load to a server that runs already, for a profiler to watch.
    Drive(Drive),
    /// Serves until standard input ends.
    #[command(hide = true, subcommand)]
    Serve(Serve),
    /// Becomes a program that dies with its parent.
    #[command(hide = true)]
    Become {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Drive {
    /// Where it listens.
    socket: SocketAddr,
    /// What it speaks.
    #[arg(long, value_enum, default_value = "iscsi")]
    protocol: Protocol,
    /// Reading or writing.
    #[arg(long, value_enum, default_value = "read")]
    way: Way,
    /// Bytes of a request; from 64 KiB on they follow each other in sequence.
    #[arg(long, default_value_t = 4096)]
    len: usize,
    /// Requests of each session at a time.
    #[arg(long, default_value_t = 32)]
    depth: usize,
    /// Sessions.
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

#[derive(Debug, Subcommand)]
enum Serve {
    /// Our target.
    Ours {
        /// For the pool; empty.
        folder: PathBuf,
        /// Of the LUN.
        bytes: u64,
        /// What carries its I/O.
        #[arg(long, default_value = "auto")]
        backend: Backend,
        /// Its threads.
        #[arg(long, default_value_t = 2)]
        shards: usize,
    },
    /// The floor.
    Floor {
        /// To be made.
        file: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.command {
        None => measure(&args),
        Some(Other::Drive(drive)) => drive.run(),
        Some(Other::Become { words }) => serve::become_program(&words),
        Some(Other::Serve(serve)) => {
            die_with_parent()?;
            match serve {
                Serve::Ours { folder, bytes, backend, shards } => {
                    serve::serve_ours(&folder, bytes, shards, backend)
                }
                Serve::Floor { file, bytes } => serve::serve_floor(&file, bytes),
            }
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    let known = rows::ROWS.iter().map(|row| row.number).collect::<Vec<_>>();
    for row in &args.rows {
        ensure!(known.contains(row), "there is no row {row}; there are: {known:?}");
    }
    let dir = args.dir.clone().unwrap_or_else(usual_dir);
    let lab = lab::Lab::new(&dir, args.quick)?;
    let mut report = Report::new(args.json);
    for row in rows::ROWS.iter().filter(|row| args.rows.is_empty() || args.rows.contains(&row.number)) {
        tell(&format!("row {}: {}", row.number, row.name));
        (row.run)(&lab, &mut report).with_context(|| format!("row {}: {}", row.number, row.name))?;
    }
    report.end();
    Ok(())
}

impl Drive {
    fn run(self) -> Result<()> {
        let Drive { socket, protocol, way, len, depth, sessions, seconds } = self;
        let order = if len < 64 << 10 { Order::Random } else { Order::Sequential };
        let work = Work { load: Load { way, len, depth, salt: 0 }, sessions, order, span: lab::BYTES };
        let mut generator = Generator::open(Address { protocol, socket }, work)?;
        let done = generator.run(Limit::Time(Duration::from_secs(seconds)), &mut Unseen)?;
        tell(&format!("{:.0} IO/s", done.count as f64 / done.time.as_secs_f64()));
        Ok(())
    }
}

fn usual_dir() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
