//! The thread that commits when nobody flushes, once in a while and when the log has grown, that tidies up, and that tells
//! the log of damage that others met where they must not write to it.

use crate::{
    Mode,
    core::{Asked, Core},
    hold::lock,
    limits,
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
    let mut more = false;
    loop {
        let mut asked = lock(&core.asked);
        if *asked == Asked::Nothing && !more {
            asked = core.wake.wait_timeout(asked, period).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        let is_over = *asked == Asked::End;
        *asked = if is_over { Asked::End } else { Asked::Nothing };
        drop(asked);
        core.tell_damage();
        if is_over {
            return;
        }
        // A failure has made the pool read-only and was logged there; only the first is news.
        more = core.mode() == Mode::ReadWrite
            && round(core).unwrap_or_else(|error| {
                tracing::debug!(error = error.chain(), "work in the background failed");
                false
            });
    }
}

/// One round: commits, drops a part of what was deleted, looks how much space is left, forgets what is gone. True if there is
/// more to drop.
fn round(core: &Core) -> Result<bool> {
    core.commit()?;
    let mut more = true;
    for _ in 0..limits::STEPS_PER_COMMIT {
        more = more && core.reap_some()?;
    }
    core.look_at_space();
    core.forget_gone();
    Ok(more)
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.core.ask(Asked::End);
        // A policy may have had the last handle of the store; the thread cannot wait for itself.
        let is_elsewhere = |thread: &JoinHandle<()>| thread.thread().id() != thread::current().id();
        if let Some(thread) = self.thread.take().filter(is_elsewhere) {
            // Its panic, if any, was printed by the thread itself.
            drop(thread.join());
        }
    }
}
