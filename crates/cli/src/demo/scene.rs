//! Where the story plays: one folder, one mark on everything that is started, the addresses of array and service.

use super::{
    preflight::Tools,
    process::{Ran, run},
    record::Step,
    trouble::{Told, Trouble, demand, doing},
};
use serde_json::Value;
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, Result};

/// The environment variable that marks every process of a demo; its value names the run.
pub const MARK: &str = "UMBRA_DEMO";
/// This host's name in the array.
pub const HOST: &str = "demo-host";
/// This host's iSCSI name.
pub const INITIATOR: &str = "iqn.2026-11.io.umbra:host:demo";
/// Longest path of a unix socket (sun_path, less its NUL).
const SOCKET_PATH: usize = 107;
/// Longest time for a program to stop when asked to.
const STOP: std::time::Duration = std::time::Duration::from_secs(60);

/// The stage.
#[derive(Debug)]
pub struct Scene {
    pub folder: PathBuf,
    pub mark: String,
    pub tools: Tools,
    /// This binary.
    program: PathBuf,
}

impl Scene {
    /// A new folder under $TMPDIR.
    pub fn new(tools: Tools) -> Result<Self> {
        let program =
            std::env::current_exe().map_err(|source| Error::io("find the path of this program", source))?;
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let parent = std::env::temp_dir();
        let parent = parent
            .canonicalize()
            .map_err(|source| Error::io(format!("open {}", parent.display()), source))?;
        let folder = parent.join(format!("umbra-{}", &mark[..8]));
        let scene = Scene { folder, mark, tools, program };
        scene.check_lengths()?;
        // Databases run as another user below it: they must be able to walk through.
        DirBuilder::new()
            .mode(0o711)
            .create(&scene.folder)
            .map_err(|source| Error::io(format!("make {}", scene.folder.display()), source))?;
        Ok(scene)
    }

    fn check_lengths(&self) -> Result<()> {
        let longest = self.clone_of("data").join("sock/.s.PGSQL.5432.lock");
        if longest.as_os_str().len() <= SOCKET_PATH {
            return Ok(());
        }
        let text = format!("make unix sockets below {}: the path is too long", self.folder.display());
        Err(Error::new(ErrorCode::InvalidArgument, text).hint(format!(
            "set TMPDIR to a shorter folder: {SOCKET_PATH} bytes are all that a socket's path may have"
        )))
    }

    /// The mark as it stands in a process's environment.
    pub fn mark_line(&self) -> String {
        format!("{MARK}={}", self.mark)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn array_folder(&self) -> PathBuf {
        self.path("array")
    }

    /// Sockets and attachments: a tmpfs of the demo's own.
    pub fn runtime(&self) -> PathBuf {
        self.path("run")
    }

    pub fn config(&self) -> PathBuf {
        self.path("umbra.toml")
    }

    pub fn writers(&self) -> PathBuf {
        self.path("writers.d")
    }

    /// Where a volume's original is mounted.
    pub fn original(&self, volume: &str) -> PathBuf {
        self.path("live").join(volume)
    }

    /// Where its copy is exposed.
    pub fn exposed(&self, volume: &str) -> PathBuf {
        self.path("then").join(volume)
    }

    /// Where its copy is mounted after the break.
    pub fn clone_of(&self, volume: &str) -> PathBuf {
        self.path("clone").join(volume)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.path("log").join(format!("{name}.log"))
    }

    /// This binary with `args`, speaking to this demo's array and service.
    pub fn umbra_command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = self.command(&self.program);
        command.args(args).env("UMBRA_SOCKET", self.runtime().join("umbra.sock"));
        command.env("UMBRA_ARRAY", format!("unix:{}", self.array_folder().join("array.sock").display()));
        command
    }

    /// Runs `umbra ARGS --json` to success; what it printed.
    pub async fn umbra(&self, step: &mut Step, args: &[&str]) -> Told<Value> {
        let ran = self.umbra_ran(step, args).await?;
        if ran.code != Some(0) {
            return Err(ran.trouble());
        }
        serde_json::from_str(&ran.stdout).map_err(|source| {
            Trouble::new(format!("`{}` printed what is not JSON ({source}): {}", ran.line, ran.stdout.trim()))
        })
    }

    /// Runs `umbra ARGS --json`, however it ends.
    pub async fn umbra_ran(&self, step: &mut Step, args: &[&str]) -> Told<Ran> {
        let short = args.join(" ").replace(&format!("{}/", self.folder.display()), "");
        step.commands.push(format!("umbra {short}"));
        run(self.umbra_command(args).arg("--json")).await
    }

    pub fn make_folder(&self, path: &Path) -> Told<()> {
        doing(format!("make {}", path.display()), fs::create_dir_all(path))
    }

    pub fn write(&self, path: &Path, text: &str) -> Told<()> {
        doing(format!("write {}", path.display()), fs::write(path, text))
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    // Below a folder of ours; the part above was checked to be text by the preflight.
    path.to_str().unwrap_or_default()
}

/// The text at `pointer` of an answer.
pub fn field<'a>(value: &'a Value, pointer: &str) -> Told<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| Trouble::new(format!("no {pointer} in {value}")))
}

/// The list at `pointer` of an answer.
pub fn list<'a>(value: &'a Value, pointer: &str) -> Told<&'a [Value]> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.map(Vec::as_slice).ok_or_else(|| Trouble::new(format!("no list {pointer} in {value}")))
}

/// Ends a background program by a signal and waits until it has ended well.
pub async fn end(child: &mut tokio::process::Child, signal: rustix::process::Signal, what: &str) -> Told<()> {
    if let Some(pid) = child.id().and_then(super::process::pid) {
        doing(format!("signal {what}"), rustix::process::kill_process(pid, signal).map_err(Into::into))?;
    }
    let Ok(ended) = tokio::time::timeout(STOP, child.wait()).await else {
        return Err(Trouble::new(format!("{what} did not stop within {} s", STOP.as_secs())));
    };
    let status = doing(format!("wait for {what}"), ended)?;
    demand(status.success() || signal == rustix::process::Signal::KILL, || {
        format!("{what} stopped with {status}")
    })
}
