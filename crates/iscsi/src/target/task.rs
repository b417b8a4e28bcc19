//! One SCSI command from its PDU until its status: which of its data may come, and which has (RFC 7143 sections 4.2.4.2,
//! 4.2.5, 11.7, 11.8).
//!
//! ```text
//!   new -> Unsolicited -> Queued --solicit--> Solicited (R2Ts) -> WithDriver -> status
//!              \_____________\____________________\__ fault or refusal: Ending, until nothing of it is on its way -> status
//! ```
//! What always holds: data arrives in order (DataPDUInOrder and DataSequenceInOrder are Yes), so that what has arrived is
//! the front of all; a command that ends early is not answered before the last data PDU that the initiator owes (section
//! 11.4.2).

use super::negotiate::Negotiated;
use super::respond::{Ending, Residual};
use super::sequence::{Sequence, Sequences};
use crate::limits::COMMAND_DATA;
use crate::pdu::request::{DataOut, ScsiCommand};
use crate::pdu::response::R2t;
use crate::pdu::{Additional, RESERVED_TAG};

/// A condition that ends a command before the SCSI layer sees it (section 11.4.7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    UnexpectedUnsolicitedData,
    IncorrectAmountOfData,
    /// A data PDU is missing or out of order.
    DataSequence,
    /// The digest of a data PDU was wrong (section 7.8).
    DataDigest,
    /// More data than we take for one command.
    TooMuchData,
    /// A CDB of more than sixteen bytes, or data both ways: no command of ours has either.
    NoSuchCommand,
}

impl Fault {
    /// Sense key, additional code and qualifier.
    pub fn sense(self) -> (u8, u8, u8) {
        match self {
            Fault::UnexpectedUnsolicitedData => (0x0b, 0x0c, 0x0c),
            Fault::IncorrectAmountOfData => (0x0b, 0x0c, 0x0d),
            Fault::DataSequence | Fault::DataDigest => (0x0b, 0x47, 0x05),
            Fault::TooMuchData => (0x05, 0x24, 0x00),
            Fault::NoSuchCommand => (0x05, 0x20, 0x00),
        }
    }
}

#[derive(Debug)]
enum Phase {
    /// The command's own PDU is on its way, or data that it announced.
    Unsolicited,
    /// Waits for the driver's word before its first R2T.
    Queued,
    /// Data comes as R2Ts ask for it.
    Solicited,
    WithDriver,
    /// It has failed, and is answered when the initiator owes nothing more.
    Ending(Box<Ending>),
}

#[derive(Debug)]
pub(super) struct Task {
    pub header: ScsiCommand,
    /// Its place in the order of arrival.
    pub serial: u64,
    /// Bytes that the initiator has for us, and how many of them have arrived.
    total: u32,
    received: u32,
    /// R2Ts sent, and where the next one starts.
    r2ts: u32,
    next_offset: u32,
    /// The last transfer tag given out before this task: older ones are of a task that had its tag before.
    born: u32,
    sequences: Sequences,
    phase: Phase,
    /// Whether the driver knows of it.
    named: bool,
}

/// Where the data segment of a PDU belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(u32),
    Nowhere,
}

/// What follows from a PDU of a task.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    Waiting,
    /// R2Ts may be sent.
    Solicits,
    /// The driver is to say when R2Ts may be sent.
    Queued,
    /// All data is there: to the driver.
    Complete,
    /// It has failed; whether the driver knows of it, and is to forget it.
    Failed { discard: bool },
}

impl Task {
    /// A new command, whose own PDU is still on its way.
    pub fn new(
        rules: &Negotiated,
        header: ScsiCommand,
        additional: Additional,
        immediate: u32,
        born: u32,
    ) -> Task {
        let total = if header.write { header.expected_data_length } else { 0 };
        let mut task = Task {
            header,
            serial: 0,
            total,
            received: 0,
            r2ts: 0,
            next_offset: 0,
            born,
            sequences: Sequences::default(),
            phase: Phase::Unsolicited,
            named: false,
        };
        let announces_more = !header.final_bit && immediate < total;
        if announces_more && !rules.initial_r2t {
            let end = total.min(rules.first_burst);
            task.sequences.push(Sequence { transfer_tag: RESERVED_TAG, end, next_data_sn: 0 });
        }
        let both_ways = header.read && header.write && header.expected_data_length > 0;
        if additional.extended_cdb > 0 || additional.bidirectional_read.is_some() || both_ways {
            let mut ending = task.ending_of(Fault::NoSuchCommand);
            ending.bidi_read = additional.bidirectional_read.unwrap_or(0);
            task.end(ending);
        } else if let Some(fault) = task.first_fault(rules, immediate) {
            task.fail(fault);
        }
        task
    }

