//! RESERVE and RELEASE of SPC-2 (sections 5.5 and 7.16 to 7.22), beside persistent reservations (CRH of SPC-4 section
//! 5.13).
//!
//! What always holds: while anybody is registered, nobody gets SPC-2's reservation, and the other way round.

use super::{Nexus, Reservations};
use crate::cdb::Cdb;
use crate::plan::Plan;
use crate::sense::{Refusal, Sense};
use crate::unit::Unit;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legacy {
    Reserve,
    Release,
}

macro_rules! commands {
    ($($name:ident = $action:ident, $refused:literal;)*) => {$(
        pub(crate) fn $name(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
            whole_unit(cdb, $refused, Plan::LegacyReservation(Legacy::$action))
        }
    )*};
}

// The six-byte forms have 3RDPTY, a third party's id and EXTENT in byte 1; the ten-byte forms 3RDPTY, LONGID and EXTENT.
commands! {
    reserve6 = Reserve, 0x1f;
    release6 = Release, 0x1f;
    reserve10 = Reserve, 0x13;
    release10 = Release, 0x13;
}

/// Extents and reservations for others are not offered.
fn whole_unit(cdb: &Cdb<'_>, refused: u8, plan: Plan) -> Result<Plan, Sense> {
    cdb.refuse(1, refused)?;
    Ok(plan)
}

impl Reservations {
    /// Carries out RESERVE or RELEASE.
    pub fn apply_legacy(&mut self, action: Legacy, from: &Nexus) -> Result<(), Refusal> {
        if !self.registrants.is_empty() {
            return self.beside_persistent(from);
        }
        let is_mine = self.legacy.as_ref() == Some(from);
        match action {
            Legacy::Reserve if self.legacy.is_some() && !is_mine => Err(Refusal::ReservationConflict),
            Legacy::Reserve => {
                self.legacy = Some(from.clone());
                Ok(())
            }
            Legacy::Release => {
                self.legacy.take_if(|_| is_mine);
                Ok(())
            }
        }
    }

    /// Whoever has access by a persistent reservation is told GOOD, and nothing changes; for all others it is a conflict.
    fn beside_persistent(&self, from: &Nexus) -> Result<(), Refusal> {
        let shares = self.held.as_ref().is_some_and(|held| held.kind.is_shared());
        let has_access = self.is_holder(from) || (shares && self.key_of(from).is_some());
        if has_access { Ok(()) } else { Err(Refusal::ReservationConflict) }
    }
}
