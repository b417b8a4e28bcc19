//! The sandbox in which a clone is opened (W1): the clones stand at the original paths, nothing else is writable.

use super::{
    database::VOLUMES,
    found,
    people::User,
    process::pid,
    scene::{Scene, text},
    trouble::{Told, Trouble, doing},
};
use rustix::process::{Signal, kill_process};
use std::{fs, time::Duration};
use tokio::process::{Child, Command};

/// Longest time for a database in a sandbox to stop.
const STOP: Duration = Duration::from_secs(60);

impl Scene {
    /// A command inside the sandbox, as `user`; the program and its arguments are to be added.
    pub fn sandbox(&self, user: &User) -> Command {
        let mut args = vec!["sandbox".to_owned()];
        for volume in VOLUMES {
            let (clone, original) = (self.clone_of(volume.name), self.original(volume.name));
            args.extend(["--bind".to_owned(), format!("{}={}", text(&clone), text(&original))]);
        }
        args.extend(["--".to_owned(), "setpriv".to_owned()]);
        args.extend([
            format!("--reuid={}", user.uid),
            format!("--regid={}", user.gid),
            "--clear-groups".to_owned(),
        ]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.umbra_command(&args)
    }

    /// Asks the database in a sandbox to stop (PostgreSQL's fast shutdown), and waits until the sandbox is gone.
    pub async fn end_sandbox(&self, sandbox: &mut Child) -> Told<()> {
        let root = sandbox.id().ok_or_else(|| Trouble::new("the sandbox ended early"))?;
        let server = found::processes(self).into_iter().find(|process| {
            fs::read_to_string(format!("/proc/{}/comm", process.pid))
                .is_ok_and(|comm| comm.trim() == "postgres")
                && found::descends(process.pid, root)
                && !process.words.first().is_some_and(|word| word.starts_with("postgres:"))
        });
        let server = server.and_then(|process| pid(process.pid));
        let server = server.ok_or_else(|| Trouble::new("no PostgreSQL is in the sandbox"))?;
        doing("stop the second PostgreSQL", kill_process(server, Signal::INT).map_err(Into::into))?;
        let Ok(ended) = tokio::time::timeout(STOP, sandbox.wait()).await else {
            return Err(Trouble::new("the second PostgreSQL did not stop"));
        };
        doing("wait for the sandbox", ended).map(drop)
    }
}
