//! REGISTER, REGISTER AND IGNORE EXISTING KEY, REGISTER AND MOVE: SPC-4 section 5.13.
//!
//! What always holds: a request registers all nexuses that it names, or none.

use super::nexus::TransportId;
use super::request::{Existing, Registration, Relocation, Request};
use super::{InitiatorPort, Key, Known, Nexus, Outcome, Reservations};
use crate::sense::{Refusal, Sense};

impl Reservations {
    /// With all ports, the request counts as one through each of them: those that are registered there with another key
    /// get this one.
    pub(super) fn register(
        &self,
        request: &Request,
        wish: &Registration,
        from: &Nexus,
        known: &Known<'_>,
    ) -> Result<Outcome, Refusal> {
        let current = self.key_of(from);
        if wish.existing == Existing::Checked && request.key != current {
            return Err(Refusal::ReservationConflict);
        }
        if self.legacy.is_some() {
            return Err(Refusal::ReservationConflict);
        }
        if wish.others.is_some() && (current.is_some() || wish.new.is_none()) {
            return Err(Sense::INVALID_FIELD_IN_CDB.into());
        }
        let mut outcome = Outcome::of(self);
        match wish.new {
            None if current.is_none() => return Ok(outcome),
            None => outcome.unregister(|nexus| wish.covers(nexus, from), Some(from)),
            Some(key) => outcome.state.enter_all(key, wish, from, known)?,
        }
        outcome.state.persists = wish.persists;
        outcome.state.count();
        Ok(outcome)
    }

    fn enter_all(
        &mut self,
        key: Key,
        wish: &Registration,
        from: &Nexus,
        known: &Known<'_>,
    ) -> Result<(), Refusal> {
        for initiator in self.named(wish, from, known)? {
            for port in wish.ports(from, known) {
                self.enter(Nexus { initiator: initiator.clone(), port }, key, wish.all_ports)?;
            }
        }
        Ok(())
    }

    /// The initiator ports of a registration: the sender, and those of SPEC_I_PT, who must not be registered yet.
    fn named(
        &self,
        wish: &Registration,
        from: &Nexus,
        known: &Known<'_>,
    ) -> Result<Vec<InitiatorPort>, Refusal> {
        let mut named = vec![from.initiator.clone()];
        for id in wish.others.iter().flatten() {
            match id {
                TransportId::Port(port) => named.push(port.clone()),
                TransportId::Device(name) => {
                    named.extend(known.initiators.iter().filter(|port| port.name() == name).cloned());
                }
            }
        }
        let taken = |one: &InitiatorPort| {
            let mut nexuses = wish.ports(from, known).map(|port| Nexus { initiator: one.clone(), port });
            nexuses.any(|nexus| nexus != *from && self.key_of(&nexus).is_some())
        };
        if wish.others.is_some() && named[1..].iter().any(taken) {
            return Err(Refusal::ReservationConflict);
        }
        Ok(named)
    }

    /// REGISTER AND MOVE: the reservation goes to another nexus, which is registered for it.
    pub(super) fn relocate(
        &self,
        request: &Request,
        wish: &Relocation,
        from: &Nexus,
        known: &Known<'_>,
    ) -> Result<Outcome, Refusal> {
        self.demand_key(request.key, from)?;
        let Some(held) = &self.held else {
            return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1).into());
        };
        if held.kind.is_for_all() || !self.is_holder(from) {
            return Err(Refusal::ReservationConflict);
        }
        if !known.ports.contains(&wish.port) {
            return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(18).into());
        }
        let to = Nexus { initiator: wish.to.clone(), port: wish.port };
        if to == *from {
            return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(24).into());
        }
        let kind = held.kind;
        let mut outcome = Outcome::of(self);
        let state = &mut outcome.state;
        state.enter(to.clone(), wish.new, false)?;
        state.hold(kind, &to);
        if wish.unregister {
            state.leave(|one| one.nexus == *from);
        }
        state.persists = wish.persists;
        state.count();
        Ok(outcome)
    }
}

impl Registration {
    /// The target ports that it is for.
    fn ports<'a>(&self, from: &Nexus, known: &Known<'a>) -> impl Iterator<Item = u16> + use<'a> {
        let here = from.port;
        let all = if self.all_ports { known.ports } else { &[] };
        all.iter().copied().filter(move |port| *port != here).chain([here])
    }

    /// Whether an end of the sender's registration ends this one.
    fn covers(&self, nexus: &Nexus, from: &Nexus) -> bool {
        nexus == from || (self.all_ports && nexus.initiator == from.initiator)
    }
}
