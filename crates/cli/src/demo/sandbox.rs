//! The sandbox in which a clone is opened (W1): the clones stand at the original paths, nothing else is writable.

use super::{
    database::VOLUMES,
    people::User,
    process::pid,
    scene::{Scene, text},
    trouble::{Told, Trouble, demand, doing},
};
use rustix::process::{Signal, kill_process};
use std::time::Duration;
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
        args.extend(["--uid".to_owned(), user.uid.to_string(), "--gid".to_owned(), user.gid.to_string()]);
        args.push("--".to_owned());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.umbra_command(&args)
    }

    /// Asks the database in a sandbox to stop (PostgreSQL's fast shutdown), and waits until the sandbox is gone.
    pub async fn end_sandbox(&self, sandbox: &mut Child) -> Told<()> {
        let outer = sandbox.id().and_then(pid).ok_or_else(|| Trouble::new("the sandbox ended early"))?;
        doing("stop the second PostgreSQL", kill_process(outer, Signal::INT).map_err(Into::into))?;
        let Ok(ended) = tokio::time::timeout(STOP, sandbox.wait()).await else {
            return Err(Trouble::new("the second PostgreSQL did not stop"));
        };
        let status = doing("wait for the sandbox", ended)?;
        demand(status.success(), || format!("the second PostgreSQL stopped with {status}"))
    }
}
