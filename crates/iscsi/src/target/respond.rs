//! What answers a command: data, status, residual (RFC 7143 sections 11.4 and 11.7).

use super::event::Completion;
use super::link::Link;
use super::negotiate::Negotiated;
use super::task::{Fault, Task};
use crate::limits::SENSE_BYTES;
use crate::pdu::RESERVED_TAG;
use crate::pdu::response::{DataIn, ScsiResponse};

/// SAM-5 section 5.3.1.
const CHECK_CONDITION: u8 = 0x02;

/// How a command ended that has no data for the initiator.
#[derive(Debug)]
pub(super) struct Ending {
    status: u8,
    sense: Vec<u8>,
    residual: Residual,
    /// Of a bidirectional command: bytes that it expected to read (section 11.4.6).
    pub bidi_read: u32,
}

impl Ending {
    /// By a condition of the transport: CHECK CONDITION with fixed sense data.
    pub fn of(fault: Fault, residual: Residual) -> Ending {
        let (key, code, qualifier) = fault.sense();
        let mut sense = vec![0; 18];
        (sense[0], sense[2], sense[7], sense[12], sense[13]) = (0x70, key, 10, code, qualifier);
        Ending { status: CHECK_CONDITION, sense, residual, bidi_read: 0 }
    }

    /// By the driver's refusal, before all of its data had come.
    pub fn refused(task: &Task, done: &Completion<'_>) -> Ending {
        let residual = Residual::of(u64::from(task.total()), done.takes.unwrap_or(0));
        Ending { status: done.status, sense: within(done.sense).to_vec(), residual, bidi_read: 0 }
    }

    pub fn send(&self, link: &mut Link, task: &Task) {
        let (bidi_underflow, bidi_residual) = (self.bidi_read > 0, self.bidi_read);
        let pdu = status_pdu(task, self.status, self.residual, task.r2ts());
        link.send_status(ScsiResponse { bidi_underflow, bidi_residual, ..pdu }, &self.sense);
    }
}

/// Sense data no longer than sense data can be.
fn within(sense: &[u8]) -> &[u8] {
    &sense[..sense.len().min(SENSE_BYTES)]
}

impl Link {
    /// The answer of the driver to a command that it had.
    pub fn answer(&mut self, rules: &Negotiated, task: &Task, done: &Completion<'_>) {
        let header = &task.header;
        let expected = u64::from(header.expected_data_length);
        let has = done.has.unwrap_or(done.data_in.len() as u64);
        let residual = match (header.write, header.read) {
            (true, _) => Residual::of(expected, done.takes.unwrap_or(expected)),
            (false, true) => Residual::of(expected, has),
            (false, false) => Residual::of(0, done.takes.unwrap_or(0).max(has)),
        };
        let readable = header.read && !header.write;
        let sent = if readable { done.data_in.len().min(expected as usize) } else { 0 };
        if sent == 0 {
            return self.send_status(status_pdu(task, done.status, residual, task.r2ts()), done.sense);
        }
        let collapse = done.status == 0 && done.sense.is_empty();
        let pdus = self.send_data(rules, task, &done.data_in[..sent], collapse.then_some(residual));
        if !collapse {
            self.send_status(status_pdu(task, done.status, residual, pdus), done.sense);
        }
    }

    /// Data-In PDUs; with a residual, the last carries GOOD status (section 11.7.3). Returns how many there were.
    fn send_data(&mut self, rules: &Negotiated, task: &Task, data: &[u8], collapse: Option<Residual>) -> u32 {
        // Whole words in all but the last PDU of a burst (section 11.7).
        let (segment, burst) = (rules.peer_data_segment & !3, rules.max_burst as usize);
        let (mut offset, mut data_sn) = (0, 0);
        while offset < data.len() {
            let burst_left = burst - offset % burst;
            let end = data.len().min(offset + segment.min(burst_left));
            let last = end == data.len();
            let mut pdu = DataIn {
                final_bit: last || end % burst == 0,
                task_tag: task.header.task_tag,
                transfer_tag: RESERVED_TAG,
                data_sn,
                buffer_offset: offset as u32,
                ..DataIn::default()
            };
            if let (true, Some(residual)) = (last, collapse) {
                pdu.has_status = true;
                (pdu.overflow, pdu.underflow, pdu.residual) = residual.fields();
            }
            self.send_payload(&pdu, data, offset..end);
            offset = end;
            data_sn += 1;
        }
        data_sn
    }

    fn send_status(&mut self, pdu: ScsiResponse, sense: &[u8]) {
        let sense = within(sense);
        if sense.is_empty() {
            return self.respond(pdu, &[]);
        }
        let mut segment = [0; 2 + SENSE_BYTES];
        let (len, bytes) = segment.split_at_mut(2);
        len.copy_from_slice(&(sense.len() as u16).to_be_bytes());
        bytes[..sense.len()].copy_from_slice(sense);
        self.respond(pdu, &segment[..2 + sense.len()]);
    }
}

/// A response with status; `data_pdus` counts the Data-In or R2T PDUs before it.
fn status_pdu(task: &Task, status: u8, residual: Residual, data_pdus: u32) -> ScsiResponse {
    let (overflow, underflow, residual) = residual.fields();
    ScsiResponse {
        final_bit: true,
        overflow,
        underflow,
        status,
        task_tag: task.header.task_tag,
        exp_data_sn: data_pdus,
        residual,
        ..ScsiResponse::default()
    }
}

/// The difference between what the initiator expected and what there was (section 11.4.5).
#[derive(Debug, Clone, Copy)]
pub(super) enum Residual {
    None,
    Overflow(u32),
    Underflow(u32),
}

impl Residual {
    pub fn of(expected: u64, actual: u64) -> Residual {
        let clamp = |difference: u64| u32::try_from(difference).unwrap_or(u32::MAX);
        match expected.cmp(&actual) {
            std::cmp::Ordering::Equal => Residual::None,
            std::cmp::Ordering::Less => Residual::Overflow(clamp(actual - expected)),
            std::cmp::Ordering::Greater => Residual::Underflow(clamp(expected - actual)),
        }
    }

    fn fields(self) -> (bool, bool, u32) {
        match self {
            Residual::None => (false, false, 0),
            Residual::Overflow(count) => (true, false, count),
            Residual::Underflow(count) => (false, true, count),
        }
    }
}
