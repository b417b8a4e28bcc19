//! A slot: one LUN of one initiator's view.
//!
//! What always holds: a slot never changes. A view with another unit, access or size has another slot, so that whoever holds
//! a slot knows what he was shown.

use crate::config::TargetConfig;
use crate::unit::{LogicalUnit, LunEntry};
use crate::unit_state::UnitState;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use umbra_scsi::limits::BLOCK;
use umbra_scsi::topology::{Port, PortAccess, PortGroup, Topology};
use umbra_scsi::{Access, AtomicLimits, Feature, Features, LunIdentity, TaskSets, Unit, WriteCache};

/// What is carried out beyond the basic commands: everything, but ROD tokens where the unit has no points in time.
fn features<U: LogicalUnit>(unit: &U) -> Features {
    match unit.has_points_in_time() {
        true => Features::ALL,
        false => Features::ALL.without(Feature::RodTokens),
    }
}

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
    pub state: Arc<UnitState<U>>,
    /// Where the extents of its direct door lie.
    pub file: Option<Arc<File>>,
}

impl<U: LogicalUnit> Slot<U> {
    pub fn new(entry: LunEntry<U>, state: Arc<UnitState<U>>) -> Self {
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

    /// What the SCSI layer must know of the unit, as it is seen from `from`.
    pub fn view<'a>(&'a self, config: &'a TargetConfig, from: &'a Viewpoint<'a>) -> Unit<'a> {
        let atomic = self.unit.atomic_bytes() / BLOCK as u32;
        Unit {
            vendor: &config.vendor,
            revision: &config.revision,
            identity: &self.identity,
            size_bytes: self.announced_bytes,
            access: self.access,
            cache: from.cache,
            mode: self.state.mode(),
            physical_exponent: exponent(self.unit.physical_bytes()),
            allocation: self.unit.allocation_bytes(),
            features: features(&*self.unit),
            atomic: AtomicLimits { blocks: atomic, alignment: 1, granularity: 1 },
            // Order is kept within a session, and aborts do not reach beyond it.
            task_sets: TaskSets::PerNexus,
            topology: Some(Topology { target: &config.iqn, groups: &from.groups, through: from.through }),
        }
    }
}

/// Logical blocks in a physical one, as a power of two that four bits can say.
fn exponent(physical_bytes: u32) -> u8 {
    let blocks = physical_bytes / BLOCK as u32;
    blocks.checked_ilog2().unwrap_or(0).min(15) as u8
}

/// Where a unit is looked at from.
#[derive(Debug)]
pub(crate) struct Viewpoint<'a> {
    cache: WriteCache,
    groups: [PortGroup<'a>; 1],
    /// Relative identifier of the port.
    through: u16,
}

impl<'a> Viewpoint<'a> {
    /// Through one of these ports. All of them lead to the same process, so that none is better (ALUA).
    pub fn new(ports: &'a [Port], through: u16, cache: WriteCache) -> Self {
        let access = PortAccess::ActiveOptimized;
        Viewpoint { cache, groups: [PortGroup { number: 1, access, preferred: false, ports }], through }
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
