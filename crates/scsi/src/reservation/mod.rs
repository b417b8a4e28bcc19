//! Reservations of a unit: SPC-4 section 5.13 (persistent), SPC-2 section 5.5 (RESERVE and RELEASE), pure state.
//!
//! ```text
//!   nothing --REGISTER--> registered --RESERVE, PREEMPT--> reserved
//!      ^                   |      ^                          |  |
//!      +--last unregisters-+      +--RELEASE, holder leaves--+  +--PREEMPT, REGISTER AND MOVE: another holder
//!      +--CLEAR------------+-----------------CLEAR-----------+
//! ```
//!
//! The driver keeps one [`Reservations`] for a unit. It asks [`Reservations::admits`] before each command, hands
//! PERSISTENT RESERVE OUT to [`Reservations::apply`], saves the new state where it persists, and then carries out the
//! [`Outcome`]: installs the state, posts attentions, aborts tasks.
//!
//! What always holds: at most [`REGISTRANTS`] registrations, one for a nexus; a reservation has a holder that is
//! registered; SPC-2's reservation never stands beside a registration; a refused request changes nothing.
//!
//! REPLACE LOST RESERVATION is left out: a unit whose saved state is lost is not served at all, so that no host writes
//! where it was fenced.

mod codec;
mod legacy;
mod nexus;
mod preempt;
mod register;
mod report;
mod request;
mod rules;
#[cfg(test)]
mod tests;

use crate::limits::REGISTRANTS;
use crate::sense::{Refusal, Sense};
use request::Action;
use std::num::NonZeroU64;

pub use codec::Unreadable;
pub use legacy::Legacy;
pub use nexus::{InitiatorPort, Nexus};
pub use report::Report;
pub use request::Out;
pub use rules::Kind;

pub(crate) use legacy::{release6, release10, reserve6, reserve10};
pub(crate) use request::{persistent_in, persistent_out};
pub(crate) use rules::Rule;

/// A reservation key; zero is none.
pub type Key = NonZeroU64;

/// Everything that is registered and reserved at one unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reservations {
    /// PRGENERATION.
    generation: u32,
    /// The last APTPL: whether the state survives a loss of power.
    persists: bool,
    /// In the order of registration.
    registrants: Vec<Registrant>,
    held: Option<Held>,
    /// Who holds the reservation of RESERVE (6) or (10).
    legacy: Option<Nexus>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Registrant {
    nexus: Nexus,
    key: Key,
    /// It was registered on all target ports at once (ALL_TG_PT).
    all_ports: bool,
}

/// A persistent reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    kind: Kind,
    by: Holder,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    One(Nexus),
    AllRegistrants,
}

/// What is known of the target when a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known<'a> {
    /// Relative identifiers of the ports through which the unit is reached.
    pub ports: &'a [u16],
    /// Initiator ports that are logged in.
    pub initiators: &'a [InitiatorPort],
}

/// What a request did. All of it happens before GOOD is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Outcome {
    pub state: Reservations,
    /// Unit attentions, and who gets them.
    pub attentions: Vec<(Nexus, Sense)>,
    /// Whose tasks are aborted, except the request itself (PREEMPT AND ABORT).
    pub abort: Vec<Nexus>,
}

impl Reservations {
    /// Whether nobody is registered and nothing is reserved: every command is admitted.
    pub fn is_clear(&self) -> bool {
        self.registrants.is_empty() && self.legacy.is_none()
    }

    /// Whether a command may go on, as far as reservations are concerned. Requests to change them are admitted here
    /// and judged when they are carried out.
    pub fn admits(&self, cdb: &[u8; 16], nexus: &Nexus) -> bool {
        self.is_clear() || Rule::of(cdb).is_none_or(|rule| self.passes(rule, nexus))
    }

    /// Whether a copy may read here on behalf of a nexus.
    pub fn admits_reads(&self, nexus: &Nexus) -> bool {
        self.passes(Rule::Reads, nexus)
    }

    /// Whether a copy may write here on behalf of a nexus.
    pub fn admits_writes(&self, nexus: &Nexus) -> bool {
        self.passes(Rule::Writes, nexus)
    }

    fn passes(&self, rule: Rule, nexus: &Nexus) -> bool {
        let legacy = self.legacy.as_ref().is_none_or(|holder| rule.passes_legacy(holder == nexus));
        let persistent = self
            .held
            .as_ref()
            .is_none_or(|held| self.is_holder(nexus) || rule.passes(held.kind, self.key_of(nexus).is_some()));
        legacy && persistent
    }

