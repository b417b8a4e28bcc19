//! Points in time of LUNs, for ROD tokens: thin snapshots that the catalogue does not know, and that nobody but a token
//! sees.
//!
//! ```text
//!   token made --> nothing was written since the last one? that one serves as well
//!              \-> else: an id, the origin held, one cut in memory --> Unit
//!   last token of it gone --> Unit dropped --> reaper: deleted, its id free for the next
//! ```
//!
//! What always holds: every id comes from the block that the catalogue has reserved, and is never a LUN's, so that
//! whatever a crash leaves of them is an orphan that the next start deletes; an id is handed out again only when its
//! last device has left the pool and nobody has it open. They come after everything else (A7): none is made where no
//! set may begin, and all of them go before any set does.

use super::{Array, lock, present::thin_id};
use crate::{
    limits,
    model::Thin,
    unit::{Instants, Unit},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, Weak},
};
use umbra_base::{Error, ErrorCode, Result, limits::HOLD_MAX};
use umbra_store::{Difference, Snapshot, ThinId};
use umbra_target::LogicalUnit;

/// The hidden devices.
#[derive(Debug, Default)]
pub struct Hidden(Mutex<Devices>);

#[derive(Debug, Default)]
struct Devices {
    /// In the pool, or about to be.
    known: BTreeSet<Thin>,
    /// Ids that were known before.
    free: Vec<Thin>,
    /// The last of each LUN, by the LUN's device.
    newest: BTreeMap<ThinId, Weak<Unit>>,
}

impl Hidden {
    /// A hidden device has left the pool. False: it is none.
    pub(super) fn has_left(&self, thin: Thin) -> bool {
        let mut devices = lock(&self.0);
        let was_hidden = devices.known.remove(&thin);
        if was_hidden {
            devices.free.push(thin);
        }
        was_hidden
    }

    fn newest(&self, origin: ThinId) -> Option<Arc<Unit>> {
        let mut devices = lock(&self.0);
        devices.newest.retain(|_, unit| unit.strong_count() > 0);
        devices.newest.get(&origin)?.upgrade()
    }

    fn reuse(&self) -> Option<Thin> {
        let mut devices = lock(&self.0);
        let thin = devices.free.pop()?;
        devices.known.insert(thin);
        Some(thin)
    }
}

impl Array {
    /// An id for a hidden device.
    fn take_hidden(&self) -> Result<Thin> {
        if let Some(thin) = self.hidden.reuse() {
            return Ok(thin);
        }
        let thins = lock(&self.changing).take(&*self.parts.catalogue, 1)?;
        lock(&self.hidden.0).known.insert(thins[0]);
        Ok(thins[0])
    }

    /// Whether a LUN's device is what a copy of it is. Neither is looked at as a whole: trees that share their root are
    /// one.
    fn is_unchanged(&self, origin: ThinId, copy: ThinId) -> Result<bool> {
        Ok(self.store().changed(copy, origin, 0)? == Difference::default())
    }

    /// A host can make tokens without end, and the pool's format counts cuts to 24 bits.
    fn has_a_cut_to_spare(&self) -> Result<()> {
        match self.store().cuts_left() {
            left if left <= limits::CUTS_FOR_SETS => {
                let text = format!("the pool takes {left} more cuts, which are kept for sets");
                Err(Error::new(ErrorCode::LimitReached, text))
            }
            _ => Ok(()),
        }
    }

    /// Cuts a copy of a device, in memory: it need not outlive the process.
    fn cut_hidden(&self, origin: ThinId, copy: ThinId) -> Result<()> {
        let hold = self.store().hold(&[origin], HOLD_MAX)?;
        self.store().cut(&hold, &[Snapshot { origin, copy }]).map(drop)
    }
}

impl Instants for Array {
    fn point_in_time(&self, origin: ThinId, size_bytes: u64) -> Result<Arc<Unit>> {
        if let Some(newest) = self.hidden.newest(origin)
            && self.is_unchanged(origin, newest.id())?
            && newest.size_bytes() == size_bytes
        {
            return Ok(newest);
        }
        self.has_room_for("a point in time")?;
        self.has_a_cut_to_spare()?;
        let thin = self.take_hidden()?;
        let made = self
            .cut_hidden(origin, thin_id(thin))
            .and_then(|()| Unit::hidden(self.store(), thin_id(thin), size_bytes, self.me.clone()));
        match made {
            Ok(unit) => {
                let unit = Arc::new(unit);
                lock(&self.hidden.0).newest.insert(origin, Arc::downgrade(&unit));
                Ok(unit)
            }
            Err(error) => {
                self.let_go(thin_id(thin));
                Err(error)
            }
        }
    }

    fn let_go(&self, copy: ThinId) {
        self.reaper.push(vec![Thin(copy.0)]);
    }
}
