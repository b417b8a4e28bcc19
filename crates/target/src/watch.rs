//! Thresholds of thin provisioning (SBC-3 section 4.7.3, design A5): looks at the space of units for which somebody set one.

use crate::common::Common;
use crate::message::{AtUnit, Message, post};
use crate::slot::lock;
use crate::slow::resources;
use crate::unit::LogicalUnit;

impl<U: LogicalUnit> Common<U> {
    /// Whether anybody set a threshold.
    pub(crate) fn has_thresholds(&self) -> bool {
        let enabled = |thresholds: umbra_scsi::threshold::Thresholds| {
            thresholds.available.enabled || thresholds.used.enabled
        };
        self.unit_states().iter().any(|state| enabled(state.mode().thresholds))
    }

    /// Tells every session of thresholds that were reached. May block.
    pub(crate) fn watch(&self) {
        for state in self.unit_states() {
            let Some(space) = state.unit().and_then(|unit| unit.space()) else { continue };
            let due = lock(&state.watch).look(&state.mode().thresholds, &resources(Some(space)));
            let at = AtUnit { uuid: state.uuid, asker: 0 };
            for condition in due {
                self.remotes().iter().for_each(|remote| post(remote, Message::Tell { at, condition }));
            }
        }
    }
}
