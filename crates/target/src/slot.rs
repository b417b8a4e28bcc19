//! A slot: one LUN of one initiator's view; and what all slots of one unit share.
//!
//! What always holds: a slot never changes. A view with another unit, access or size has another slot, so that whoever holds
//! a slot knows what he was shown.

use crate::exclusion::Exclusion;
use crate::unit::{LogicalUnit, LunEntry};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use umbra_scsi::mode::ModeState;
use umbra_scsi::{Access, AtomicLimits, Features, LunIdentity, TaskSets, Unit, WriteCache};

/// What an initiator sees, by number.
pub(crate) type LunMap<U> = BTreeMap<u16, Arc<Slot<U>>>;

/// One LUN of a view.
pub(crate) struct Slot<U> {
    pub number: u16,
    pub unit: Arc<U>,
    pub identity: LunIdentity,
    pub access: Access,
    /// The size that initiators were told.
    pub announced_bytes: u64,
    pub state: Arc<UnitState>,
    /// Where the extents of its direct door lie.
    pub file: Option<Arc<File>>,
}

/// What all slots of one unit share, whoever sees it.
#[derive(Debug, Default)]
pub(crate) struct UnitState {
    pub exclusion: Exclusion,
    mode: Mutex<ModeState>,
}

impl UnitState {
    pub fn mode(&self) -> ModeState {
        *lock(&self.mode)
    }

    pub fn set_mode(&self, mode: ModeState) {
        *lock(&self.mode) = mode;
    }
}

impl<U: LogicalUnit> Slot<U> {
    pub fn new(entry: LunEntry<U>, state: Arc<UnitState>) -> Self {
        Slot {
            number: entry.number,
            announced_bytes: entry.unit.size_bytes(),
            file: entry.unit.data_file(),
            unit: entry.unit,
            identity: entry.identity,
            access: entry.access,
            state,
        }
    }

    /// Whether `entry` is what this slot already serves.
    pub fn serves(&self, entry: &LunEntry<U>) -> bool {
        Arc::ptr_eq(&self.unit, &entry.unit)
            && self.identity == entry.identity
            && self.access == entry.access
            && self.announced_bytes == entry.unit.size_bytes()
    }

    /// What the SCSI layer must know of the unit.
    pub fn view<'a>(&'a self, vendor: &'a str, revision: &'a str, cache: WriteCache) -> Unit<'a> {
        Unit {
            vendor,
            revision,
            identity: &self.identity,
            size_bytes: self.announced_bytes,
            access: self.access,
            cache,
            mode: self.state.mode(),
            allocation: self.unit.allocation_bytes(),
            features: Features::NONE,
            atomic: AtomicLimits::default(),
            task_sets: TaskSets::One,
            topology: None,
        }
    }
}

impl<U> fmt::Debug for Slot<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("number", &self.number)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// Locks; a thread that panicked under a lock left it consistent (each is held for single assignments).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