    /// Carries out a PERSISTENT RESERVE OUT with this parameter list.
    pub fn apply(&self, out: &Out, list: &[u8], from: &Nexus, known: &Known<'_>) -> Result<Outcome, Refusal> {
        let request = out.parse(list)?;
        match request.action {
            Action::Register(ref wish) => self.register(&request, wish, from, known),
            Action::Move(ref wish) => self.relocate(&request, wish, from, known),
            Action::Reserve(kind) => self.reserve(&request, kind, from),
            Action::Release(kind) => self.release(&request, kind, from),
            Action::Clear => self.clear(&request, from),
            Action::Preempt(wish) => self.preempt(&request, wish, from),
        }
    }

    /// A reset of the unit: SPC-2's reservation ends, persistent ones stay (SPC-4 section 5.13).
    pub fn reset(&mut self) {
        self.legacy = None;
    }

    /// A nexus is lost: its SPC-2 reservation ends, its registration stays.
    pub fn nexus_lost(&mut self, nexus: &Nexus) {
        self.legacy.take_if(|holder| holder == nexus);
    }

    /// What is left after a loss of power: all if APTPL was active, else nothing. PRGENERATION counts from zero.
    #[must_use]
    pub fn after_power_on(self) -> Reservations {
        if !self.persists {
            return Reservations::default();
        }
        Reservations { generation: 0, legacy: None, ..self }
    }

    /// The unit was taken away from some initiators: their registrations go, as if they had unregistered.
    pub fn without(&self, gone: impl Fn(&InitiatorPort) -> bool) -> Outcome {
        let mut outcome = Outcome::of(self);
        outcome.unregister(|nexus| gone(&nexus.initiator), None);
        outcome.state.legacy.take_if(|holder| gone(&holder.initiator));
        if outcome.state.registrants.len() != self.registrants.len() {
            outcome.state.count();
        }
        outcome
    }

    fn key_of(&self, nexus: &Nexus) -> Option<Key> {
        self.registrants.iter().find(|one| one.nexus == *nexus).map(|one| one.key)
    }

    /// Of a reservation for all registrants, each of them is a holder.
    fn is_holder(&self, nexus: &Nexus) -> bool {
        match self.held.as_ref().map(|held| &held.by) {
            None => false,
            Some(Holder::One(holder)) => holder == nexus,
            Some(Holder::AllRegistrants) => self.key_of(nexus).is_some(),
        }
    }

    /// All but REGISTER are for the registered, and each names its key.
    fn demand_key(&self, key: Option<Key>, from: &Nexus) -> Result<Key, Refusal> {
        match (self.key_of(from), key) {
            (Some(registered), Some(named)) if registered == named => Ok(registered),
            _ => Err(Refusal::ReservationConflict),
        }
    }

    /// Sets or changes a registration.
    fn enter(&mut self, nexus: Nexus, key: Key, all_ports: bool) -> Result<(), Refusal> {
        if let Some(one) = self.registrants.iter_mut().find(|one| one.nexus == nexus) {
            (one.key, one.all_ports) = (key, all_ports);
            return Ok(());
        }
        if self.registrants.len() >= REGISTRANTS {
            return Err(Sense::INSUFFICIENT_REGISTRATION_RESOURCES.into());
        }
        self.registrants.push(Registrant { nexus, key, all_ports });
        Ok(())
    }

    /// Removes registrations. A reservation whose holder goes is released: its type, if that happened.
    fn leave(&mut self, goes: impl Fn(&Registrant) -> bool) -> Option<Kind> {
        self.registrants.retain(|one| !goes(one));
        let orphaned = self.held.as_ref().is_some_and(|held| match &held.by {
            Holder::One(holder) => self.key_of(holder).is_none(),
            Holder::AllRegistrants => self.registrants.is_empty(),
        });
        if orphaned { self.held.take().map(|held| held.kind) } else { None }
    }

    /// Holds the reservation from now on.
    fn hold(&mut self, kind: Kind, nexus: &Nexus) {
        let by = if kind.is_for_all() { Holder::AllRegistrants } else { Holder::One(nexus.clone()) };
        self.held = Some(Held { kind, by });
    }

    /// PRGENERATION (section 6.15.2).
    fn count(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}

impl Outcome {
    /// Nothing done yet.
    fn of(state: &Reservations) -> Outcome {
        Outcome { state: state.clone(), attentions: Vec::new(), abort: Vec::new() }
    }

    /// An attention for everybody who is registered now, except one.
    fn tell_registrants(&mut self, condition: Sense, except: Option<&Nexus>) {
        let nexuses = self.state.registrants.iter().map(|one| &one.nexus);
        let others = nexuses.filter(|nexus| Some(*nexus) != except);
        self.attentions.extend(others.map(|nexus| (nexus.clone(), condition)));
    }

    /// Ends registrations without preempting anybody. Those that shared the reservation are told if it ended.
    fn unregister(&mut self, goes: impl Fn(&Nexus) -> bool, by: Option<&Nexus>) {
        let released = self.state.leave(|one| goes(&one.nexus));
        if released.is_some_and(Kind::is_shared) {
            self.tell_registrants(Sense::RESERVATIONS_RELEASED, by);
        }
    }
}
