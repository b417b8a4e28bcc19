//! Waiting until nobody can still touch what was given up.
//!
//! Picture: I/O looks a block up and then reads or writes it, without a lock in between. If the block is given up
//! meanwhile, it must not be handed to another device while that I/O is under way: stale data of one LUN would show in
//! another. So each I/O counts itself into the current epoch; [`Epochs::grace`] begins the next one and waits until the
//! old one's count is zero.

use crate::hold::lock;
use std::sync::{
    Condvar, Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
};

/// Counts of the I/O under way, by epoch.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    current: AtomicUsize,
    inside: [AtomicU64; 2],
    waiting: Mutex<()>,
    left: Condvar,
}

/// I/O under way.
#[derive(Debug)]
pub(crate) struct Io<'a> {
    epochs: &'a Epochs,
    epoch: usize,
}

impl Drop for Io<'_> {
    fn drop(&mut self) {
        self.epochs.leave(self.epoch);
    }
}

impl Epochs {
    pub(crate) fn enter(&self) -> Io<'_> {
        loop {
            let epoch = self.current.load(SeqCst) & 1;
            self.inside[epoch].fetch_add(1, SeqCst);
            // If the epoch ended in between, its end may have seen a count of zero.
            if self.current.load(SeqCst) & 1 == epoch {
                return Io { epochs: self, epoch };
            }
            self.leave(epoch);
        }
    }

    fn leave(&self, epoch: usize) {
        let last = self.inside[epoch].fetch_sub(1, SeqCst) == 1;
        if last && self.current.load(SeqCst) & 1 != epoch {
            drop(lock(&self.waiting));
            self.left.notify_all();
        }
    }

    /// Returns when all I/O that was under way at the call is done. One caller at a time.
    pub(crate) fn grace(&self) {
        let old = self.current.fetch_add(1, SeqCst) & 1;
        let mut waiting = lock(&self.waiting);
        while self.inside[old].load(SeqCst) != 0 {
            waiting = self.left.wait(waiting).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread, time::Duration};

    #[test]
    fn grace_waits_for_io_under_way_and_not_for_later_io() {
        let epochs = Epochs::default();
        let first = epochs.enter();
        thread::scope(|scope| {
            let (done, finished) = mpsc::channel();
            let epochs = &epochs;
            scope.spawn(move || {
                epochs.grace();
                done.send(()).unwrap();
            });
            while epochs.current.load(SeqCst) == 0 {
                thread::yield_now();
            }
            let later = epochs.enter();
            assert!(finished.recv_timeout(Duration::from_millis(20)).is_err());
            drop(first);
            finished.recv_timeout(Duration::from_secs(10)).unwrap();
            drop(later);
        });
        epochs.grace();
    }
}
