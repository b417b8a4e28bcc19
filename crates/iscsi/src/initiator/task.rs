//! One SCSI command on its way: which of its data has gone out or come in.

use super::{config::Parameters, error::SessionError};
use crate::pdu::response::{DataIn, R2t};
use std::{ops::Range, sync::Arc};

/// The number by which a command is known in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u32);

/// The data of a command.
#[derive(Debug, Clone)]
pub enum Transfer {
    None,
    /// Up to so many bytes from the target.
    In(u32),
    /// These bytes to the target.
    Out(Arc<[u8]>),
}

/// A SCSI command for a LUN.
#[derive(Debug, Clone)]
pub struct Command {
    /// The LUN field as it stands in the PDU.
    pub lun: u64,
    pub cdb: [u8; 16],
    pub transfer: Transfer,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With this SAM status; sense data where there was any.
    Status { status: u8, sense: Vec<u8> },
    /// The target could not carry it out (iSCSI response code).
    TargetFailure { response: u8 },
}

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    pub tag: Tag,
    pub outcome: Outcome,
    /// What came in; shorter than asked for where the target had less.
    pub data: Vec<u8>,
}

/// A piece of a command's data to be sent as one Data-Out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub range: Range<usize>,
    pub data_sn: u32,
    pub last: bool,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) lun: u64,
    transfer: Transfer,
    received: Vec<u8>,
    /// First byte that no R2T has asked for yet and that was not sent unasked.
    next_solicited: usize,
}

impl Task {
    pub(super) fn new(lun: u64, transfer: Transfer) -> Self {
        Task { lun, transfer, received: Vec::new(), next_solicited: 0 }
    }

    pub(super) fn out(&self) -> Option<&Arc<[u8]>> {
        match &self.transfer {
            Transfer::Out(data) => Some(data),
            _ => None,
        }
    }

    /// How much goes with the command itself, and which pieces follow it unasked.
    pub(super) fn unsolicited(&mut self, agreed: &Parameters) -> (usize, Vec<Piece>) {
        let Transfer::Out(data) = &self.transfer else { return (0, Vec::new()) };
        let burst = data.len().min(agreed.first_burst);
        let immediate = if agreed.immediate_data { burst.min(agreed.send_segment) } else { 0 };
        let end = if agreed.initial_r2t { immediate } else { burst };
        self.next_solicited = end;
        (immediate, pieces(immediate..end, agreed.send_segment))
    }

    /// The pieces that an R2T asks for; it has to ask in order and within the data.
    pub(super) fn solicited(&mut self, r2t: &R2t, agreed: &Parameters) -> Result<Vec<Piece>, SessionError> {
        let total = self.out().map_or(0, |data| data.len());
        let (start, len) = (r2t.buffer_offset as usize, r2t.desired_length as usize);
        let end = start.checked_add(len).filter(|end| *end <= total && len > 0);
        match end {
            Some(end) if start == self.next_solicited && len <= agreed.max_burst => {
                self.next_solicited = end;
                Ok(pieces(start..end, agreed.send_segment))
            }
            _ => Err(SessionError::Protocol("an R2T outside the data of its command")),
        }
    }

    /// Keeps data that came in.
    pub(super) fn receive(&mut self, header: &DataIn, data: &[u8]) -> Result<(), SessionError> {
        let Transfer::In(expected) = self.transfer else {
            return Err(SessionError::Protocol("Data-In for a command that reads nothing"));
        };
        if header.buffer_offset as usize != self.received.len() {
            return Err(SessionError::Protocol("Data-In out of order"));
        }
        if self.received.len() + data.len() > expected as usize {
            return Err(SessionError::Protocol("more Data-In than was asked for"));
        }
        if self.received.is_empty() {
            self.received.reserve_exact((expected as usize).min(1 << 20));
        }
        self.received.extend_from_slice(data);
        Ok(())
    }

    pub(super) fn complete(self, tag: Tag, outcome: Outcome) -> Completion {
        Completion { tag, outcome, data: self.received }
    }
}

fn pieces(range: Range<usize>, segment: usize) -> Vec<Piece> {
    let (mut list, mut at, mut data_sn) = (Vec::new(), range.start, 0);
    while at < range.end {
        let end = range.end.min(at + segment);
        list.push(Piece { range: at..end, data_sn, last: end == range.end });
        at = end;
        data_sn += 1;
    }
    list
}
