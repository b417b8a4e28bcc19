//! Runs programs: to their end with a limit, or in the background with a log.
//!
//! What always holds: a program that is waited for is killed when the wait is given up; none gets the terminal's
//! Ctrl-C (each is a process group of its own), so that only the demo decides who ends when.

use super::{
    people::User,
    scene::Scene,
    trouble::{Told, Trouble, demand, doing},
};
use std::{ffi::OsStr, fs::OpenOptions, path::Path, process::Stdio, time::Duration};
use tokio::process::{Child, Command};

/// Longest time that a program is waited for.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at something that is waited for.
const TICK: Duration = Duration::from_millis(10);

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub line: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Demands success; gives what it said.
    pub fn ok(self) -> Told<String> {
        if self.code == Some(0) { Ok(self.stdout) } else { Err(self.trouble()) }
    }

    /// How it ended, with all that it said.
    pub fn trouble(&self) -> Trouble {
        let code = self.code.map_or("a signal".to_owned(), |code| format!("status {code}"));
        let said = [self.stdout.trim(), self.stderr.trim()].join("\n");
        Trouble::new(format!("`{}` ended with {code}: {}", self.line, said.trim()))
    }
}

impl Scene {
    /// `program` with the mark of this run.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env(super::scene::MARK, &self.mark)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .process_group(0);
        command.current_dir(&self.folder);
        command
    }

    /// The same, as another user.
    pub fn command_as(&self, user: &User, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        command.uid(user.uid).gid(user.gid).env("HOME", "/nonexistent");
        command
    }

    /// Starts a program that goes on in the background, with its output in the log `name`.
    pub fn background(&self, mut command: Command, name: &str) -> Told<Child> {
        let path = self.log(name);
        let open = || OpenOptions::new().create(true).append(true).open(&path);
        let (out, err) =
            (doing(format!("open {name}.log"), open())?, doing(format!("open {name}.log"), open())?);
        let line = line(&command);
        doing(format!("start {line}"), command.stdout(out).stderr(err).spawn())
    }
}

/// Runs a program to its end.
pub async fn run(command: &mut Command) -> Told<Ran> {
    let line = line(command);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let child = doing(format!("start {line}"), child)?;
    let Ok(output) = tokio::time::timeout(LIMIT, child.wait_with_output()).await else {
        return Err(Trouble::new(format!("`{line}` did not end within {} s", LIMIT.as_secs())));
    };
    let output = doing(format!("run {line}"), output)?;
    Ok(Ran {
        line,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Looks until `done`, at most `limit`; a background program that ends meanwhile ends the wait.
pub async fn until(
    what: &str,
    limit: Duration,
    mut child: Option<&mut Child>,
    mut done: impl AsyncFnMut() -> bool,
) -> Told<()> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        if done().await {
            return Ok(());
        }
        if let Some(Ok(Some(status))) = child.as_mut().map(|child| child.try_wait()) {
            return Err(Trouble::new(format!("{what}: the program ended with {status} instead")));
        }
        demand(tokio::time::Instant::now() < end, || format!("{what}: not within {} s", limit.as_secs()))?;
        tokio::time::sleep(TICK).await;
    }
}

/// The last lines of a log, for an error.
pub fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn line(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// A process id as rustix has it.
pub fn pid(id: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(id).ok()?)
}
