//! The driver: carries out what the rules decide, on catalogue, pool and target.
//!
//! ```text
//!   change lock:  read -> decide (-> thin device made, durable) -> commit, mark hosts stale
//!                                                       |
//!                  presenting lock: take the stale hosts, fence, show --- then, and only then ---> reaper: delete
//! ```
//!
//! The order survives a crash between any two steps: a device is in the pool before the catalogue knows it (else an
//! orphan, collected at start), and out of the catalogue before it leaves the pool (else doomed, deleted at start).
//! Fences come after the commit: a crash between ends every session. Points in time for ROD tokens go without a commit
//! ([`instants`]).
//!
//! What always holds: nobody who has the change lock waits for a fence, or for a write of a host; so whoever looks for
//! room in a full pool gets it ([`space`]). Hosts are shown the newest catalogue, never an older one after a newer.

mod background;
mod diff;
mod hosts;
mod instants;
mod lives;
mod luns;
mod present;
mod space;
mod start;
mod thins;

pub use background::Background;
pub use diff::{Kind, Page, Run};
pub use lives::CutDone;
pub use space::{GiveUp, level_name};

use crate::{
    catalogue::CatalogueStore,
    clock::Clock,
    front::Front,
    leases::Leases,
    model::{Catalogue, Thin},
    rules::{Decision, Outcome},
    secrets::Secrets,
};
use background::{Herald, Reaper};
use instants::Hidden;
use present::Presented;
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
};
use thins::ThinIds;
use umbra_base::{HostId, Result, SetId};
use umbra_store::{LunStore, Thresholds};

/// What the driver drives.
pub struct Parts {
    /// The truth.
    pub catalogue: Arc<dyn CatalogueStore>,
    /// The pool.
    pub store: Arc<dyn LunStore>,
    /// The target.
    pub front: Arc<dyn Front>,
    /// CHAP secrets.
    pub secrets: Arc<Secrets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// When space is low; those of the pool.
    pub thresholds: Thresholds,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// The array's driver.
#[derive(Debug)]
pub struct Array {
    parts: Parts,
    /// The change lock, with what only a change needs.
    changing: Mutex<ThinIds>,
    /// Hosts that were not told yet of a change that was committed. Held for a moment only.
    stale: Mutex<BTreeSet<HostId>>,
    presented: Mutex<Presented>,
    leases: Mutex<Leases<CutDone>>,
    lease_changed: Condvar,
    busy: Busy,
    hidden: Hidden,
    reaper: Reaper,
    herald: Herald,
    /// Itself, for the units that it opens.
    me: Weak<Array>,
}

/// A change that is committed.
struct Committed<T> {
    outcome: Outcome,
    value: T,
    /// Devices to delete once no host sees them.
    doomed: Vec<Thin>,
    /// Whether a fence belongs to it: its own, or that of somebody else's same change.
    fences: bool,
}

/// Takes a lock whose holders never leave their data half changed, even by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Array {
    /// The newest catalogue.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.parts.catalogue.read()
    }

    /// The pool.
    pub fn store(&self) -> &Arc<dyn LunStore> {
        &self.parts.store
    }

    /// The target.
    pub fn front(&self) -> &dyn Front {
        &*self.parts.front
    }

    /// The clocks.
    pub fn clock(&self) -> &dyn Clock {
        &*self.parts.clock
    }

    /// Decides under the change lock, commits, and carries the change to the hosts. On return every fence that it
    /// asked for stands, also when somebody else's same change is the one that raised it.
    fn change<T>(&self, decide: impl FnOnce(&mut Turn<'_>) -> Result<(Decision, T)>) -> Result<(Outcome, T)> {
        let Committed { outcome, value, doomed, fences } = self.commit(decide)?;
        let shown = if fences { self.present_stale() } else { Ok(()) };
        self.reaper.push(doomed);
        shown.map(|()| (outcome, value))
    }

    /// The first half of [`Array::change`]: whose view is another one now is marked stale.
    fn commit<T>(&self, decide: impl FnOnce(&mut Turn<'_>) -> Result<(Decision, T)>) -> Result<Committed<T>> {
        let mut changing = lock(&self.changing);
        let mut turn = Turn { cat: self.catalogue(), array: self, thins: &mut changing };
        let (Decision { outcome, change }, value) = decide(&mut turn)?;
        if change.is_empty() {
            return Ok(Committed { outcome, value, doomed: Vec::new(), fences: true });
        }
        let before = turn.cat;
        self.parts.catalogue.commit(before.revision, &change)?;
        let (touched, doomed) = (change.touched_hosts(&before), change.dooms().collect::<Vec<_>>());
        let fences = !touched.is_empty() || !doomed.is_empty();
        lock(&self.stale).extend(touched);
        Ok(Committed { outcome, value, doomed, fences })
    }

    /// [`Array::change`] for what needs nothing but the catalogue to decide.
    fn decide(&self, decide: impl FnOnce(&Catalogue) -> Result<Decision>) -> Result<Outcome> {
        self.change(|turn| Ok((decide(&turn.cat)?, ()))).map(|(outcome, ())| outcome)
    }
}

/// Somebody's turn to change things: the catalogue as it stands, and what is needed to prepare a change of it.
struct Turn<'a> {
    cat: Arc<Catalogue>,
    array: &'a Array,
    thins: &'a mut ThinIds,
}

impl Turn<'_> {
    /// Hands out device ids. The catalogue may be at a later revision afterwards.
    fn take_thins(&mut self, count: usize) -> Result<Vec<Thin>> {
        let thins = self.thins.take(&*self.array.parts.catalogue, count);
        self.cat = self.array.catalogue();
        thins
    }
}

/// The sets that somebody is working on. Steps of one set's life come one after another, those of others meanwhile.
#[derive(Debug, Default)]
struct Busy {
    sets: Mutex<BTreeSet<SetId>>,
    freed: Condvar,
}

/// Releases its set when dropped.
#[derive(Debug)]
struct BusyWith<'a>(&'a Busy, SetId);

impl Busy {
    fn with(&self, set: SetId) -> BusyWith<'_> {
        let mut sets = lock(&self.sets);
        while !sets.insert(set) {
            sets = self.freed.wait(sets).unwrap_or_else(PoisonError::into_inner);
        }
        BusyWith(self, set)
    }

    /// `None` if somebody is.
    fn try_with(&self, set: SetId) -> Option<BusyWith<'_>> {
        // Made only if it is ours: dropping one ends the mark.
        lock(&self.sets).insert(set).then(|| BusyWith(self, set))
    }
}

impl Drop for BusyWith<'_> {
    fn drop(&mut self) {
        lock(&self.0.sets).remove(&self.1);
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests;
