//! Waiting until nobody can still touch what was given up.
//!
//! Picture: I/O looks a block up and then reads or writes it, without a lock in between. If the block is given up
//! meanwhile, it must not be handed to another device while that I/O is under way: stale data of one LUN would show in
//! another. So each I/O counts itself into the current epoch; [`Epochs::grace`] begins the next one and waits until the
//! old one's count is zero.
//!
//! What always holds: whoever waits for grace is in no epoch himself, and nobody in an epoch waits for him.

use crate::{
    hold::lock,
    stripes::{Stripe, Stripes, mine},
};
use std::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

/// Counts of the I/O under way, by epoch.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    current: AtomicUsize,
    inside: [Stripes; 2],
    /// Held by the one who waits for an epoch to end.
    graces: Mutex<()>,
    waiting: Mutex<()>,
    left: Condvar,
}

/// Where an I/O under way is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    epoch: u8,
    stripe: Stripe,
}

/// I/O under way; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Io<'a> {
    epochs: &'a Epochs,
    entry: Entry,
}

impl Drop for Io<'_> {
    fn drop(&mut self) {
        self.epochs.leave(self.entry);
    }
}

impl Epochs {
    pub(crate) fn enter(&self) -> Io<'_> {
        Io { epochs: self, entry: self.begin() }
    }

    /// Enters without a guard; [`Epochs::leave`] must follow.
    pub(crate) fn begin(&self) -> Entry {
        let stripe = mine();
        loop {
            let epoch = self.current.load(SeqCst) & 1;
            let entry = Entry { epoch: epoch as u8, stripe };
            self.inside[epoch].add(stripe);
            // If the epoch ended in between, its end may have seen a count of zero.
            if self.current.load(SeqCst) & 1 == epoch {
                return entry;
            }
            self.leave(entry);
        }
    }

    pub(crate) fn leave(&self, entry: Entry) {
        let epoch = usize::from(entry.epoch);
        self.inside[epoch].sub(entry.stripe);
        if self.current.load(SeqCst) & 1 != epoch {
            drop(lock(&self.waiting));
            self.left.notify_all();
        }
    }

    /// Returns when all I/O that was under way at the call is done. Never called by I/O that has entered.
    pub(crate) fn grace(&self) {
        let _turn = lock(&self.graces);
        let old = self.current.fetch_add(1, SeqCst) & 1;
        let mut waiting = lock(&self.waiting);
        while self.inside[old].sum() != 0 {
            // Whoever leaves wakes us; the limit is for the sum's sake, which is not one moment of all stripes.
            let limit = Duration::from_millis(10);
            waiting =
                self.left.wait_timeout(waiting, limit).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
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