    /// What is wrong with a command and its immediate data at first sight.
    fn first_fault(&self, rules: &Negotiated, immediate: u32) -> Option<Fault> {
        let announces_more = !self.header.final_bit && immediate < self.total;
        if self.total > COMMAND_DATA {
            return Some(Fault::TooMuchData);
        }
        if immediate > 0 && (!rules.immediate_data || !self.header.write) {
            return Some(Fault::UnexpectedUnsolicitedData);
        }
        if immediate > self.total.min(rules.first_burst) {
            return Some(Fault::IncorrectAmountOfData);
        }
        (announces_more && rules.initial_r2t).then_some(Fault::UnexpectedUnsolicitedData)
    }

    pub fn total(&self) -> u32 {
        self.total
    }

    pub fn r2ts(&self) -> u32 {
        self.r2ts
    }

    pub fn is_with_driver(&self) -> bool {
        matches!(self.phase, Phase::WithDriver)
    }

    /// Whether the initiator has announced data, or was asked for it.
    pub fn owes_data(&self) -> bool {
        !self.sequences.is_empty()
    }

    fn is_collecting(&self) -> bool {
        matches!(self.phase, Phase::Unsolicited | Phase::Solicited)
    }

    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_))
    }

    /// Where the immediate data goes.
    pub fn place_immediate(&mut self, len: u32) -> Place {
        match self.phase {
            Phase::Unsolicited if len > 0 => self.named_at(0),
            _ => Place::Nowhere,
        }
    }

    fn named_at(&mut self, offset: u32) -> Place {
        self.named = true;
        Place::At(offset)
    }

    /// Where the data of a Data-Out goes; one that breaks the rules ends the command.
    pub fn place_data(&mut self, pdu: &DataOut, len: u32) -> Place {
        if !self.is_collecting() || self.is_stale(pdu) {
            return Place::Nowhere;
        }
        match self.fault_in(pdu, len) {
            None => self.named_at(self.received),
            Some(fault) => {
                self.fail(fault);
                Place::Nowhere
            }
        }
    }

    /// Whether a Data-Out answers an R2T of an ended task that had the same tag.
    fn is_stale(&self, pdu: &DataOut) -> bool {
        let age = self.born.wrapping_sub(pdu.transfer_tag);
        pdu.transfer_tag != RESERVED_TAG && (age as i32) >= 0
    }

    fn fault_in(&self, pdu: &DataOut, len: u32) -> Option<Fault> {
        let Some(front) = self.sequences.as_slice().first() else {
            return Some(Fault::UnexpectedUnsolicitedData);
        };
        let in_order = pdu.transfer_tag == front.transfer_tag
            && pdu.data_sn == front.next_data_sn
            && pdu.buffer_offset == self.received;
        if !in_order {
            return Some(Fault::DataSequence);
        }
        let end = self.received.saturating_add(len);
        let too_early = front.is_solicited() && pdu.final_bit && end != front.end;
        (end > front.end || too_early).then_some(Fault::IncorrectAmountOfData)
    }

    /// The command's own PDU has arrived, with so much data.
    pub fn command_arrived(&mut self, immediate: u32) -> Progress {
        if self.is_ending() {
            return self.failed();
        }
        (self.received, self.next_offset) = (immediate, immediate);
        self.progress()
    }

    /// A Data-Out has arrived.
    pub fn data_arrived(&mut self, pdu: &DataOut, len: u32) -> Progress {
        if self.is_ending() {
            self.settle_sequence(pdu, len);
            return self.failed();
        }
        if !self.is_collecting() || self.is_stale(pdu) {
            return Progress::Waiting;
        }
        let Some(front) = self.sequences.front_mut() else { return Progress::Waiting };
        front.next_data_sn = front.next_data_sn.wrapping_add(1);
        self.received += len;
        if front.is_solicited() {
            if self.received == front.end {
                self.sequences.remove(0);
            }
        } else {
            self.next_offset = self.received;
            if pdu.final_bit {
                self.sequences.remove(0);
            }
        }
        self.progress()
    }

    fn failed(&mut self) -> Progress {
        Progress::Failed { discard: std::mem::take(&mut self.named) }
    }

    /// With all data there it is the driver's; after the last unsolicited data it waits for its turn.
    fn progress(&mut self) -> Progress {
        if self.received == self.total {
            self.phase = Phase::WithDriver;
            return Progress::Complete;
        }
        match self.phase {
            Phase::Unsolicited if self.sequences.is_empty() => {
                self.phase = Phase::Queued;
                self.named = true;
                Progress::Queued
            }
            Phase::Solicited => Progress::Solicits,
            _ => Progress::Waiting,
        }
    }

    /// The immediate data is damaged.
    pub fn command_damaged(&mut self) {
        if self.is_collecting() {
            self.fail(Fault::DataDigest);
        }
    }

    /// A Data-Out is damaged.
    pub fn data_damaged(&mut self, pdu: &DataOut) {
        if self.is_collecting() && !self.is_stale(pdu) {
            self.fail(Fault::DataDigest);
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.end(self.ending_of(fault));
    }

    /// Nothing of its data was used.
    fn ending_of(&self, fault: Fault) -> Ending {
        Ending::of(fault, Residual::of(u64::from(self.header.expected_data_length), 0))
    }

    /// Ends a command that has not been handed to the driver.
    pub fn end(&mut self, ending: Ending) {
        self.phase = Phase::Ending(Box::new(ending));
    }

    /// The driver gave it up by itself: it need not be told.
    pub fn unname(&mut self) {
        self.named = false;
    }

    /// One more PDU of an ended command: whether it was the last of its sequence.
    fn settle_sequence(&mut self, pdu: &DataOut, len: u32) {
        let open = self.sequences.as_slice();
        // What names none of them is taken for the first: the initiator means to answer something.
        let at = open.iter().position(|open| open.transfer_tag == pdu.transfer_tag).unwrap_or(0);
        let end = pdu.buffer_offset.saturating_add(len);
        if open.is_empty() || self.is_stale(pdu) {
            return;
        }
        if pdu.final_bit || (open[at].is_solicited() && end >= open[at].end) {
            self.sequences.remove(at);
        }
    }

    /// The response of a command that has ended, once the initiator owes nothing more.
    pub fn ended(&self) -> Option<&Ending> {
        match &self.phase {
            Phase::Ending(ending) if self.sequences.is_empty() => Some(ending),
            _ => None,
        }
    }

    /// The driver has room for its data.
    pub fn solicit(&mut self) {
        if matches!(self.phase, Phase::Queued) {
            self.phase = Phase::Solicited;
        }
    }

    /// Whether another R2T may be sent.
    pub fn may_solicit(&self, rules: &Negotiated) -> bool {
        matches!(self.phase, Phase::Solicited)
            && self.next_offset < self.total
            && self.sequences.len() < rules.outstanding_r2t()
    }

    /// The next R2T, of a task that may send one.
    pub fn next_r2t(&mut self, rules: &Negotiated, transfer_tag: u32) -> R2t {
        let (offset, length) = (self.next_offset, (self.total - self.next_offset).min(rules.max_burst));
        self.next_offset += length;
        self.sequences.push(Sequence { transfer_tag, end: self.next_offset, next_data_sn: 0 });
        self.r2ts += 1;
        R2t {
            final_bit: true,
            lun: self.header.lun,
            task_tag: self.header.task_tag,
            transfer_tag,
            r2t_sn: self.r2ts - 1,
            buffer_offset: offset,
            desired_length: length,
            ..R2t::default()
        }
    }
}
