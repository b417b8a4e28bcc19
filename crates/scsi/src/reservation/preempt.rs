//! RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT AND ABORT: SPC-4 section 5.13.
//!
//! What always holds: whoever loses a registration to somebody else is told.

use super::request::{Preemption, Request, Tasks};
use super::{Holder, Key, Kind, Nexus, Outcome, Registrant, Reservations};
use crate::sense::{Refusal, Sense};

/// Whose registrations a preemption ends, and whether the reservation changes hands.
enum Prey {
    /// The reservation is taken; the registrations of its holder go.
    Reservation { victims: Option<Key> },
    /// Registrations go; the reservation stays as it is.
    Registrations { victims: Key },
}

impl Reservations {
    pub(super) fn reserve(&self, request: &Request, kind: Kind, from: &Nexus) -> Result<Outcome, Refusal> {
        self.demand_key(request.key, from)?;
        let mut outcome = Outcome::of(self);
        match &self.held {
            None => outcome.state.hold(kind, from),
            // Asked again by a holder: nothing changes.
            Some(held) if held.kind == kind && self.is_holder(from) => {}
            Some(_) => return Err(Refusal::ReservationConflict),
        }
        Ok(outcome)
    }

    /// Releasing what one does not hold is no error.
    pub(super) fn release(
        &self,
        request: &Request,
        kind: Option<Kind>,
        from: &Nexus,
    ) -> Result<Outcome, Refusal> {
        self.demand_key(request.key, from)?;
        let mut outcome = Outcome::of(self);
        let Some(held) = self.held.as_ref().filter(|_| self.is_holder(from)) else {
            return Ok(outcome);
        };
        if Some(held.kind) != kind {
            return Err(Sense::INVALID_RELEASE.into());
        }
        outcome.state.held = None;
        if held.kind.is_shared() {
            outcome.tell_registrants(Sense::RESERVATIONS_RELEASED, Some(from));
        }
        Ok(outcome)
    }

    pub(super) fn clear(&self, request: &Request, from: &Nexus) -> Result<Outcome, Refusal> {
        self.demand_key(request.key, from)?;
        let mut outcome = Outcome::of(self);
        outcome.tell_registrants(Sense::RESERVATIONS_PREEMPTED, Some(from));
        outcome.state.registrants.clear();
        outcome.state.held = None;
        outcome.state.count();
        Ok(outcome)
    }

    pub(super) fn preempt(
        &self,
        request: &Request,
        wish: Preemption,
        from: &Nexus,
    ) -> Result<Outcome, Refusal> {
        self.demand_key(request.key, from)?;
        let mut outcome = match self.prey(wish)? {
            Prey::Reservation { victims } => {
                let kind = wish.kind.ok_or(Sense::INVALID_FIELD_IN_CDB.in_byte(2))?;
                self.take_over(victims, kind, from)
            }
            Prey::Registrations { victims } => self.expel(victims, from)?,
        };
        if wish.tasks == Tasks::Stay {
            outcome.abort.clear();
        }
        outcome.state.count();
        Ok(outcome)
    }

    fn prey(&self, wish: Preemption) -> Result<Prey, Sense> {
        let holder = self.held.as_ref().map(|held| &held.by);
        match (holder, wish.victims) {
            (Some(Holder::AllRegistrants), None) => Ok(Prey::Reservation { victims: None }),
            (Some(Holder::One(holder)), Some(victims)) if self.key_of(holder) == Some(victims) => {
                Ok(Prey::Reservation { victims: Some(victims) })
            }
            (_, Some(victims)) => Ok(Prey::Registrations { victims }),
            (_, None) => Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(8)),
        }
    }

    /// The reservation gets a new holder, and maybe a new type. Without a key, all others go.
    fn take_over(&self, victims: Option<Key>, kind: Kind, from: &Nexus) -> Outcome {
        let mut outcome = Outcome::of(self);
        let hit = |one: &Registrant| victims.is_none_or(|key| one.key == key);
        let same_kind = self.held.as_ref().is_some_and(|held| held.kind == kind);
        outcome.expel(self, |one| hit(one) && one.nexus != *from, from);
        // A holder that preempts itself keeps its registration, not its other tasks.
        if victims.is_some() && victims == self.key_of(from) {
            outcome.abort.push(from.clone());
        }
        outcome.state.hold(kind, from);
        if !same_kind {
            outcome.tell_registrants(Sense::RESERVATIONS_RELEASED, Some(from));
        }
        outcome
    }

    /// Registrations with this key go, the sender's own too.
    fn expel(&self, victims: Key, from: &Nexus) -> Result<Outcome, Refusal> {
        if !self.registrants.iter().any(|one| one.key == victims) {
            return Err(Refusal::ReservationConflict);
        }
        let mut outcome = Outcome::of(self);
        outcome.expel(self, |one| one.key == victims, from);
        Ok(outcome)
    }
}

impl Outcome {
    /// Ends registrations; tells their nexuses, except the sender; names them as those whose tasks may be aborted.
    fn expel(&mut self, before: &Reservations, goes: impl Fn(&Registrant) -> bool, from: &Nexus) {
        self.state.leave(&goes);
        for one in before.registrants.iter().filter(|one| goes(one)) {
            self.abort.push(one.nexus.clone());
            if one.nexus != *from {
                self.attentions.push((one.nexus.clone(), Sense::REGISTRATIONS_PREEMPTED));
            }
        }
    }
}
