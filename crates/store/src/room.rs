//! Where a full pool finds room (A5, A7): in what was given up but not committed, in free blocks that kept their space in
//! a full backing, in devices that are being deleted, in copies that the array can do without, and in time.
//!
//! Picture: a change that finds no room asks, in this order, for a commit that frees something, for the space of free blocks, for a
//! piece of a deleted device, for something expendable; each time something came of it, it tries again. When nothing is left to ask for,
//! it waits for as long as the pool queues writes, woken by every release and extension, and fails at last. It holds
//! neither gate nor range meanwhile, so cuts, flushes and other devices go on.
//!
//! What always holds: the policy is called by one thread at a time, without any lock that another call of the store
//! needs; what it calls in turn (deletions) never asks the policy.

use crate::{
    Mode, Usage,
    context::during,
    core::Core,
    hold::{lock, now},
    limits,
};
use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use umbra_base::{Deadline, Error, ErrorCode, Result};

/// How much is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Enough.
    Plenty,
    /// Less than the first threshold: a person should know.
    Low,
    /// Less than the second: what can be done without goes.
    Critical,
}

/// How far a search for room goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// To what is given up already.
    GivenUp,
    /// To what the policy can do without, and to what time may bring.
    Everything,
}

/// What the array decides about space. Calls come one at a time.
pub trait SpacePolicy: Send + Sync {
    /// The level is another one now.
    fn level_changed(&self, level: Level, usage: &Usage);

    /// Gives up the most expendable thing, by deleting its devices. False: there is nothing.
    fn give_something_up(&self) -> bool;
}

/// Percents of the data blocks in use at which a level begins, and how long a full pool queues writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// [`Level::Low`] begins.
    pub low_percent: u8,
    /// [`Level::Critical`] begins.
    pub critical_percent: u8,
    /// How long a write waits for room before it fails.
    pub full_wait: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { low_percent: 80, critical_percent: 95, full_wait: limits::FULL_WAIT }
    }
}

impl Thresholds {
    /// The level with that much in use.
    pub fn level(&self, used: u64, total: u64) -> Level {
        let at = |percent: u8| u128::from(used) * 100 >= u128::from(total) * u128::from(percent);
        match (at(self.critical_percent), at(self.low_percent)) {
            (true, _) => Level::Critical,
            (false, true) => Level::Low,
            (false, false) => Level::Plenty,
        }
    }
}

/// What the search for room shares.
pub(crate) struct Room {
    thresholds: Thresholds,
    policy: Mutex<Option<Arc<dyn SpacePolicy>>>,
    asking: Mutex<Level>,
    /// Held by the one who empties free blocks.
    emptying: Mutex<()>,
    changed: Mutex<()>,
    came: Condvar,
    /// Nobody waits any more.
    ending: AtomicBool,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("thresholds", &self.thresholds).finish_non_exhaustive()
    }
}

impl Room {
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        let (policy, asking) = (Mutex::new(None), Mutex::new(Level::Plenty));
        Room {
            thresholds,
            policy,
            asking,
            emptying: Mutex::new(()),
            changed: Mutex::new(()),
            came: Condvar::new(),
            ending: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_policy(&self, policy: Arc<dyn SpacePolicy>) {
        *lock(&self.policy) = Some(policy);
    }

    /// Room came, or the end of all hope: those who wait look again.
    pub(crate) fn wake(&self) {
        drop(lock(&self.changed));
        self.came.notify_all();
    }

    /// Whoever waits for room fails now, and nobody waits from here on: the store will be closed.
    pub(crate) fn end(&self) {
        self.ending.store(true, SeqCst);
        self.wake();
    }

    fn policy(&self) -> Option<Arc<dyn SpacePolicy>> {
        lock(&self.policy).clone()
    }
}

impl Core {
    /// Runs `change`; where it finds no room, again each time that some was found. Many may look for room at once, and
    /// what one of them finds another may take: hence more than one round.
    pub(crate) fn with_room<T, E>(
        &self,
        search: Search,
        change: impl Fn() -> Result<T, E>,
        full: impl Fn(&E) -> bool,
    ) -> Result<Result<T, E>> {
        let (mut rounds, mut until) = (0, None);
        loop {
            let before = self.releases.load(SeqCst);
            let error = match change() {
                Err(error) if full(&error) => error,
                result => return Ok(result),
            };
            rounds += 1;
            let until = *until.get_or_insert_with(|| now() + self.room.thresholds.full_wait);
            let found = self.find_given_up(before)?
                || search == Search::Everything
                    && (self.ask_policy(before)? || self.wait_for_release(before, until));
            // Every round that fails had its room taken by somebody else; that must end, too.
            if !found || rounds >= limits::ROUNDS_FOR_ROOM && until <= now() {
                return Ok(Err(error));
            }
        }
    }

