//! What all slots of one unit share, whoever sees it: mode parameters, reservations, and who must be alone.
//!
//! What always holds: reservations change under [`UnitState::changing`], are saved, and only then installed; a unit whose saved
//! reservations cannot be read is reserved for nobody that we know, so that no host writes where it was fenced.

use crate::exclusion::Exclusion;
use crate::slot::lock;
use crate::unit::LogicalUnit;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use umbra_scsi::mode::ModeState;
use umbra_scsi::reservation::Reservations;
use umbra_scsi::threshold::Watch;

/// See the module.
pub(crate) struct UnitState<U> {
    pub uuid: [u8; 16],
    pub exclusion: Exclusion,
    mode: Mutex<ModeState>,
    /// Whether anybody has changed the mode: looked at by each command, without the lock.
    selected: AtomicBool,
    reservations: Mutex<Reservations>,
    /// Whether anything is registered or reserved: looked at before each command, without the lock.
    reserved: AtomicBool,
    /// Held over a whole change of the reservations, which saves them.
    changing: Mutex<()>,
    /// The unit, for looks at its space.
    unit: Mutex<Weak<U>>,
    pub watch: Mutex<Watch>,
}

impl<U: LogicalUnit> UnitState<U> {
    pub fn new(uuid: [u8; 16], unit: &Arc<U>, reservations: Reservations) -> Self {
        UnitState {
            uuid,
            exclusion: Exclusion::default(),
            mode: Mutex::default(),
            selected: AtomicBool::new(false),
            reserved: AtomicBool::new(!reservations.is_clear()),
            reservations: Mutex::new(reservations),
            changing: Mutex::default(),
            unit: Mutex::new(Arc::downgrade(unit)),
            watch: Mutex::default(),
        }
    }

    /// The unit is this one now: an extended one is another.
    pub fn set_unit(&self, unit: &Arc<U>) {
        *lock(&self.unit) = Arc::downgrade(unit);
    }

    pub fn unit(&self) -> Option<Arc<U>> {
        lock(&self.unit).upgrade()
    }

    pub fn mode(&self) -> ModeState {
        if self.selected.load(SeqCst) { *lock(&self.mode) } else { ModeState::default() }
    }

    pub fn set_mode(&self, mode: ModeState) {
        let before = std::mem::replace(&mut *lock(&self.mode), mode);
        self.selected.store(true, SeqCst);
        if before.thresholds != mode.thresholds {
            *lock(&self.watch) = Watch::default();
        }
    }

    /// The reservations, if there are any.
    pub fn reserved(&self) -> Option<MutexGuard<'_, Reservations>> {
        self.reserved.load(SeqCst).then(|| lock(&self.reservations))
    }

    pub fn reservations(&self) -> MutexGuard<'_, Reservations> {
        lock(&self.reservations)
    }

    /// Keeps other changes away.
    pub fn changing(&self) -> MutexGuard<'_, ()> {
        lock(&self.changing)
    }

    /// Puts reservations in force.
    pub fn install(&self, reservations: Reservations) {
        let mut installed = lock(&self.reservations);
        self.reserved.store(!reservations.is_clear(), SeqCst);
        *installed = reservations;
    }
}

impl<U> fmt::Debug for UnitState<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitState").field("uuid", &self.uuid).finish_non_exhaustive()
    }
}
