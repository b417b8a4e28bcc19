//! Locks on ranges of virtual blocks, for transitions only: a first write, a copy, an unmapping. Reads, and writes in
//! place that the cache knows of, never come here.

use crate::hold::lock;
use std::{
    ops::Range,
    sync::{Condvar, Mutex},
};

/// The locked ranges of one device: few at a time.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    locked: Mutex<Vec<Range<u64>>>,
    freed: Condvar,
}

/// A locked range.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    ranges: &'a Ranges,
    range: Range<u64>,
}

impl Ranges {
    /// Waits until nobody holds any part of `range`, then holds it. A caller holds at most one range.
    pub(crate) fn lock(&self, range: Range<u64>) -> Locked<'_> {
        let mut locked = lock(&self.locked);
        while locked.iter().any(|other| overlap(other, &range)) {
            locked = self.freed.wait(locked).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        locked.push(range.clone());
        Locked { ranges: self, range }
    }

    /// Holds `range` without a guard, if nobody holds any part of it; [`Ranges::unlock`] must follow.
    pub(crate) fn try_lock(&self, range: &Range<u64>) -> bool {
        let mut locked = lock(&self.locked);
        let free = !locked.iter().any(|other| overlap(other, range));
        if free {
            locked.push(range.clone());
        }
        free
    }

    /// Lets a held range go.
    pub(crate) fn unlock(&self, range: &Range<u64>) {
        let mut locked = lock(&self.locked);
        if let Some(at) = locked.iter().position(|held| held == range) {
            locked.swap_remove(at);
        }
        drop(locked);
        self.freed.notify_all();
    }

    /// Runs `work` while no transition begins or ends; `work` may ask which blocks are in one.
    pub(crate) fn while_steady(&self, work: impl FnOnce(&dyn Fn(u64) -> bool)) {
        let locked = lock(&self.locked);
        work(&|block| locked.iter().any(|range| range.contains(&block)));
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.ranges.unlock(&self.range);
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
