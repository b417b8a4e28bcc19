//! What is looked at from time to time: thresholds of thin provisioning (SBC-3 section 4.7.3, design A5), by the space
//! of units for which somebody set one; tokens whose time is up.

use crate::common::Common;
use crate::message::{AtUnit, Message, post};
use crate::slot::lock;
use crate::slow::resources;
use crate::unit::LogicalUnit;
use umbra_base::Instant;

impl<U: LogicalUnit> Common<U> {
    /// Whether there is anything to do.
    pub(crate) fn has_something_to_watch(&self, now: Instant) -> bool {
        self.has_thresholds() || lock(&self.tokens).is_due(now)
    }

    /// Does it. May block.
    pub(crate) fn watch(&self, now: Instant) {
        let expired = lock(&self.tokens).expire(now);
        drop(expired);
        if self.has_thresholds() {
            self.watch_thresholds();
        }
    }

    /// Whether anybody set a threshold.
    fn has_thresholds(&self) -> bool {
        let enabled = |thresholds: umbra_scsi::threshold::Thresholds| {
            thresholds.available.enabled || thresholds.used.enabled
        };
        self.unit_states().iter().any(|state| enabled(state.mode().thresholds))
    }

    /// Tells every session of thresholds that were reached.
    fn watch_thresholds(&self) {
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
