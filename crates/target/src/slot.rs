//! A slot: one LUN of one initiator's view, with the gate that makes fences possible (design A1).
//!
//! What always holds: a command touches the unit only while it holds a [`Pass`]; a closed gate gives no pass, and
//! [`Slot::drain`] returns only when none is held. Passes count commands of every session, aborted ones included.

use crate::unit::{LogicalUnit, LunEntry};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use umbra_scsi::mode::ModeState;
use umbra_scsi::{Access, AtomicLimits, Features, LunIdentity, TaskSets, Unit, WriteCache};

/// Keeps COMPARE AND WRITE alone on a unit; every other change holds it shared. One for each unit, however many
/// initiators see it.
pub(crate) type Exclusion = Arc<RwLock<()>>;

pub(crate) struct Slot {
    pub number: u16,
    pub unit: Arc<dyn LogicalUnit>,
    pub identity: LunIdentity,
    pub access: Access,
    pub exclusion: Exclusion,
    /// The size that initiators were told.
    pub announced_bytes: u64,
    mode: Mutex<ModeState>,
    gate: Mutex<Gate>,
    drained: Condvar,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    inside: usize,
}

/// Leave to touch the unit of a slot.
pub(crate) struct Pass<'a> {
    slot: &'a Slot,
}

impl Slot {
    pub fn new(entry: LunEntry, exclusion: Exclusion, mode: ModeState) -> Self {
        Slot {
            number: entry.number,
            announced_bytes: entry.unit.size_bytes(),
            unit: entry.unit,
            identity: entry.identity,
            access: entry.access,
            exclusion,
            mode: Mutex::new(mode),
            gate: Mutex::new(Gate::default()),
            drained: Condvar::new(),
        }
    }

    /// Whether `entry` is what this slot already serves.
    pub fn serves(&self, entry: &LunEntry) -> bool {
        Arc::ptr_eq(&self.unit, &entry.unit)
            && self.identity == entry.identity
            && self.access == entry.access
            && self.announced_bytes == entry.unit.size_bytes()
    }

    pub fn mode(&self) -> ModeState {
        *lock(&self.mode)
    }

    pub fn set_mode(&self, mode: ModeState) {
        *lock(&self.mode) = mode;
    }

    /// What the SCSI layer must know of the unit.
    pub fn view<'a>(&'a self, vendor: &'a str, revision: &'a str, cache: WriteCache) -> Unit<'a> {
        Unit {
            vendor,
            revision,
            identity: &self.identity,
            size_bytes: self.unit.size_bytes(),
            access: self.access,
            cache,
            mode: self.mode(),
            allocation: self.unit.allocation_bytes(),
            features: Features::NONE,
            atomic: AtomicLimits::default(),
            task_sets: TaskSets::One,
            topology: None,
        }
    }

    /// Goes through the gate; `None` when the slot has left the view.
    pub fn enter(&self) -> Option<Pass<'_>> {
        let mut gate = lock(&self.gate);
        if gate.closed {
            return None;
        }
        gate.inside += 1;
        Some(Pass { slot: self })
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        lock(&self.gate).closed = true;
    }

    /// Waits until nobody is inside.
    pub fn drain(&self) {
        let gate = lock(&self.gate);
        drop(self.drained.wait_while(gate, |gate| gate.inside > 0));
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut gate = lock(&self.slot.gate);
        gate.inside -= 1;
        if gate.closed && gate.inside == 0 {
            self.slot.drained.notify_all();
        }
    }
}

impl fmt::Debug for Slot {
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
