//! One connection as its initiator: what it has sent, what it waits for, and what it hears.
//!
//! What always holds for a decent peer, one that never broke a rule: the target does not cut it off, rejects nothing,
//! asks for no more data than a command has, and answers each command once. For every peer: nothing that it hears speaks of
//! a unit that it may know nothing of, or of another place than the one that it read.

use super::command::Built;
use super::marks::{Units, WITNESS, marks};
use super::stream::Stream;
use std::collections::{BTreeMap, BTreeSet};
use umbra_iscsi::limits::{IMMEDIATE_COMMANDS, SEND_DATA_SEGMENT, TASK_MANAGEMENT_REQUESTS};
use umbra_iscsi::pdu::request::{DataOut, NopOut, ScsiCommand, TaskManagement, task_function};
use umbra_iscsi::pdu::response::R2t;
use umbra_iscsi::pdu::{Bhs, Digests, FrameReader, Lun, RESERVED_TAG, Response, write_pdu};

/// Tags of pings; those of commands count from 1.
const PINGS: u32 = 0xf000_0000;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Login,
    Full,
    /// Nobody knows where in the stream we are: nothing is waited for.
    Lost,
    Closed,
}

/// What was agreed on at login.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agreed {
    pub(super) digests: Digests,
    pub(super) immediate_data: bool,
    pub(super) initial_r2t: bool,
    pub(super) first_burst: u32,
    pub(super) max_burst: u32,
    /// Longest data segment that the target takes.
    pub(super) segment: usize,
}

const BEFORE_LOGIN: Agreed = Agreed {
    digests: Digests { header: false, data: false },
    immediate_data: true,
    initial_r2t: true,
    first_burst: 65_536,
    max_burst: 262_144,
    segment: 8192,
};

/// A command that was not answered.
#[derive(Debug)]
struct Open {
    lun: u8,
    data: Vec<u8>,
    length: u32,
    heard: u32,
    /// The byte of the unit that it reads from, if it reads blocks.
    from: Option<u64>,
    now: bool,
}

/// How a command is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    pub(super) attribute: u8,
    /// For immediate delivery.
    pub(super) now: bool,
    /// Bytes that go along with the command, at most.
    pub(super) along: u16,
    /// Whether more is sent unasked, where that is allowed.
    pub(super) unasked: bool,
    /// Expected data transfer length beyond what there is, or below it.
    pub(super) skew: i16,
}

/// As an ordinary host does.
const PLAINLY: Sending = Sending { attribute: 1, now: false, along: u16::MAX, unasked: true, skew: 0 };

/// What may be heard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// Whose data.
    pub(super) units: Units,
    /// Nothing was copied from one place to another.
    pub(super) in_place: bool,
}

/// What may be heard of the unit at a LUN, or of all that the host sees.
pub(super) type MayHear<'a> = &'a dyn Fn(Option<u8>) -> Allowed;

const WITNESS_MAY: Allowed = Allowed { units: Units::of(WITNESS), in_place: true };

#[derive(Debug)]
pub(super) struct Peer {
    stream: Stream,
    reader: FrameReader,
    pub(super) state: State,
    pub(super) agreed: Agreed,
    pub(super) decent: bool,
    pub(super) cmd_sn: u32,
    next_tag: u32,
    pings: u32,
    open: BTreeMap<u32, Open>,
    management: BTreeSet<u32>,
    pub(super) r2ts: Vec<R2t>,
}

impl Peer {
    pub(super) fn new(stream: Stream) -> Peer {
        Peer {
            stream,
            reader: FrameReader::new(8192),
            state: State::Login,
            agreed: BEFORE_LOGIN,
            decent: false,
            cmd_sn: 1,
            next_tag: 1,
            pings: 0,
            open: BTreeMap::new(),
            management: BTreeSet::new(),
            r2ts: Vec::new(),
        }
    }

    /// One that logs in and stays decent.
    pub(super) fn decent(stream: Stream, name: &str, isid: u8) -> Peer {
        let mut peer = Peer::new(stream);
        super::login::log_in_simply(&mut peer, name, isid);
        peer
    }

