//! Tasks: SCSI commands from their PDU until their status, and the data that they collect (RFC 7143 sections 4.2.4.2,
//! 4.2.5, 11.7, 11.8).
//!
//! ```text
//!   command -> [Unsolicited: Data-Out up to FirstBurst] -> [Queued for memory] -> [Solicited: R2T, Data-Out ...] -> WithDriver
//! ```
//! What always holds: data arrives in order (DataPDUInOrder and DataSequenceInOrder are Yes), so that a task's buffer only
//! ever grows at its end; the data that is solicited and not yet done with stays below [`SESSION_DATA`], unless a
//! single command needs more.

use super::negotiate::Negotiated;
use crate::limits::{COMMAND_DATA, SESSION_DATA};
use crate::pdu::RESERVED_TAG;
use crate::pdu::request::{DataOut, ScsiCommand};
use std::collections::{HashMap, VecDeque};

/// A condition that ends a command with ABORTED COMMAND or ILLEGAL REQUEST before the SCSI layer sees it
/// (section 11.4.7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    UnexpectedUnsolicitedData,
    IncorrectAmountOfData,
    /// A data PDU is missing or out of order.
    DataSequence,
    /// More data than we take for one command.
    TooMuchData,
}

impl Fault {
    /// Sense key, additional code and qualifier.
    pub fn sense(self) -> (u8, u8, u8) {
        match self {
            Fault::UnexpectedUnsolicitedData => (0x0b, 0x0c, 0x0c),
            Fault::IncorrectAmountOfData => (0x0b, 0x0c, 0x0d),
            Fault::DataSequence => (0x0b, 0x47, 0x05),
            Fault::TooMuchData => (0x05, 0x24, 0x00),
        }
    }
}

/// A request for data that the initiator has not answered in full.
#[derive(Debug)]
struct OpenR2t {
    transfer_tag: u32,
    end: u32,
    next_data_sn: u32,
}

#[derive(Debug)]
enum Phase {
    Unsolicited {
        next_data_sn: u32,
    },
    /// Waits for memory before its first R2T.
    Queued,
    Solicited {
        open: VecDeque<OpenR2t>,
        /// Where the next R2T starts.
        next_offset: u32,
    },
    WithDriver,
}

#[derive(Debug)]
pub(super) struct Task {
    pub header: ScsiCommand,
    pub data: Vec<u8>,
    /// R2Ts sent.
    pub r2t_count: u32,
    phase: Phase,
    /// Bytes of [`SESSION_DATA`] that it holds.
    reserved: u64,
}

/// An R2T to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Solicit {
    pub lun: u64,
    pub task_tag: u32,
    pub transfer_tag: u32,
    pub r2t_sn: u32,
    pub offset: u32,
    pub length: u32,
}

/// What follows from a PDU of a task.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More data is to come.
    Waiting,
    /// All data is there: to the driver.
    Complete,
    /// The command ends here.
    Failed(Fault),
}

/// All open tasks of a session.
#[derive(Debug, Default)]
pub(super) struct TaskTable {
    tasks: HashMap<u32, Task>,
    /// Tasks in [`Phase::Queued`], oldest first.
    queue: VecDeque<u32>,
    reserved: u64,
    last_transfer_tag: u32,
    /// R2Ts to send, in order.
    pub solicit: Vec<Solicit>,
}

impl TaskTable {
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn contains(&self, tag: u32) -> bool {
        self.tasks.contains_key(&tag)
    }

