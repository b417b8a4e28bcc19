//! The target's side of a session with one connection (RFC 7143), at ErrorRecoveryLevel 0: what breaks the connection
//! ends the session.
//!
//! ```text
//!   driver                                 Connection                         initiator
//!   header(now, bhs, ahs) -> DataTo ----->  Login  (login.rs, negotiate.rs, security.rs)    Login requests
//!   arrived(now, data)                         |  accept(tsih)
//!   next_event() <-- Identify, SessionReady    |
//!   admit, accept, refuse  -------------->  Full   (full.rs)       command.rs task.rs table.rs   commands, data
//!   next_event() <-- Solicit, Command, ...          nop.rs management.rs text.rs leave.rs        the rest
//!   solicit, complete, task_management_done, logout_done -> transmit() -> bytes and ranges of payload
//!   tick(now), next_deadline(): login limit, ping and its limit         closed(): why it ended
//! ```
//!
//! The driver cuts the byte stream with a [`Receiver`](crate::pdu::Receiver) in the mode that [`Connection::framing`] says after
//! each PDU. Payload of commands never comes here: `header` says where it goes, `transmit` where it comes from.
//! What always holds: nothing from the peer makes this code panic or hold more than [`limits`](crate::limits) allow; a
//! command costs no allocation; once [`Connection::closed`] says why, no event and no further bytes come.

mod command;
mod event;
mod full;
mod leave;
mod link;
mod login;
mod management;
mod negotiate;
mod nop;
mod params;
mod respond;
mod security;
mod sequence;
mod stall;
mod table;
mod task;
#[cfg(test)]
mod tests;
mod text;
mod window;

pub use crate::chap::Challenge;
pub use event::{
    Aborted, AsyncEvent, CloseReason, Command, Completion, DataTo, Event, Initiator, Mutual, Resend,
    SessionKind, SessionRequest, TaskManagementRequest,
};
pub use link::Transmit;
pub use negotiate::RESEND_KEY;
pub use params::{Authentication, Params, Portal};

use crate::limits::{LOGIN_DATA_SEGMENT, LOGIN_TIME, RECV_DATA_SEGMENT};
use crate::pdu::response::{LoginResponse, login_status};
use crate::pdu::{Bhs, Digests, FrameError, Lun, Request};
use full::Full;
use link::Link;
use login::{LoginState, Refusal, Step};
use std::collections::VecDeque;
use umbra_base::Instant;

/// One connection, which is one session.
#[derive(Debug)]
pub struct Connection {
    params: Params,
    phase: Phase,
    link: Link,
    events: VecDeque<Event>,
    /// In force for PDUs received from now on.
    framing: (Digests, usize),
    closed: Option<CloseReason>,
}

#[derive(Debug)]
enum Phase {
    Login { since: Instant, state: Box<LoginState> },
    Full(Box<Full>),
}

impl Connection {
    /// A connection that was accepted at `now`.
    pub fn new(params: Params, now: Instant) -> Self {
        Connection {
            params,
            phase: Phase::Login { since: now, state: Box::new(LoginState::new()) },
            link: Link::default(),
            events: VecDeque::new(),
            framing: (Digests::default(), LOGIN_DATA_SEGMENT),
            closed: None,
        }
    }

    /// The mode in which the next PDU is to be read.
    pub fn framing(&self) -> (Digests, usize) {
        self.framing
    }

    /// Takes the header of a PDU; says where its data segment goes, if it has one.
    pub fn header(&mut self, now: Instant, bhs: &Bhs, ahs: &[u8]) -> DataTo {
        if self.closed.is_some() {
            return DataTo::Skip;
        }
        let judged = match &mut self.phase {
            Phase::Login { .. } => Ok(self.login_header(bhs)),
            Phase::Full(full) => full.header(now, &mut self.link, bhs, ahs),
        };
        judged.unwrap_or_else(|reason| {
            self.close(reason);
            DataTo::Skip
        })
    }

    /// All of that PDU has come; `data` is its data segment if it was to come [`DataTo::Here`], else empty. Called for each PDU.
    pub fn arrived(&mut self, now: Instant, data: &[u8]) {
        if self.closed.is_some() {
            return;
        }
        match &mut self.phase {
            Phase::Login { .. } => self.login_arrived(data),
            Phase::Full(full) => {
                let outcome = full.arrived(now, &self.params, &mut self.link, data);
                self.follow(outcome);
            }
        }
    }