    /// Makes a change of the engine, again where what was given up makes room for it. Returns the transaction that has it.
    pub(crate) fn change(&self, what: impl fmt::Display, change: impl Fn() -> Result<u64>) -> Result<u64> {
        self.check_writable()?;
        let full = |error: &Error| error.code() == ErrorCode::InsufficientStorage;
        self.with_room(Search::GivenUp, change, full)?.map_err(|error| during(what, error))
    }

    /// Whether anything was released since `before`, by somebody or by what is done here.
    fn find_given_up(&self, before: u64) -> Result<bool> {
        self.commit_for_room()?;
        if self.releases.load(SeqCst) != before || self.empty_free_blocks(before) {
            return Ok(true);
        }
        let reaped = self.reap_some()?;
        if reaped {
            self.commit_for_room()?;
        }
        Ok(reaped)
    }

    /// Gives the space of free blocks back to a backing that has no more, unless somebody found room before. The blocks are
    /// out of reach meanwhile, a bounded number of them.
    fn empty_free_blocks(&self, before: u64) -> bool {
        let _emptying = lock(&self.room.emptying);
        if self.releases.load(SeqCst) != before {
            return true;
        }
        if !self.provision.was_full() {
            return false;
        }
        let (total, mut any) = (self.pool().data_fill().total, false);
        for first in (0..total).step_by(limits::BLOCKS_EMPTIED as usize) {
            // After a failure nothing is changed, and after a clean stop they may be another's (A4).
            if !self.is_open() {
                break;
            }
            let runs = self.pool().set_aside(first..total.min(first + limits::BLOCKS_EMPTIED));
            any |= self.provision.punch_rest(&*self.backing.data, &runs);
            self.pool().put_back(&runs);
        }
        if any {
            self.room_came();
        }
        any
    }

    /// Returns when nobody empties free blocks of a pool that was closed before.
    pub(crate) fn end_emptying(&self) {
        drop(lock(&self.room.emptying));
    }

    /// Has the policy give something up, unless the one who asked before found enough.
    fn ask_policy(&self, before: u64) -> Result<bool> {
        let _asking = lock(&self.room.asking);
        if self.releases.load(SeqCst) != before {
            return Ok(true);
        }
        let given_up = self.room.policy().is_some_and(|policy| policy.give_something_up());
        if given_up {
            self.commit_for_room()?;
        }
        Ok(given_up)
    }

    /// Commits if that frees anything, else waits for the commit under way; returns when what it freed can be used.
    fn commit_for_room(&self) -> Result<()> {
        let begun = self.commits.begun();
        let done = if self.pool().has_freed() { self.commit_anyway()? } else { begun };
        self.commits.follow_up(done);
        Ok(())
    }

    /// Sleeps until something is released after `before`; false when the time is up, or nothing will come any more.
    fn wait_for_release(&self, before: u64, until: Deadline) -> bool {
        let mut changed = lock(&self.room.changed);
        loop {
            let left = until.since(now());
            if self.releases.load(SeqCst) != before {
                return true;
            }
            if left.is_zero() || self.mode() != Mode::ReadWrite || self.room.ending.load(SeqCst) {
                return false;
            }
            changed = self.room.came.wait_timeout(changed, left).unwrap_or_else(|p| p.into_inner()).0;
        }
    }

    /// Looks how much is left: tells the policy of a new level, and gives things up while it is critical.
    pub(crate) fn look_at_space(&self) {
        let Some(policy) = self.room.policy() else { return };
        let mut known = lock(&self.room.asking);
        for _ in 0..limits::GIVEN_UP_AT_ONCE {
            let usage = self.usage();
            // What is kept for somebody is in use for everybody else.
            let level = self.room.thresholds.level(usage.data_used + usage.data_owed, usage.data_total);
            if level != *known {
                *known = level;
                policy.level_changed(level, &usage);
            }
            if level != Level::Critical || self.mode() != Mode::ReadWrite || !policy.give_something_up() {
                return;
            }
            let freed = self.reap_all().and_then(|()| self.commit_for_room());
            if let Err(error) = freed {
                return tracing::debug!(error = error.chain(), "no room was made");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_begin_at_their_percents() {
        let thresholds = Thresholds::default();
        let levels = [79, 80, 94, 95, 100].map(|used| thresholds.level(used, 100));
        assert_eq!(levels, [Level::Plenty, Level::Low, Level::Low, Level::Critical, Level::Critical]);
        assert_eq!(thresholds.level(u64::MAX / 100 * 96, u64::MAX), Level::Critical);
    }
}