    /// Tags and LUN fields of all open tasks.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.tasks.iter().map(|(tag, task)| (*tag, task.header.lun))
    }

    pub fn next_transfer_tag(&mut self) -> u32 {
        self.last_transfer_tag = self.last_transfer_tag.wrapping_add(1) & 0x7fff_ffff;
        self.last_transfer_tag
    }

    /// A new command with its immediate data; its tag is not open.
    pub fn begin(&mut self, rules: &Negotiated, header: ScsiCommand, immediate: &[u8]) -> Progress {
        let expected = if header.write { header.expected_data_length } else { 0 };
        if let Some(fault) = first_fault(rules, &header, expected, immediate) {
            return Progress::Failed(fault);
        }
        let mut data = Vec::new();
        if expected > 0 {
            data.reserve_exact(expected.min(rules.first_burst().max(immediate.len() as u32)) as usize);
            data.extend_from_slice(immediate);
        }
        let done = data.len() == expected as usize;
        let phase = if done { Phase::WithDriver } else { Phase::Unsolicited { next_data_sn: 0 } };
        let task = Task { header, data, r2t_count: 0, phase, reserved: 0 };
        self.tasks.insert(header.task_tag, task);
        match (done, header.final_bit) {
            (true, _) => Progress::Complete,
            (false, true) => self.end_of_unsolicited(rules, header.task_tag),
            (false, false) => Progress::Waiting,
        }
    }

    fn end_of_unsolicited(&mut self, rules: &Negotiated, tag: u32) -> Progress {
        if let Some(task) = self.tasks.get_mut(&tag) {
            task.phase = Phase::Queued;
            self.queue.push_back(tag);
            self.admit_queued(rules);
        }
        Progress::Waiting
    }

    /// Starts soliciting for queued tasks while there is memory.
    pub fn admit_queued(&mut self, rules: &Negotiated) {
        while let Some(tag) = self.queue.front().copied() {
            let Some(task) = self.tasks.get_mut(&tag).filter(|task| matches!(task.phase, Phase::Queued))
            else {
                self.queue.pop_front();
                continue;
            };
            let need = u64::from(task.header.expected_data_length) - task.data.len() as u64;
            if self.reserved > 0 && self.reserved + need > SESSION_DATA {
                return;
            }
            self.queue.pop_front();
            self.reserved += need;
            task.reserved = need;
            task.data.reserve_exact(need as usize);
            task.phase = Phase::Solicited { open: VecDeque::new(), next_offset: task.data.len() as u32 };
            self.solicit_more(rules, tag);
        }
    }

    fn solicit_more(&mut self, rules: &Negotiated, tag: u32) {
        loop {
            let transfer_tag = self.next_transfer_tag();
            let Some(task) = self.tasks.get_mut(&tag) else { return };
            let Phase::Solicited { open, next_offset } = &mut task.phase else { return };
            let left = task.header.expected_data_length - *next_offset;
            if left == 0 || open.len() >= rules.outstanding_r2t as usize {
                return;
            }
            let (offset, length) = (*next_offset, left.min(rules.max_burst));
            *next_offset += length;
            open.push_back(OpenR2t { transfer_tag, end: *next_offset, next_data_sn: 0 });
            let (lun, r2t_sn) = (task.header.lun, task.r2t_count);
            task.r2t_count += 1;
            self.solicit.push(Solicit { lun, task_tag: tag, transfer_tag, r2t_sn, offset, length });
        }
    }

    /// A Data-Out PDU. `None` when no task waits for it: what was in flight when a task ended is dropped.
    pub fn data_out(&mut self, rules: &Negotiated, pdu: &DataOut, bytes: &[u8]) -> Option<Progress> {
        let task = self.tasks.get_mut(&pdu.task_tag)?;
        let offset_is_next = pdu.buffer_offset as usize == task.data.len();
        match &mut task.phase {
            Phase::WithDriver | Phase::Queued => None,
            Phase::Unsolicited { .. } | Phase::Solicited { .. } if !offset_is_next => {
                Some(Progress::Failed(Fault::DataSequence))
            }
            Phase::Unsolicited { next_data_sn } => {
                if pdu.transfer_tag != RESERVED_TAG || pdu.data_sn != *next_data_sn {
                    return Some(Progress::Failed(Fault::DataSequence));
                }
                *next_data_sn += 1;
                let most = task.header.expected_data_length.min(rules.first_burst()) as usize;
                if task.data.len() + bytes.len() > most {
                    return Some(Progress::Failed(Fault::IncorrectAmountOfData));
                }
                task.data.extend_from_slice(bytes);
                if task.data.len() == task.header.expected_data_length as usize {
                    task.phase = Phase::WithDriver;
                    return Some(Progress::Complete);
                }
                Some(if pdu.final_bit {
                    self.end_of_unsolicited(rules, pdu.task_tag)
                } else {
                    Progress::Waiting
                })
            }
            Phase::Solicited { .. } => Some(self.solicited(rules, pdu, bytes)),
        }
    }

    fn solicited(&mut self, rules: &Negotiated, pdu: &DataOut, bytes: &[u8]) -> Progress {
        let Some(task) = self.tasks.get_mut(&pdu.task_tag) else { return Progress::Waiting };
        let Phase::Solicited { open, .. } = &mut task.phase else { return Progress::Waiting };
        let Some(r2t) = open.front_mut() else { return Progress::Failed(Fault::UnexpectedUnsolicitedData) };
        if pdu.transfer_tag != r2t.transfer_tag || pdu.data_sn != r2t.next_data_sn {
            return Progress::Failed(Fault::DataSequence);
        }
        r2t.next_data_sn += 1;
        let end = task.data.len() + bytes.len();
        let burst_done = end == r2t.end as usize;
        if end > r2t.end as usize || (pdu.final_bit && !burst_done) {
            return Progress::Failed(Fault::IncorrectAmountOfData);
        }
        task.data.extend_from_slice(bytes);
        if burst_done {
            open.pop_front();
        }
        if end == task.header.expected_data_length as usize {
            task.phase = Phase::WithDriver;
            return Progress::Complete;
        }
        if burst_done {
            self.solicit_more(rules, pdu.task_tag);
        }
        Progress::Waiting
    }

    /// The task, if the driver has it (to take its data to the driver).
    pub fn with_driver(&mut self, tag: u32) -> Option<&mut Task> {
        self.tasks.get_mut(&tag).filter(|task| matches!(task.phase, Phase::WithDriver))
    }

    /// Removes a task and gives its memory to those that wait.
    pub fn end(&mut self, rules: &Negotiated, tag: u32) -> Option<Task> {
        let task = self.tasks.remove(&tag)?;
        self.reserved -= task.reserved;
        self.solicit.retain(|solicit| solicit.task_tag != tag);
        self.queue.retain(|queued| *queued != tag);
        self.admit_queued(rules);
        Some(task)
    }
}

impl Task {
    pub fn is_with_driver(&self) -> bool {
        matches!(self.phase, Phase::WithDriver)
    }
}

/// What is wrong with a command and its immediate data at first sight.
fn first_fault(rules: &Negotiated, header: &ScsiCommand, expected: u32, immediate: &[u8]) -> Option<Fault> {
    if expected > COMMAND_DATA {
        return Some(Fault::TooMuchData);
    }
    if !immediate.is_empty() && (!rules.immediate_data || !header.write) {
        return Some(Fault::UnexpectedUnsolicitedData);
    }
    if immediate.len() > expected.min(rules.first_burst()) as usize {
        return Some(Fault::IncorrectAmountOfData);
    }
    let awaits_more = !header.final_bit && (immediate.len() as u32) < expected;
    (awaits_more && rules.initial_r2t).then_some(Fault::UnexpectedUnsolicitedData)
}
