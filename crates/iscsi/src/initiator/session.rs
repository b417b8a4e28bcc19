//! The session machine: dispatches PDUs, keeps the numbers (CmdSN, StatSN), the window and the deadlines.

use super::{
    config::{Config, Parameters},
    error::SessionError,
    login::{LoginMachine, Next},
    task::{Command, Completion, Outcome, Piece, Tag, Task, Transfer},
};
use crate::{
    limits::{LOGIN_DATA_SEGMENT, RECV_DATA_SEGMENT},
    pdu::{
        Bhs, Frame, FrameReader, RESERVED_TAG, Response,
        request::{DataOut, Login, Logout, NopOut, ScsiCommand},
        response::{AsyncMessage, DataIn, LoginResponse, NopIn, R2t, ScsiResponse},
        write_pdu,
    },
};
use std::collections::{BTreeMap, VecDeque};
use umbra_base::{Deadline, Instant};

/// Task attribute SIMPLE (section 11.3.1).
const SIMPLE: u8 = 1;
/// Bytes of unsent output above which no further command is started: the socket is the bottleneck then.
const OUTPUT_ENOUGH: usize = 4 << 20;

/// What the caller hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Full feature phase: commands are sent from now on.
    LoggedIn(Parameters),
    Completed(Completion),
    /// Sense data that the target sent unasked (SCSI asynchronous event).
    Asynchronous {
        lun: u64,
        sense: Vec<u8>,
    },
    /// The logout was answered; the connection can be closed.
    LoggedOut,
}

#[derive(Debug)]
enum Phase {
    Login { machine: Box<LoginMachine>, until: Deadline },
    Full,
    LoggingOut { until: Deadline },
    Ended,
}

/// One session with one connection, from its first byte to its last.
#[derive(Debug)]
pub struct Session {
    config: Config,
    phase: Phase,
    agreed: Parameters,
    reader: FrameReader,
    out: Vec<u8>,
    /// Bytes of `out` that are sent already.
    out_sent: usize,
    events: VecDeque<Event>,
    queued: VecDeque<(Tag, Command)>,
    tasks: BTreeMap<u32, Task>,
    next_tag: u32,
    cmd_sn: u32,
    max_cmd_sn: u32,
    exp_stat_sn: u32,
    last_heard: Instant,
    ping: Option<(u32, Instant)>,
}

impl Session {
    /// A session whose login request waits to be sent.
    pub fn start(now: Instant, config: Config) -> Session {
        let (machine, login, text) = LoginMachine::start(&config);
        let until = now + config.login_time;
        let mut session = Session {
            config,
            phase: Phase::Login { machine: Box::new(machine), until },
            agreed: Parameters::default(),
            reader: FrameReader::new(LOGIN_DATA_SEGMENT),
            out: Vec::new(),
            out_sent: 0,
            events: VecDeque::new(),
            queued: VecDeque::new(),
            tasks: BTreeMap::new(),
            next_tag: 0,
            cmd_sn: 1,
            max_cmd_sn: 0,
            exp_stat_sn: 0,
            last_heard: now,
            ping: None,
        };
        session.send_login(login, &text);
        session
    }

    /// Takes a command. It is sent when the window lets it; commands are sent in the order in which they were given.
    pub fn submit(&mut self, command: Command) -> Tag {
        let tag = self.new_tag();
        self.queued.push_back((tag, command));
        self.pump();
        tag
    }

    /// Commands taken and not completed.
    pub fn outstanding(&self) -> usize {
        self.queued.len() + self.tasks.len()
    }

