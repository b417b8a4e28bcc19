//! Debian's tgt, as its users run it: a file behind the default backing store, the write cache on; long segments and no
//! R2T for the first burst granted, as ours grants them.

use super::{Server, TARGET, ourselves};
use crate::{contents::fill, generator::Protocol, iscsi::LUN};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// Its control socket, as it names it.
const SOCKET_VARIABLE: &str = "TGT_IPC_SOCKET";
/// Times that it is asked whether it is there, and the pause between them.
const TRIES: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

/// What it grants at login.
const GRANTS: [(&str, &str); 6] = [
    ("MaxRecvDataSegmentLength", "262144"),
    ("MaxXmitDataSegmentLength", "262144"),
    ("MaxBurstLength", "1048576"),
    ("FirstBurstLength", "65536"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
];

/// How to reach a tgtd.
#[derive(Debug)]
pub struct Tgt {
    socket: PathBuf,
}

impl Tgt {
    /// Whether it is installed.
    pub fn is_there() -> bool {
        ["tgtd", "tgtadm"].iter().all(|program| Command::new(program).arg("--version").output().is_ok())
    }

    /// Makes a file of `bytes` bytes in `folder`, all written, and has a tgtd of our own serve it.
    pub fn start(folder: &Path, bytes: u64) -> Result<Server> {
        let backing = folder.join("tgt.img");
        let file = File::create_new(&backing).context("make tgt's file")?;
        fill(bytes, |at, part| Ok(file.write_all_at(part, at)?))?;
        let (log, port) = (folder.join("tgtd.log"), free_port()?);
        let tgt = Tgt { socket: folder.join("tgtd") };
        let child = ourselves()?
            .args(["become", "tgtd", "-f", "-C", "1", "--iscsi", &format!("portal=127.0.0.1:{port}")])
            .env(SOCKET_VARIABLE, &tgt.socket)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .context("start tgtd")?;
        let socket = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Server::of(child, Protocol::Iscsi, socket);
        tgt.wait_for(&mut server)
            .and_then(|()| tgt.set_up(&backing))
            .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        Ok(server)
    }

    fn wait_for(&self, server: &mut Server) -> Result<()> {
        for _ in 0..TRIES {
            ensure!(server.is_alive(), "tgtd ended");
            if self.adm(&["--op", "show", "--mode", "sys"]).is_ok() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        bail!("tgtd does not answer")
    }

    fn set_up(&self, backing: &Path) -> Result<()> {
        let (lun, path) = (LUN.to_string(), backing.to_string_lossy());
        let target = ["--mode", "target", "--tid", "1"];
        let with = |rest: &[&str]| self.adm(&[&target[..], rest].concat());
        with(&["--op", "new", "-T", TARGET])?;
        self.adm(&["--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", &lun, "-b", &path])?;
        for (name, value) in GRANTS {
            with(&["--op", "update", "--name", name, "--value", value])?;
        }
        with(&["--op", "bind", "-I", "ALL"])
    }

    fn adm(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new("tgtadm");
        command.args(["-C", "1", "--lld", "iscsi"]).args(args).env(SOCKET_VARIABLE, &self.socket);
        let output = command.output().context("start tgtadm")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tgtadm {args:?}: {}: {errors}", output.status);
        Ok(())
    }
}

/// A port that nobody has at this moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
