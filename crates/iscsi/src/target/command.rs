//! SCSI commands and their data: from the initiator's PDUs to the driver, and from the driver's answer to the initiator
//! (RFC 7143 sections 11.3, 11.4, 11.7, 11.8).

use super::event::{Aborted, Command, Completion, DataTo, Event, SessionKind};
use super::full::Full;
use super::link::Link;
use super::respond::Ending;
use super::task::{Place, Progress, Task};
use crate::limits::IMMEDIATE_COMMANDS;
use crate::pdu::request::{DataOut, ScsiCommand};
use crate::pdu::response::reject_reason;
use crate::pdu::{Additional, Lun, RESERVED_TAG};

impl Full {
    /// The header of a command whose CmdSN was taken: where its immediate data goes, or the reason to reject it.
    pub(super) fn command(&mut self, pdu: &ScsiCommand, ahs: &[u8], immediate: u32) -> Result<DataTo, u8> {
        if self.kind == SessionKind::Discovery || pdu.task_tag == RESERVED_TAG {
            return Err(reject_reason::PROTOCOL_ERROR);
        }
        if self.tasks.get(pdu.task_tag).is_some() || self.management.contains(&pdu.task_tag) {
            return Err(reject_reason::TASK_IN_PROGRESS);
        }
        if pdu.immediate && self.tasks.immediate() >= IMMEDIATE_COMMANDS {
            return Err(reject_reason::IMMEDIATE_COMMAND_REJECT);
        }
        let additional = Additional::parse(ahs).ok_or(reject_reason::INVALID_PDU_FIELD)?;
        let task = Task::new(&self.negotiated, *pdu, additional, immediate, self.tasks.last_transfer_tag());
        let task = self.tasks.insert(task);
        let place = task.place_immediate(immediate);
        Ok(data_to(task, place))
    }

    /// The header of a Data-Out. What belongs to no task was on its way when its task ended: it is dropped.
    pub(super) fn data_out(&mut self, pdu: &DataOut, len: u32) -> DataTo {
        let Some(task) = self.tasks.get_mut(pdu.task_tag) else { return DataTo::Skip };
        let place = task.place_data(pdu, len);
        data_to(task, place)
    }

    pub(super) fn command_arrived(&mut self, link: &mut Link, tag: u32, immediate: u32) -> Option<Event> {
        let progress = self.tasks.get_mut(tag)?.command_arrived(immediate);
        self.follow(link, tag, progress)
    }

    pub(super) fn data_arrived(&mut self, link: &mut Link, pdu: &DataOut, len: u32) -> Option<Event> {
        let progress = self.tasks.get_mut(pdu.task_tag)?.data_arrived(pdu, len);
        if len > 0 {
            self.stall.moved();
        }
        self.follow(link, pdu.task_tag, progress)
    }

    /// A command whose immediate data is damaged.
    pub(super) fn command_damaged(&mut self, link: &mut Link, tag: u32) -> Option<Event> {
        self.tasks.get_mut(tag)?.command_damaged();
        self.command_arrived(link, tag, 0)
    }

    /// A Data-Out whose data is damaged.
    pub(super) fn data_damaged(&mut self, link: &mut Link, pdu: &DataOut, len: u32) -> Option<Event> {
        self.tasks.get_mut(pdu.task_tag)?.data_damaged(pdu);
        self.data_arrived(link, pdu, len)
    }

    fn follow(&mut self, link: &mut Link, tag: u32, progress: Progress) -> Option<Event> {
        match progress {
            Progress::Waiting => None,
            Progress::Solicits => {
                self.send_r2ts(link, tag);
                None
            }
            Progress::Queued => Some(Event::Solicit { tag, total: self.tasks.get(tag)?.total() }),
            Progress::Complete => Some(Event::Command(to_driver(self.tasks.get(tag)?))),
            Progress::Failed { discard } => {
                self.answer_if_ended(link, tag);
                discard.then_some(Event::Discard { tag })
            }
        }
    }

    /// Answers a command that has failed, unless something of it is still on its way.
    fn answer_if_ended(&mut self, link: &mut Link, tag: u32) {
        if self.is_arriving(tag) || self.tasks.get(tag).is_none_or(|task| task.ended().is_none()) {
            return;
        }
        let Some(task) = self.tasks.remove(tag) else { return };
        self.open_window(link);
        if let Some(ending) = task.ended() {
            ending.send(link, &task);
        }
    }

    /// The driver has room for a command's data.
    pub fn solicit(&mut self, link: &mut Link, tag: u32) {
        if let Some(task) = self.tasks.get_mut(tag) {
            task.solicit();
            self.send_r2ts(link, tag);
        }
    }

    fn send_r2ts(&mut self, link: &mut Link, tag: u32) {
        while let Some(r2t) = self.tasks.next_r2t(tag, &self.negotiated) {
            link.inform(r2t);
        }
    }

    /// The driver's answer to a command: its end, or a refusal before its data had come.
    pub fn complete(&mut self, link: &mut Link, tag: u32, done: &Completion<'_>) {
        let Some(task) = self.tasks.get_mut(tag) else { return };
        if task.is_with_driver() {
            let Some(task) = self.tasks.remove(tag) else { return };
            self.open_window(link);
            return link.answer(&self.negotiated, &task, done);
        }
        if !task.is_ending() {
            let ending = Ending::refused(task, done);
            task.end(ending);
        }
        task.unname();
        self.answer_if_ended(link, tag);
    }

    /// Forgets a task: it gets no response.
    pub fn abort(&mut self, tag: u32) -> Aborted {
        match self.tasks.remove(tag) {
            None => Aborted::Unknown,
            Some(task) if task.is_with_driver() => Aborted::WithDriver,
            Some(_) => Aborted::Dropped,
        }
    }

    /// Whether any open task has the attribute ORDERED.
    pub fn has_ordered(&self) -> bool {
        self.tasks.has_ordered()
    }

    /// Whether a task's turn has come, as far as tasks before it are concerned that do not run yet.
    pub fn may_begin(&self, tag: u32) -> bool {
        self.tasks.may_begin(tag)
    }

    /// Tags and LUNs of all open tasks.
    pub fn open_tasks(&self) -> Vec<(u32, Lun)> {
        self.tasks.iter().map(|(tag, lun)| (tag, Lun(lun))).collect()
    }
}

fn data_to(task: &Task, place: Place) -> DataTo {
    match place {
        Place::At(offset) => DataTo::Task { tag: task.header.task_tag, offset, total: task.total() },
        Place::Nowhere => DataTo::Skip,
    }
}

fn to_driver(task: &Task) -> Command {
    let header = &task.header;
    let reads = header.read && !header.write;
    Command {
        tag: header.task_tag,
        lun: Lun(header.lun),
        cdb: header.cdb,
        attribute: header.attribute,
        read_length: if reads { header.expected_data_length } else { 0 },
        write_length: task.total(),
        immediate: header.immediate,
    }
}
