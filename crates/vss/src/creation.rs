//! One set at a time is created on a host (S4).
//!
//! The gate knows who creates and who waits, by set id. Whoever is granted must [`Creation::release`] when its machine
//! has ended, whatever the end.

use std::collections::VecDeque;
use umbra_base::{Error, ErrorCode, Result, SetId};

use crate::limits::CREATIONS_WAITING;

/// What a requester wants if another set is being created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfBusy {
    /// Be told so at once.
    Refuse,
    /// Wait for its turn.
    Wait,
}

/// The gate's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go on.
    Granted,
    /// This many go first.
    Queued(usize),
}

/// The gate.
#[derive(Debug, Default)]
pub struct Creation {
    current: Option<SetId>,
    waiting: VecDeque<SetId>,
}

impl Creation {
    /// Asks to create `set`. Asking again gives the same answer.
    pub fn ask(&mut self, set: SetId, if_busy: IfBusy) -> Result<Admission> {
        if self.current.is_none_or(|current| current == set) {
            self.current = Some(set);
            return Ok(Admission::Granted);
        }
        if let Some(place) = self.waiting.iter().position(|waiting| *waiting == set) {
            return Ok(Admission::Queued(place + 1));
        }
        match if_busy {
            IfBusy::Refuse => Err(self.busy()),
            IfBusy::Wait if self.waiting.len() >= CREATIONS_WAITING => Err(too_many()),
            IfBusy::Wait => {
                self.waiting.push_back(set);
                Ok(Admission::Queued(self.waiting.len()))
            }
        }
    }

    /// `set` has ended, or does not want to wait any more. The set that is granted by this, if one is.
    pub fn release(&mut self, set: SetId) -> Option<SetId> {
        if self.current == Some(set) {
            self.current = self.waiting.pop_front();
            return self.current;
        }
        self.waiting.retain(|waiting| *waiting != set);
        None
    }

    /// The set that is being created.
    pub fn current(&self) -> Option<SetId> {
        self.current
    }

    fn busy(&self) -> Error {
        let current = self.current.map(|set| set.to_string()).unwrap_or_default();
        Error::new(ErrorCode::SnapshotSetInProgress, format!("set {current} is being created on this host"))
            .hint("try again when it is done, or ask to wait")
            .param("set", current)
    }
}

fn too_many() -> Error {
    Error::new(ErrorCode::LimitReached, format!("{CREATIONS_WAITING} sets wait to be created already"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(n: u128) -> SetId {
        SetId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_second_requester_is_refused_or_waits_its_turn() {
        let mut gate = Creation::default();
        assert_eq!(gate.ask(set(1), IfBusy::Refuse).unwrap(), Admission::Granted);
        assert_eq!(gate.ask(set(1), IfBusy::Refuse).unwrap(), Admission::Granted);
        assert_eq!(gate.ask(set(2), IfBusy::Refuse).unwrap_err().code(), ErrorCode::SnapshotSetInProgress);
        assert_eq!(gate.ask(set(3), IfBusy::Wait).unwrap(), Admission::Queued(1));
        assert_eq!(gate.ask(set(4), IfBusy::Wait).unwrap(), Admission::Queued(2));
        assert_eq!(gate.ask(set(3), IfBusy::Wait).unwrap(), Admission::Queued(1));
        assert_eq!(gate.release(set(3)), None, "one that waits goes away");
        assert_eq!(gate.release(set(1)), Some(set(4)));
        assert_eq!(gate.release(set(4)), None);
        assert_eq!(gate.current(), None);
    }

    #[test]
    fn the_queue_has_a_bound() {
        let mut gate = Creation::default();
        gate.ask(set(0), IfBusy::Wait).unwrap();
        for n in 1..=CREATIONS_WAITING {
            gate.ask(set(n as u128), IfBusy::Wait).unwrap();
        }
        assert_eq!(gate.ask(set(9999), IfBusy::Wait).unwrap_err().code(), ErrorCode::LimitReached);
    }
}
