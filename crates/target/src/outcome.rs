//! How a command ended.

use umbra_scsi::{Refusal, Sense, SenseFormat, status};

/// Status, and what goes with it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub status: u8,
    pub sense: Vec<u8>,
    /// Data for the initiator that stands in no buffer.
    pub reply: Option<Vec<u8>>,
    /// All bytes that the command has for the initiator, where it did not ask for all of them.
    pub has: Option<u64>,
    /// Bytes that the command takes from the initiator.
    pub takes: Option<u64>,
}

impl Outcome {
    /// GOOD.
    pub fn good() -> Outcome {
        Outcome::default()
    }

    /// GOOD, with data.
    pub fn reply(bytes: Vec<u8>) -> Outcome {
        Outcome { reply: Some(bytes), ..Outcome::default() }
    }

    /// CHECK CONDITION.
    pub fn check(sense: Sense, format: SenseFormat) -> Outcome {
        Outcome { status: status::CHECK_CONDITION, sense: sense.encode(format), ..Outcome::default() }
    }

    /// What a refusal says.
    pub fn refused(refusal: Refusal, format: SenseFormat) -> Outcome {
        match refusal {
            Refusal::Check(sense) => Outcome::check(sense, format),
            Refusal::ReservationConflict => Outcome::status(status::RESERVATION_CONFLICT),
        }
    }

    /// Another status without data.
    pub fn status(status: u8) -> Outcome {
        Outcome { status, ..Outcome::default() }
    }

    /// The same, of a command that takes so many bytes.
    pub fn taking(self, takes: Option<u64>) -> Outcome {
        Outcome { takes, ..self }
    }

    pub fn is_good(&self) -> bool {
        self.status == status::GOOD
    }
}