    /// Instead of [`Connection::arrived`]: the data of that PDU is damaged.
    pub fn digest_failed(&mut self, now: Instant) {
        if let Some((full, link)) = self.full() {
            let outcome = full.digest_failed(now, link);
            self.follow(outcome);
        }
    }

    fn follow(&mut self, outcome: Result<Option<Event>, CloseReason>) {
        match outcome {
            Ok(event) => self.events.extend(event),
            Err(reason) => self.close(reason),
        }
    }

    /// The stream cannot be cut into PDUs any more.
    pub fn broken(&mut self, error: FrameError) {
        self.close(error.into());
    }

    /// Section 6.3: a connection that begins with anything but a login ends at once; later it is told why.
    fn login_header(&mut self, bhs: &Bhs) -> DataTo {
        let Phase::Login { state, .. } = &mut self.phase else { return DataTo::Skip };
        let opcode = bhs.opcode();
        match Request::parse(bhs) {
            Some(Request::Login(request)) if state.header(request) => return DataTo::Here,
            Some(Request::Login(_)) => {
                self.close(CloseReason::UnexpectedPdu {
                    opcode,
                    when: "while a login request was not answered",
                });
            }
            _ if state.is_new() => {
                self.close(CloseReason::UnexpectedPdu { opcode, when: "before the login was complete" });
            }
            _ => self.refuse(login_status::INVALID_DURING_LOGIN, format!("PDU with opcode {opcode:#04x}")),
        }
        DataTo::Skip
    }

    fn login_arrived(&mut self, data: &[u8]) {
        let Phase::Login { state, .. } = &mut self.phase else { return };
        let Some(request) = state.take_arrived() else { return };
        if state.is_new() {
            self.link.start(request.exp_stat_sn, request.cmd_sn);
        }
        let step = state.handle(&self.params, request, data);
        self.follow_login(step);
    }

    fn follow_login(&mut self, step: Result<Step, Refusal>) {
        match step {
            Ok(Step::Answer(header, text)) => self.link.respond(header, &text),
            Ok(Step::Identify { initiator, kind }) => {
                self.events.push_back(Event::Identify { initiator, kind })
            }
            Ok(Step::Ready(request)) => self.events.push_back(Event::SessionReady(request)),
            Err(refusal) => self.refuse_login(refusal),
        }
    }

    fn refuse_login(&mut self, Refusal { status, why }: Refusal) {
        let Phase::Login { state, .. } = &self.phase else { return };
        let request = *state.request();
        let header = LoginResponse {
            current_stage: request.current_stage,
            isid: request.isid,
            tsih: request.tsih,
            task_tag: request.task_tag,
            status,
            ..LoginResponse::default()
        };
        self.link.respond(header, &[]);
        self.close(CloseReason::LoginRefused { status, why });
    }

    /// Answers [`Event::Identify`].
    pub fn admit(&mut self, who: Initiator, challenge: Challenge) {
        let Phase::Login { state, .. } = &mut self.phase else { return };
        if self.closed.is_none() {
            let step = state.admit(&self.params, who, challenge);
            self.follow_login(step);
        }
    }

    /// Answers [`Event::SessionReady`]: the session exists, with this handle (not 0).
    pub fn accept(&mut self, now: Instant, tsih: u16) {
        let Phase::Login { state, .. } = &mut self.phase else { return };
        if self.closed.is_some() {
            return;
        }
        let Some((header, text)) = state.accept(tsih) else { return };
        let (kind, cid, negotiated) = (state.kind(), state.request().cid, state.negotiated.clone());
        let full = Full::new(now, kind, negotiated, cid, self.params.queue_depth);
        full.open_window(&mut self.link);
        self.link.respond(header, &text);
        self.link.digests = full.negotiated().digests;
        self.framing = (full.negotiated().digests, RECV_DATA_SEGMENT);
        self.phase = Phase::Full(Box::new(full));
    }

    /// Answers [`Event::SessionReady`] or [`Event::Identify`]: no, with a status of
    /// [`login_status`].
    pub fn refuse(&mut self, status: u16, why: impl Into<String>) {
        if self.closed.is_none() {
            self.refuse_login(Refusal { status, why: why.into() });
        }
    }

    /// The next thing that the driver must look at.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Answers [`Event::Solicit`]: there is room for the data of this command. One that has ended meanwhile is ignored.
    pub fn solicit(&mut self, tag: u32) {
        if let Some((full, link)) = self.full() {
            full.solicit(link, tag);
        }
    }

