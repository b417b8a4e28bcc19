//! Sequences of data PDUs that an initiator owes (RFC 7143 sections 4.2.5 and 11.7).
//!
//! What always holds: no more are open at a time than R2Ts may be, so that their place is fixed and nothing is allocated.

use crate::limits::OUTSTANDING_R2T;
use crate::pdu::RESERVED_TAG;

/// Data PDUs that the initiator owes: those that it announced itself, or those that one R2T asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    /// The reserved tag for unsolicited data.
    pub transfer_tag: u32,
    pub end: u32,
    pub next_data_sn: u32,
}

impl Sequence {
    pub fn is_solicited(&self) -> bool {
        self.transfer_tag != RESERVED_TAG
    }
}

/// The sequences that are open, in the order in which they must come.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    open: [Sequence; OUTSTANDING_R2T],
    count: usize,
}

impl Sequences {
    pub fn as_slice(&self) -> &[Sequence] {
        &self.open[..self.count]
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn front_mut(&mut self) -> Option<&mut Sequence> {
        self.open[..self.count].first_mut()
    }

    pub fn push(&mut self, sequence: Sequence) {
        self.open[self.count] = sequence;
        self.count += 1;
    }

    pub fn remove(&mut self, at: usize) {
        self.open.copy_within(at + 1..self.count, at);
        self.count -= 1;
    }
}
