//! One worker at a time, one piece of work for all who wait: commits and flushes of the data.
//!
//! Picture: runs are numbered from 1. Whoever needs run N done either finds it done, waits for the run under way, or
//! becomes the worker of the next. What always holds: runs begin and complete in order, one at a time; after a failure
//! nothing runs any more, and everybody gets that failure.

use crate::hold::lock;
use std::sync::{Arc, Condvar, Mutex};
use umbra_base::{Error, Result};

/// Numbered runs of some work.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    begun: u64,
    completed: u64,
    /// The last run whose follow-up is done, too.
    followed: u64,
    running: bool,
    failed: Option<Arc<Error>>,
}

impl Turns {
    /// Runs up to `completed` count as done.
    pub(crate) fn new(completed: u64) -> Self {
        let state = State { begun: completed, completed, followed: completed, running: false, failed: None };
        Turns { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The last run that has begun.
    pub(crate) fn begun(&self) -> u64 {
        lock(&self.state).begun
    }

    /// Returns when run `want`, which is done, has been followed up as well, or when something failed.
    pub(crate) fn follow_up(&self, want: u64) {
        let mut state = lock(&self.state);
        while state.followed < want && state.failed.is_none() {
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Returns when run `want` is done, and which is the last done. Runs `work` as often as needed; `after` follows a
    /// good run before the next may begin, and nobody waits for it.
    pub(crate) fn reach<T>(&self, want: u64, work: impl Fn() -> Result<T>, after: impl Fn(T)) -> Result<u64> {
        let mut state = lock(&self.state);
        loop {
            if state.completed >= want {
                return Ok(state.completed);
            }
            if let Some(failed) = &state.failed {
                return Err(again(failed));
            }
            if state.running {
                state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
                continue;
            }
            state.running = true;
            state.begun += 1;
            drop(state);
            let result = work();
            state = lock(&self.state);
            match result {
                Err(error) => state.failed = Some(Arc::new(error)),
                Ok(done) => {
                    state.completed = state.begun;
                    self.changed.notify_all();
                    drop(state);
                    after(done);
                    state = lock(&self.state);
                    state.followed = state.completed;
                }
            }
            state.running = false;
            self.changed.notify_all();
        }
    }
}

/// The same failure for one more who waited for it.
fn again(error: &Arc<Error>) -> Error {
    let copy = Error::new(error.code(), error.chain());
    match error.hint_text() {
        Some(hint) => copy.hint(hint),
        None => copy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use umbra_base::ErrorCode;

    #[test]
    fn one_run_serves_all_who_wait_for_it() {
        let (turns, runs) = (Turns::new(0), AtomicU64::new(0));
        let work = || {
            runs.fetch_add(1, SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(20));
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| turns.reach(1, work, drop).unwrap());
            }
        });
        assert_eq!((runs.load(SeqCst), turns.begun()), (1, 1));
    }

    #[test]
    fn a_failure_ends_all_runs() {
        let turns = Turns::new(3);
        assert_eq!(turns.reach(3, || -> Result<()> { unreachable!() }, drop).unwrap(), 3);
        let fail = || -> Result<()> { Err(Error::new(ErrorCode::Io, "disk on fire")) };
        assert_eq!(turns.reach(4, fail, drop).unwrap_err().code(), ErrorCode::Io);
        assert!(turns.reach(4, || Ok(()), drop).is_err());
        assert_eq!(lock(&turns.state).completed, 3);
    }
}