    /// Answers [`Event::Command`], or refuses a command before its data has come: what comes of it later is skipped, and
    /// the response waits until nothing more of it can come. A task that was aborted meanwhile gets nothing.
    pub fn complete(&mut self, tag: u32, done: &Completion<'_>) {
        if let Some((full, link)) = self.full() {
            full.complete(link, tag, done);
        }
    }

    /// Answers [`Event::TaskManagement`] with one of [`task_response`](crate::pdu::response::task_response).
    pub fn task_management_done(&mut self, tag: u32, response: u8) {
        if let Some((full, link)) = self.full() {
            full.task_management_done(link, tag, response);
        }
    }

    /// Forgets a task: it gets no response.
    pub fn abort(&mut self, tag: u32) -> Aborted {
        self.full().map_or(Aborted::Unknown, |(full, _)| full.abort(tag))
    }

    /// Tags and LUNs of all open tasks, those that wait for data included.
    pub fn open_tasks(&self) -> Vec<(u32, Lun)> {
        match &self.phase {
            Phase::Full(full) => full.open_tasks(),
            Phase::Login { .. } => Vec::new(),
        }
    }

    /// Whether any open task has the attribute ORDERED; while none has, each may begin.
    pub fn has_ordered(&self) -> bool {
        matches!(&self.phase, Phase::Full(full) if full.has_ordered())
    }

    /// Whether a command may begin: an ordered one when no older one is open, another when no older one is ordered
    /// (SAM-5 section 8.6). Commands that wait for their data count; a command is as old as its header.
    pub fn may_begin(&self, tag: u32) -> bool {
        match &self.phase {
            Phase::Full(full) => full.may_begin(tag),
            Phase::Login { .. } => true,
        }
    }

    /// The initiator takes output that was there before our ping, if there is one: it lives, and cannot have answered yet.
    /// `deaf`: what it sends is not received meanwhile, so that it cannot be blamed for data that does not come either.
    pub fn took_output(&mut self, now: Instant, deaf: bool) {
        if let Some((full, _)) = self.full() {
            full.took_output(now, deaf);
        }
    }

    /// Whether an answer to a ping of ours is due.
    pub fn is_pinging(&self) -> bool {
        matches!(&self.phase, Phase::Full(full) if full.is_pinging())
    }

    /// Answers [`Event::Logout`]; the connection is closed once its bytes are sent.
    pub fn logout_done(&mut self) {
        if let Some((full, link)) = self.full()
            && full.logout_done(link)
        {
            self.close(CloseReason::LoggedOut);
        }
    }

    /// Tells the initiator something unasked; nothing before the login is complete.
    pub fn announce(&mut self, now: Instant, event: AsyncEvent<'_>) {
        if let Some((full, link)) = self.full() {
            full.announce(now, link, event);
        }
    }

    fn full(&mut self) -> Option<(&mut Full, &mut Link)> {
        match &mut self.phase {
            Phase::Full(full) if self.closed.is_none() => Some((full, &mut self.link)),
            _ => None,
        }
    }

    /// Hands over all that is to be sent, in order. Payload is named by the command's tag and a range of the `data_in` that
    /// it was completed with: the driver keeps that until it is sent.
    pub fn transmit(&mut self, to: &mut dyn Transmit) {
        self.link.transmit(to);
    }

    /// Whether there is something to send.
    pub fn has_output(&self) -> bool {
        self.link.has_output()
    }

    /// When [`Connection::tick`] must be called at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        match (&self.closed, &self.phase) {
            (Some(_), _) => None,
            (None, Phase::Login { since, .. }) => Some(*since + LOGIN_TIME),
            (None, Phase::Full(full)) => Some(full.next_deadline()),
        }
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Instant) {
        if self.next_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let due = match &mut self.phase {
            Phase::Login { .. } => Err(CloseReason::LoginTimeout { seconds: LOGIN_TIME.as_secs() }),
            Phase::Full(full) => full.tick(now, &mut self.link),
        };
        if let Err(reason) = due {
            self.close(reason);
        }
    }

    /// Ends the connection; the first reason stays. What is to be sent may still be sent.
    pub fn close(&mut self, reason: CloseReason) {
        if self.closed.is_none() {
            self.closed = Some(reason);
            self.events.clear();
        }
    }

    /// Why the connection ended, if it did.
    pub fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }
}
