//! The thread that commits when nobody flushes: once in a while, and when the log has grown.

use crate::{
    Mode,
    core::{Asked, Core},
    hold::lock,
    params::Background,
};
use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};
use umbra_base::{Error, Result};

/// The running thread; ends when dropped, without a last commit.
#[derive(Debug)]
pub(crate) struct Committer {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(crate) fn start(core: &Arc<Core>, background: Background) -> Result<Option<Self>> {
        let Background::Every(period) = background else { return Ok(None) };
        let worker = core.clone();
        let thread =
            thread::Builder::new().name("pool-commit".to_owned()).spawn(move || run(&worker, period));
        let thread = thread.map_err(|e| Error::io("start the commit thread", e))?;
        Ok(Some(Committer { core: core.clone(), thread: Some(thread) }))
    }
}

fn run(core: &Core, period: Duration) {
    loop {
        let mut asked = lock(&core.asked);
        if *asked == Asked::Nothing {
            asked = core.wake.wait_timeout(asked, period).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        if *asked == Asked::End {
            return;
        }
        *asked = Asked::Nothing;
        drop(asked);
        // A failure has made the pool read-only and was logged there; only the first is news.
        if core.mode() == Mode::ReadWrite
            && let Err(error) = core.commit()
        {
            tracing::debug!(error = error.chain(), "commit in the background failed");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.core.ask(Asked::End);
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was printed by the thread itself.
            drop(thread.join());
        }
    }
}