    /// Room for bytes from the connection; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        self.reader.space()
    }

    /// `n` bytes were received into [`Session::space`].
    pub fn received(&mut self, now: Instant, n: usize) -> Result<(), SessionError> {
        self.reader.filled(n);
        self.last_heard = now;
        if let Some((_, since)) = &mut self.ping {
            // Anything heard is a sign of life: the answer may stand behind a long Data-In.
            *since = now;
        }
        let mut reader = std::mem::replace(&mut self.reader, FrameReader::new(0));
        let result = self.drain(&mut reader);
        self.reader = reader;
        if result.is_err() {
            self.phase = Phase::Ended;
        }
        self.pump();
        result
    }

    /// Bytes that wait to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.out[self.out_sent..]
    }

    /// The first `n` bytes of [`Session::unsent`] are sent.
    pub fn sent(&mut self, n: usize) {
        self.out_sent += n;
        debug_assert!(self.out_sent <= self.out.len());
        if self.out_sent == self.out.len() {
            self.out.clear();
            self.out_sent = 0;
            self.pump();
        } else if self.out_sent > OUTPUT_ENOUGH {
            self.out.drain(..self.out_sent);
            self.out_sent = 0;
            self.pump();
        }
    }

    /// What happened, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Asks the target to close the session; [`Event::LoggedOut`] follows.
    pub fn logout(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Full) {
            return;
        }
        let task_tag = self.new_tag().0;
        let logout = Logout {
            immediate: true,
            final_bit: true,
            task_tag,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ..Logout::default()
        };
        self.write(logout.build(), &[]);
        self.phase = Phase::LoggingOut { until: now + self.config.logout_time };
    }

    /// When [`Session::tick`] has something to do, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Deadline> {
        match &self.phase {
            Phase::Login { until, .. } | Phase::LoggingOut { until } => Some(*until),
            Phase::Full => Some(match self.ping {
                Some((_, since)) => since + self.config.ping_time,
                None => self.last_heard + self.quiet(),
            }),
            Phase::Ended => None,
        }
    }

    /// Time has passed: pings a silent target, gives up on a mute one.
    pub fn tick(&mut self, now: Instant) -> Result<(), SessionError> {
        let Some(deadline) = self.next_deadline() else { return Ok(()) };
        if now < deadline {
            return Ok(());
        }
        let what = match (&self.phase, self.ping) {
            (Phase::Login { .. }, _) => "the login",
            (Phase::LoggingOut { .. }, _) => "the logout",
            (_, Some(_)) => "a ping",
            (_, None) => {
                self.send_ping(now);
                return Ok(());
            }
        };
        self.phase = Phase::Ended;
        Err(SessionError::Timeout { what })
    }

    fn quiet(&self) -> std::time::Duration {
        if self.outstanding() > 0 { self.config.ping_busy } else { self.config.ping_idle }
    }

    fn new_tag(&mut self) -> Tag {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.wrapping_add(1);
        if self.next_tag == RESERVED_TAG {
            self.next_tag = 0;
        }
        Tag(tag)
    }

    fn write(&mut self, header: Bhs, data: &[u8]) {
        write_pdu(&mut self.out, header, data, self.agreed.digests);
    }

    fn send_login(&mut self, login: Login, text: &[u8]) {
        let header = Login { cmd_sn: self.cmd_sn, exp_stat_sn: self.exp_stat_sn, ..login };
        self.write(header.build(), text);
    }

    fn send_ping(&mut self, now: Instant) {
        let tag = self.new_tag().0;
        let nop = NopOut {
            immediate: true,
            final_bit: true,
            task_tag: tag,
            transfer_tag: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ..NopOut::default()
        };
        self.ping = Some((tag, now));
        self.write(nop.build(), &[]);
    }

    /// Starts queued commands while the window and the output have room.
    fn pump(&mut self) {
        while matches!(self.phase, Phase::Full)
            && !serial_less(self.max_cmd_sn, self.cmd_sn)
            && self.out.len() - self.out_sent < OUTPUT_ENOUGH
        {
            let Some((tag, command)) = self.queued.pop_front() else { return };
            self.send_command(tag, command);
        }
    }

    fn send_command(&mut self, tag: Tag, command: Command) {
        let Command { lun, cdb, transfer } = command;
        let (read, write, expected) = match &transfer {
            Transfer::None => (false, false, 0),
            Transfer::In(len) => (true, false, *len),
            Transfer::Out(data) => (false, true, data.len() as u32),
        };
        let mut task = Task::new(lun, transfer);
        let (immediate, pieces) = task.unsolicited(&self.agreed);
        let header = ScsiCommand {
            final_bit: pieces.is_empty(),
            read,
            write,
            attribute: SIMPLE,
            lun,
            task_tag: tag.0,
            expected_data_length: expected,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb,
            ..ScsiCommand::default()
        };
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        let first = task.out().map_or(&[][..], |data| &data[..immediate]);
        write_pdu(&mut self.out, header.build(), first, self.agreed.digests);
        self.send_pieces(tag.0, &task, RESERVED_TAG, pieces);
        self.tasks.insert(tag.0, task);
    }

    fn send_pieces(&mut self, task_tag: u32, task: &Task, transfer_tag: u32, pieces: Vec<Piece>) {
        let Some(data) = task.out() else { return };
        for piece in pieces {
            let header = DataOut {
                final_bit: piece.last,
                lun: task.lun,
                task_tag,
                transfer_tag,
                exp_stat_sn: self.exp_stat_sn,
                data_sn: piece.data_sn,
                buffer_offset: piece.range.start as u32,
            };
            write_pdu(&mut self.out, header.build(), &data[piece.range], self.agreed.digests);
        }
    }

    fn drain(&mut self, reader: &mut FrameReader) -> Result<(), SessionError> {
        while !matches!(self.phase, Phase::Ended) {
            let Some(frame) = reader.next_frame()? else { break };
            let logging_in = matches!(self.phase, Phase::Login { .. });
            self.dispatch(frame)?;
            if logging_in && matches!(self.phase, Phase::Full) {
                reader.set_mode(self.agreed.digests, RECV_DATA_SEGMENT);
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, frame: Frame<'_>) -> Result<(), SessionError> {
        let opcode = frame.header.opcode();
        let response = Response::parse(&frame.header)
            .ok_or(SessionError::Unexpected { opcode, when: "from a target" })?;
        match (&self.phase, response) {
            (Phase::Login { .. }, Response::LoginResponse(pdu)) => self.on_login(&pdu, frame.data),
            (Phase::Login { .. }, _) => Err(SessionError::Unexpected { opcode, when: "during login" }),
            (_, Response::ScsiResponse(pdu)) => self.on_scsi_response(&pdu, frame.data),
            (_, Response::DataIn(pdu)) => self.on_data_in(&pdu, frame.data),
            (_, Response::R2t(pdu)) => self.on_r2t(&pdu),
            (_, Response::NopIn(pdu)) => self.on_nop_in(&pdu),
            (_, Response::AsyncMessage(pdu)) => self.on_async(&pdu, frame.data),
            (_, Response::Reject(pdu)) => Err(SessionError::Rejected { reason: pdu.reason }),
            (Phase::LoggingOut { .. }, Response::LogoutResponse(_)) => {
                self.phase = Phase::Ended;
                self.events.push_back(Event::LoggedOut);
                Ok(())
            }
            _ => Err(SessionError::Unexpected { opcode, when: "in full feature phase" }),
        }
    }

    fn on_login(&mut self, pdu: &LoginResponse, data: &[u8]) -> Result<(), SessionError> {
        let Phase::Login { machine, .. } = &mut self.phase else { return Ok(()) };
        self.exp_stat_sn = pdu.stat_sn.wrapping_add(1);
        match machine.handle(&self.config, pdu, data)? {
            Next::Send(login, text) => self.send_login(login, &text),
            Next::Done(agreed) => {
                self.agreed = agreed.clone();
                self.max_cmd_sn = pdu.max_cmd_sn;
                self.phase = Phase::Full;
                self.events.push_back(Event::LoggedIn(agreed));
            }
        }
        Ok(())
    }

    /// Takes the numbers of a response that carries a status of its own.
    fn numbers(&mut self, stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32) -> Result<(), SessionError> {
        if stat_sn != self.exp_stat_sn {
            return Err(SessionError::StatSn { expected: self.exp_stat_sn, found: stat_sn });
        }
        self.exp_stat_sn = self.exp_stat_sn.wrapping_add(1);
        self.window(exp_cmd_sn, max_cmd_sn);
        Ok(())
    }

    /// Section 4.2.2.1: a window that ends before it begins is ignored, and it never shrinks.
    fn window(&mut self, exp_cmd_sn: u32, max_cmd_sn: u32) {
        if serial_less(max_cmd_sn, exp_cmd_sn.wrapping_sub(1)) {
            return;
        }
        if serial_less(self.max_cmd_sn, max_cmd_sn) {
            self.max_cmd_sn = max_cmd_sn;
        }
    }

    fn finish(&mut self, tag: u32, outcome: Outcome) -> Result<(), SessionError> {
        let task =
            self.tasks.remove(&tag).ok_or(SessionError::Protocol("a response to an unknown command"))?;
        self.events.push_back(Event::Completed(task.complete(Tag(tag), outcome)));
        Ok(())
    }

    fn on_scsi_response(&mut self, pdu: &ScsiResponse, data: &[u8]) -> Result<(), SessionError> {
        self.numbers(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        let outcome = match pdu.response {
            0 => Outcome::Status { status: pdu.status, sense: sense_of(data) },
            response => Outcome::TargetFailure { response },
        };
        self.finish(pdu.task_tag, outcome)
    }

    fn on_data_in(&mut self, pdu: &DataIn, data: &[u8]) -> Result<(), SessionError> {
        let task = self.tasks.get_mut(&pdu.task_tag);
        task.ok_or(SessionError::Protocol("Data-In for an unknown command"))?.receive(pdu, data)?;
        if !pdu.has_status {
            self.window(pdu.exp_cmd_sn, pdu.max_cmd_sn);
            return Ok(());
        }
        self.numbers(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        self.finish(pdu.task_tag, Outcome::Status { status: pdu.status, sense: Vec::new() })
    }

    fn on_r2t(&mut self, pdu: &R2t) -> Result<(), SessionError> {
        self.window(pdu.exp_cmd_sn, pdu.max_cmd_sn);
        let mut task = self
            .tasks
            .remove(&pdu.task_tag)
            .ok_or(SessionError::Protocol("an R2T for an unknown command"))?;
        let pieces = task.solicited(pdu, &self.agreed)?;
        self.send_pieces(pdu.task_tag, &task, pdu.transfer_tag, pieces);
        self.tasks.insert(pdu.task_tag, task);
        Ok(())
    }

    fn on_nop_in(&mut self, pdu: &NopIn) -> Result<(), SessionError> {
        if pdu.task_tag == RESERVED_TAG {
            self.window(pdu.exp_cmd_sn, pdu.max_cmd_sn);
        } else {
            self.numbers(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
            self.ping.take_if(|(tag, _)| *tag == pdu.task_tag);
        }
        if pdu.transfer_tag != RESERVED_TAG {
            let nop = NopOut {
                immediate: true,
                final_bit: true,
                lun: pdu.lun,
                task_tag: RESERVED_TAG,
                transfer_tag: pdu.transfer_tag,
                cmd_sn: self.cmd_sn,
                exp_stat_sn: self.exp_stat_sn,
            };
            self.write(nop.build(), &[]);
        }
        Ok(())
    }

    fn on_async(&mut self, pdu: &AsyncMessage, data: &[u8]) -> Result<(), SessionError> {
        self.numbers(pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        match pdu.event {
            0 => self.events.push_back(Event::Asynchronous { lun: pdu.lun, sense: sense_of(data) }),
            event @ 1..=4 => return Err(SessionError::TargetLeaves { event }),
            _ => {}
        }
        Ok(())
    }
}

/// The sense data of a data segment that begins with its length (section 11.4.7.2); empty where there is none.
fn sense_of(data: &[u8]) -> Vec<u8> {
    let Some((len, rest)) = data.split_first_chunk::<2>() else { return Vec::new() };
    let len = usize::from(u16::from_be_bytes(*len));
    rest[..len.min(rest.len())].to_vec()
}

/// `a < b` in serial number arithmetic (RFC 1982).
fn serial_less(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 31
}