    pub(super) fn log_in(&mut self, agreed: Agreed, decent: bool) {
        self.state = State::Full;
        self.agreed = agreed;
        self.decent = decent;
        self.reader.set_mode(agreed.digests, SEND_DATA_SEGMENT);
    }

    /// The witness writes to its unit, and reads it back.
    pub(super) fn write_and_read(&mut self) {
        const BLOCKS: u8 = 16;
        let (at, salt) = ((self.pings % 64) as u8, self.pings as u8);
        self.start(0, &Built::write(WITNESS, at, BLOCKS, salt), PLAINLY);
        self.start(0, &Built::read(at, BLOCKS), PLAINLY);
        self.conclude(&|_| WITNESS_MAY);
    }

    /// A command of so many bytes gets room for all of them, and gives it back.
    pub(super) fn borrow_memory(&mut self, bytes: u32) {
        let (tag, lun) = (self.fresh_tag(), 0);
        let pdu = ScsiCommand {
            final_bit: true,
            write: true,
            lun,
            task_tag: tag,
            expected_data_length: bytes,
            cmd_sn: self.cmd_sn,
            cdb: Built::write(WITNESS, 0, 0, 0).cdb,
            ..ScsiCommand::default()
        };
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.send(pdu.build(), &[]);
        self.wait_for(
            "memory: commands that are over have kept it",
            |response| matches!(response, Response::R2t(r2t) if r2t.task_tag == tag),
        );
        let abort = TaskManagement {
            immediate: true,
            final_bit: true,
            function: task_function::ABORT_TASK,
            lun,
            task_tag: self.fresh_tag(),
            referenced_task_tag: tag,
            cmd_sn: self.cmd_sn,
            ..TaskManagement::default()
        };
        self.send(abort.build(), &[]);
        self.wait_for("answer to an abort", |response| {
            matches!(response, Response::TaskManagementResponse(_))
        });
    }

    fn wait_for(&mut self, what: &str, is_it: impl Fn(&Response) -> bool) {
        while !is_it(&self.next(what).expect("a decent peer is not cut off").0) {}
    }

    /// Hears of the attention that every unit has for a session that is new.
    pub(super) fn take_attentions(&mut self, luns: u8) {
        const REQUEST_SENSE: u8 = 0x03;
        let mut ask = Built::read(0, 0);
        (ask.cdb, ask.from, ask.length) = ([0; 16], None, 18);
        (ask.cdb[0], ask.cdb[4]) = (REQUEST_SENSE, 18);
        (0..luns).for_each(|lun| self.start(lun, &ask, PLAINLY));
    }

    pub(super) fn fresh_tag(&mut self) -> u32 {
        self.next_tag += 1;
        self.next_tag - 1
    }

    /// The tag of one of the commands that are open, for another: whose answer comes then, nobody knows, for the first may
    /// have been aborted.
    pub(super) fn reuse_tag(&mut self, which: u8) -> Option<u32> {
        let tag = self.open.keys().nth(usize::from(which) % self.open.len().max(1)).copied()?;
        self.open.remove(&tag);
        Some(tag)
    }

    /// Bytes that may come along with a command, at most.
    pub(super) fn immediate_most(&self) -> usize {
        let Agreed { immediate_data, first_burst, segment, .. } = self.agreed;
        if immediate_data { segment.min(first_burst as usize) } else { 0 }
    }

    /// Whether it has task management requests open, as many as it may.
    pub(super) fn manages_enough(&self) -> bool {
        self.management.len() >= TASK_MANAGEMENT_REQUESTS
    }

    pub(super) fn send(&mut self, header: Bhs, data: &[u8]) {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, header, data, self.agreed.digests);
        self.send_bytes(&bytes);
    }

    /// A peer that is cut off hears of it when it listens.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        if self.state != State::Closed && !self.stream.send(bytes) && self.state == State::Lost {
            self.state = State::Closed;
        }
    }

    /// The next PDU; none once the target has closed the connection.
    pub(super) fn next(&mut self, waited_for: &str) -> Option<(Response, Vec<u8>)> {
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    let response = Response::parse(&frame.header).expect("targets say what targets say");
                    return Some((response, frame.data.to_vec()));
                }
                Ok(None) => {}
                Err(error) => panic!("the target broke the framing: {error}"),
            }
            match self.stream.receive(self.reader.space(), waited_for) {
                0 => {
                    assert!(!self.decent, "a decent peer was cut off, {waited_for} not given");
                    self.state = State::Closed;
                    return None;
                }
                count => self.reader.filled(count),
            }
        }
    }

    /// Sends a command.
    pub(super) fn start(&mut self, lun: u8, built: &Built, how: Sending) {
        let mut data = built.data.clone().unwrap_or_default();
        let (write, wanted) = (built.data.is_some(), built.length.max(data.len() as u32));
        let length = wanted.saturating_add_signed(how.skew.into());
        if write {
            data.resize(length as usize, 0);
        }
        let first_burst = data.len().min(self.agreed.first_burst.min(self.agreed.max_burst) as usize);
        let along = usize::from(how.along).min(first_burst).min(self.immediate_most());
        let more = how.unasked && !self.agreed.initial_r2t && along < first_burst;
        let at_once = self.open.values().filter(|open| open.now).count();
        let now = how.now && at_once < IMMEDIATE_COMMANDS;
        let pdu = ScsiCommand {
            immediate: now,
            final_bit: !more,
            read: !write && length > 0,
            write,
            attribute: how.attribute % 4,
            lun: Lun::from_number(lun.into()).expect("small").0,
            task_tag: self.fresh_tag(),
            expected_data_length: length,
            cmd_sn: self.cmd_sn,
            cdb: built.cdb,
            ..ScsiCommand::default()
        };
        self.cmd_sn = self.cmd_sn.wrapping_add(u32::from(!now));
        self.send(pdu.build(), &data[..along]);
        if more {
            self.send_data(pdu.task_tag, RESERVED_TAG, pdu.lun, &data[..first_burst], along);
        }
        self.open.insert(pdu.task_tag, Open { lun, data, length, heard: 0, from: built.from, now });
    }

    /// A sequence of Data-Out PDUs, from `at` on.
    fn send_data(&mut self, task_tag: u32, transfer_tag: u32, lun: u64, data: &[u8], mut at: usize) {
        let mut data_sn = 0;
        loop {
            let end = data.len().min(at + self.agreed.segment);
            let pdu = DataOut {
                final_bit: end == data.len(),
                lun,
                task_tag,
                transfer_tag,
                data_sn,
                buffer_offset: at as u32,
                ..DataOut::default()
            };
            self.send(pdu.build(), &data[at..end]);
            if end == data.len() {
                return;
            }
            (at, data_sn) = (end, data_sn + 1);
        }
    }

    /// Answers a request for data as it should be.
    pub(super) fn answer(&mut self, r2t: &R2t) {
        let from = r2t.buffer_offset as usize;
        if let Some(data) = self.data_until_end_of(r2t) {
            self.send_data(r2t.task_tag, r2t.transfer_tag, r2t.lun, &data, from);
        }
    }

    /// The data of a command that is open, from its beginning to the end of what is asked for.
    pub(super) fn data_until_end_of(&self, r2t: &R2t) -> Option<Vec<u8>> {
        let end = r2t.buffer_offset as usize + r2t.desired_length as usize;
        Some(self.open.get(&r2t.task_tag)?.data.get(..end)?.to_vec())
    }

    /// Waits for an answer to task management.
    pub(super) fn await_management(&mut self, tag: u32) {
        self.management.insert(tag);
    }

    /// Returns when the target has dealt with all that was sent, as far as it can: it has answered a ping.
    pub(super) fn settle(&mut self, may: MayHear<'_>) {
        if self.state != State::Full {
            return;
        }
        self.pings += 1;
        let tag = PINGS + self.pings;
        let ping = NopOut {
            immediate: true,
            final_bit: true,
            task_tag: tag,
            transfer_tag: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            ..NopOut::default()
        };
        self.send(ping.build(), &[]);
        while let Some((response, data)) = self.next("answer to a ping") {
            self.hear(&response, &data, may);
            // Whoever is asked to log out, or speaks of discovery only, is answered so.
            let is_answer = match response {
                Response::NopIn(pdu) => pdu.task_tag == tag,
                Response::Reject(_) => data.get(16..20) == Some(&tag.to_be_bytes()),
                _ => false,
            };
            if is_answer {
                return;
            }
        }
    }

    /// Sees all of its commands through.
    pub(super) fn conclude(&mut self, may: MayHear<'_>) {
        self.settle(may);
        while self.decent && self.state == State::Full {
            for r2t in std::mem::take(&mut self.r2ts) {
                self.answer(&r2t);
            }
            if self.open.is_empty() && self.management.is_empty() {
                return;
            }
            let waited_for = format!("answer to {:?} and {:x?}", self.open.keys(), self.management);
            let Some((response, data)) = self.next(&waited_for) else { return };
            self.hear(&response, &data, may);
        }
    }

    /// Commands may have been aborted by somebody: no answers are due.
    pub(super) fn forget_commands(&mut self) {
        self.open.clear();
        self.r2ts.clear();
    }

    pub(super) fn hear(&mut self, response: &Response, data: &[u8], may: MayHear<'_>) {
        self.check_marks(response, data, may);
        match response {
            Response::DataIn(pdu) => {
                if let Some(open) = self.open.get_mut(&pdu.task_tag) {
                    let end = u64::from(pdu.buffer_offset) + data.len() as u64;
                    assert!(end <= open.length.into(), "{end} bytes where {} were wanted", open.length);
                    assert!(!self.decent || pdu.buffer_offset == open.heard, "data out of order");
                    open.heard = end as u32;
                }
                if pdu.has_status {
                    self.ended(pdu.task_tag);
                }
            }
            Response::ScsiResponse(pdu) => self.ended(pdu.task_tag),
            Response::R2t(r2t) => self.asked(*r2t),
            Response::TaskManagementResponse(pdu) => {
                assert!(self.management.remove(&pdu.task_tag) || !self.decent, "an answer to nothing");
            }
            Response::Reject(pdu) => assert!(!self.decent, "reason {:#x} for a decent peer", pdu.reason),
            _ => {}
        }
    }

    fn check_marks(&self, response: &Response, data: &[u8], may: MayHear<'_>) {
        let (open, offset) = match response {
            Response::DataIn(pdu) => (self.open.get(&pdu.task_tag), u64::from(pdu.buffer_offset)),
            _ => (None, 0),
        };
        let lun = open.map(|open| open.lun);
        let allowed = may(lun);
        let from = open.and_then(|open| open.from).filter(|_| allowed.in_place);
        for (at, mark) in marks(data) {
            assert!(allowed.units.has(mark.unit), "{response:?} at LUN {lun:?} tells of {mark:?}");
            let byte = from.map(|from| from + offset + at as u64);
            assert!(byte.is_none_or(|byte| mark.belongs_at(byte)), "{response:?}: {mark:?} at byte {byte:?}");
        }
    }

    fn ended(&mut self, tag: u32) {
        self.r2ts.retain(|r2t| r2t.task_tag != tag);
        assert!(self.open.remove(&tag).is_some() || !self.decent, "an answer to no command: {tag}");
    }

    fn asked(&mut self, r2t: R2t) {
        if let Some(open) = self.open.get(&r2t.task_tag) {
            let end = u64::from(r2t.buffer_offset) + u64::from(r2t.desired_length);
            assert!(end <= open.length.into() && r2t.desired_length > 0, "{r2t:?} of {}", open.length);
            assert!(r2t.desired_length <= self.agreed.max_burst, "{r2t:?}");
        } else {
            assert!(!self.decent, "data for no command: {r2t:?}");
        }
        self.r2ts.push(r2t);
    }
}
