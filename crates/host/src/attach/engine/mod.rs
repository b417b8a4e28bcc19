//! The logic of an attachment, without I/O: requests for bytes in, SCSI commands out, over sessions that come and go.
//!
//! ```text
//!            connected            logged in            identity as expected         all written again
//!   Down ---------------> Login ------------> Verify ---------------------> Replay -----------------> Up
//!    ^ <---- the connection breaks, anywhere ----'                                                     |
//!    |                                             Drain <-- unit attention: LUNs or identity changed -'
//!   Failed: the LUN is gone, is another one, or cannot take the unflushed writes: every request fails from then on
//! ```
//!
//! What always holds (A2): a change that was acknowledged and not covered by a successful flush is in the journal; after a
//! new login nothing else is sent before all of them were written again, oldest first; commands that overlap are never
//! on the wire together; a request is answered exactly once. Requests wait as long as the array is away.

pub(crate) mod cdb;
mod claims;
mod journal;
mod judge;
mod split;
#[cfg(test)]
mod tests;
mod verify;

use crate::limits;
use cdb::Designators;
use claims::Claims;
use journal::{Change, Epoch, Journal, Seq};
use judge::{Attempts, Attention, Verdict};
use split::split;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::Duration,
};
use umbra_base::{Deadline, Instant};
use umbra_iscsi::initiator::{Command, Completion, Config, Event, Session, Tag, Transfer};
use verify::{Verified, Verify};

/// The number that the driver knows a request by.
pub(crate) type RequestId = u64;

/// What is wanted of the LUN. Offsets and lengths are bytes of any alignment inside its size.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// At most [`limits::TRANSFER_BYTES`].
    Read {
        offset: u64,
        len: u32,
    },
    Write {
        offset: u64,
        data: Arc<[u8]>,
    },
    Zero {
        offset: u64,
        len: u64,
        unmap: bool,
    },
    Flush,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    NoSpace,
    ReadOnly,
    OutOfRange,
    Io,
}

/// The answer to a request; bytes for a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) id: RequestId,
    pub(crate) result: Result<Vec<u8>, Failure>,
}

/// One command's worth of a request.
#[derive(Debug)]
struct Work {
    id: RequestId,
    order: u64,
    step: Step,
    attempts: Attempts,
}

#[derive(Debug)]
enum Step {
    Read {
        range: Range<u64>,
        skip: usize,
        take: usize,
    },
    /// The read of a read-modify-write: `data` replaces the bytes from `at` on.
    Merge {
        range: Range<u64>,
        at: usize,
        data: Arc<[u8]>,
    },
    Change {
        range: Range<u64>,
        change: Change,
        seq: Option<Seq>,
    },
    Flush {
        epoch: Option<Epoch>,
    },
}

/// What a command on the wire is for.
#[derive(Debug)]
enum Job {
    Verify(Verify, Attempts),
    Replay(Seq, Attempts),
    Work(Work),
    OwnFlush(Epoch, Attempts),
}

#[derive(Debug)]
enum Link {
    Down { retry_at: Instant },
    Login,
    Drain { replay: Replay },
    Verify,
    Replay { left: VecDeque<Seq>, busy: Claims },
    Up,
    Closing,
    Failed { reason: String },
}

/// Whether what was not flushed has to be written again once the LUN has been verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replay {
    Due,
    NotDue,
}

/// A request whose steps are under way; what they read, by their order.
#[derive(Debug)]
struct Parent {
    left: usize,
    result: Result<(), Failure>,
    read: BTreeMap<u64, Vec<u8>>,
}

/// What can be said of an attachment from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct LinkStatus {
    /// `down`, `login`, `verify`, `replay`, `up`, `closing` or `failed`.
    pub link: String,
    /// Why it failed, or why the last connection ended.
    pub reason: Option<String>,
    /// Logins after the first.
    pub reconnects: u64,
    /// Changes written again after reconnects.
    pub resent: u64,
    /// Bytes of changes that no flush has covered yet.
    pub unflushed_bytes: u64,
    /// Requests that wait for an answer.
    pub pending: u64,
    pub size_bytes: u64,
    /// Longest transfer in one command.
    pub transfer_bytes: u32,
    pub write_protected: bool,
    /// Whether the target knows that unflushed writes are resent (A2).
    pub resend_agreed: bool,
    pub designators: Designators,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Engine {
    config: Config,
    lun: u64,
    expected: Designators,
    session: Option<Session>,
    link: Link,
    journal: Journal,
    parents: HashMap<RequestId, Parent>,
    waiting: BTreeMap<u64, Work>,
    resting: Vec<(Instant, Job)>,
    flying: BTreeMap<Tag, Job>,
    busy: Claims,
    done: VecDeque<Done>,
    next_order: u64,
    own_flush: bool,
    /// What the last verification found; `None` until the first.
    verified: Option<Verified>,
    found: Verified,
    after_verify: Replay,
    pause: Duration,
    refusals: u32,
    reconnects: u64,
    resent: u64,
    resend_agreed: bool,
    last_end: Option<String>,
}

impl Engine {
    /// An engine that wants its first connection at once.
    pub(crate) fn new(config: Config, lun: u64, expected: Designators) -> Engine {
        Engine {
            config,
            lun,
            expected,
            session: None,
            link: Link::Down { retry_at: Instant::default() },
            journal: Journal::default(),
            parents: HashMap::new(),
            waiting: BTreeMap::new(),
            resting: Vec::new(),
            flying: BTreeMap::new(),
            busy: Claims::default(),
            done: VecDeque::new(),
            next_order: 0,
            own_flush: false,
            verified: None,
            found: Verified::default(),
            after_verify: Replay::NotDue,
            pause: limits::RECONNECT_PAUSE,
            refusals: 0,
            reconnects: 0,
            resent: 0,
            resend_agreed: false,
            last_end: None,
        }
    }

    /// Whether the driver should connect now.
    pub(crate) fn wants_connection(&self, now: Instant) -> bool {
        matches!(self.link, Link::Down { retry_at } if retry_at <= now)
    }

    /// Whether the connection is of no more use.
    pub(crate) fn wants_close(&self) -> bool {
        self.session.is_none()
    }

    /// A connection stands.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.session = Some(Session::start(now, self.config.clone()));
        self.link = Link::Login;
    }

    /// No connection could be made, or the one there was has ended.
    pub(crate) fn disconnected(&mut self, now: Instant, reason: String) {
        self.session = None;
        if matches!(self.link, Link::Failed { .. } | Link::Closing) {
            return;
        }
        self.last_end = Some(reason);
        self.take_back();
        self.link = Link::Down { retry_at: now + self.pause };
        self.pause = (self.pause * 2).min(limits::RECONNECT_PAUSE_MAX);
    }

    /// Room for received bytes.
    pub(crate) fn space(&mut self) -> Option<&mut [u8]> {
        self.session.as_mut().map(Session::space)
    }

    /// `n` bytes were received.
    pub(crate) fn received(&mut self, now: Instant, n: usize) {
        let Some(session) = &mut self.session else { return };
        let result = session.received(now, n);
        self.drain_events(now);
        if let Err(error) = result {
            self.session_failed(now, &error);
        }
        self.pump();
    }

    /// Bytes to send.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.session.as_ref().map_or(&[], Session::unsent)
    }

    /// So many of them were sent.
    pub(crate) fn sent(&mut self, n: usize) {
        if let Some(session) = &mut self.session {
            session.sent(n);
        }
    }

    /// Takes a request; its answer comes out of [`Engine::next_done`].
    pub(crate) fn request(&mut self, id: RequestId, request: Request) {
        if matches!(self.link, Link::Failed { .. } | Link::Closing) {
            self.done.push_back(Done { id, result: Err(Failure::Io) });
            return;
        }
        let limits = self.verified.as_ref().map(|verified| verified.limits).unwrap_or_default();
        let Some(steps) = split(request, self.size_bytes(), limits) else {
            self.done.push_back(Done { id, result: Err(Failure::OutOfRange) });
            return;
        };
        self.parents.insert(id, Parent { left: steps.len(), result: Ok(()), read: BTreeMap::new() });
        if steps.is_empty() {
            self.parents.remove(&id);
            self.done.push_back(Done { id, result: Ok(Vec::new()) });
        }
        for step in steps {
            let order = self.next_order;
            self.next_order += 1;
            self.waiting.insert(order, Work { id, order, step, attempts: Attempts::default() });
        }
        self.pump();
    }

    /// The next answer.
    pub(crate) fn next_done(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// When [`Engine::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        let retry = match self.link {
            Link::Down { retry_at } => Some(retry_at),
            _ => None,
        };
        let session = self.session.as_ref().and_then(Session::next_deadline);
        let rest = self.resting.iter().map(|(at, _)| *at).min();
        [retry, session, rest].into_iter().flatten().min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some(Err(error)) = self.session.as_mut().map(|session| session.tick(now)) {
            self.session_failed(now, &error);
        }
        let (due, resting) = self.resting.drain(..).partition(|(at, _)| *at <= now);
        self.resting = resting;
        for (_, job) in due {
            self.again(job);
        }
        self.pump();
    }

    /// Looks at identity, size and write protection again, in an orderly pause.
    pub(crate) fn refresh(&mut self) {
        if matches!(self.link, Link::Up) {
            self.link = Link::Drain { replay: Replay::NotDue };
            self.pump();
        }
    }

    /// Says goodbye; requests that still come fail.
    pub(crate) fn close(&mut self, now: Instant) {
        match (&self.link, &mut self.session) {
            (Link::Up, Some(session)) => {
                session.logout(now);
                self.link = Link::Closing;
            }
            _ => {
                self.session = None;
                self.link = Link::Closing;
            }
        }
        self.fail_everything();
    }

    /// Gives the device up: whoever waits for it gets an error.
    pub(crate) fn fail(&mut self, reason: String) {
        self.session = None;
        self.link = Link::Failed { reason };
        self.fail_everything();
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.verified.as_ref().map_or(0, |verified| verified.size_bytes)
    }

    /// The name of the state, and why it failed or why the last connection ended.
    pub(crate) fn phase(&self) -> (&'static str, Option<&str>) {
        let link = match &self.link {
            Link::Down { .. } => "down",
            Link::Login => "login",
            Link::Drain { .. } | Link::Verify => "verify",
            Link::Replay { .. } => "replay",
            Link::Up => "up",
            Link::Closing => "closing",
            Link::Failed { reason } => return ("failed", Some(reason)),
        };
        (link, self.last_end.as_deref())
    }

    pub(crate) fn status(&self) -> LinkStatus {
        let verified = self.verified.clone().unwrap_or_default();
        let (link, reason) = self.phase();
        LinkStatus {
            link: link.to_owned(),
            reason: reason.map(str::to_owned),
            reconnects: self.reconnects,
            resent: self.resent,
            unflushed_bytes: self.journal.bytes() as u64,
            pending: self.parents.len() as u64,
            size_bytes: verified.size_bytes,
            transfer_bytes: verified.limits.transfer,
            write_protected: verified.write_protected,
            resend_agreed: self.resend_agreed,
            designators: verified.designators,
        }
    }

    fn drain_events(&mut self, now: Instant) {
        while let Some(event) = self.session.as_mut().and_then(Session::next_event) {
            match event {
                Event::LoggedIn(parameters) => {
                    self.resend_agreed = parameters.resend;
                    self.reconnects += u64::from(self.verified.is_some());
                    self.start_verify(Replay::Due);
                }
                Event::Completed(completion) => self.on_completion(now, completion),
                Event::Asynchronous { sense, .. } => self.attention(judge::attention(&sense)),
                Event::LoggedOut => self.session = None,
            }
        }
    }

    fn session_failed(&mut self, now: Instant, error: &umbra_iscsi::initiator::SessionError) {
        let text = error.to_string();
        if error.worth_a_retry() {
            self.disconnected(now, text);
        } else {
            self.refused(now, text);
        }
    }

    /// The array will not have us, or does not show the LUN. At the first login that is final; later it may still be
    /// coming up, so it is asked a few more times.
    fn refused(&mut self, now: Instant, reason: String) {
        self.refusals += 1;
        if self.verified.is_none() || self.refusals > limits::REFUSALS {
            self.fail(reason);
        } else {
            self.disconnected(now, reason);
        }
    }

    /// Everything that was on the wire waits again, in its old order; acknowledged changes stay in the journal.
    fn take_back(&mut self) {
        let flying = std::mem::take(&mut self.flying).into_values();
        let resting = std::mem::take(&mut self.resting).into_iter().map(|(_, job)| job);
        for job in flying.chain(resting) {
            if let Job::Work(mut work) = job {
                match &mut work.step {
                    Step::Change { seq, .. } => {
                        if let Some(seq) = seq.take() {
                            self.journal.forget(seq);
                        }
                    }
                    Step::Flush { epoch } => *epoch = None,
                    Step::Read { .. } | Step::Merge { .. } => {}
                }
                self.waiting.insert(work.order, work);
            }
        }
        self.own_flush = false;
        self.busy = Claims::default();
    }

    fn fail_everything(&mut self) {
        self.take_back();
        self.waiting.clear();
        for (id, _) in self.parents.drain() {
            self.done.push_back(Done { id, result: Err(Failure::Io) });
        }
    }

    fn start_verify(&mut self, replay: Replay) {
        self.after_verify = replay;
        self.found = Verified::default();
        self.link = Link::Verify;
        self.send(Job::Verify(Verify::FIRST, Attempts::default()));
    }

    fn start_replay(&mut self) {
        let left = match self.after_verify {
            Replay::Due => self.journal.acknowledged(),
            Replay::NotDue => VecDeque::new(),
        };
        self.link = Link::Replay { left, busy: Claims::default() };
    }

    /// Sends whatever may be sent now.
    fn pump(&mut self) {
        if matches!(self.link, Link::Drain { .. }) && self.flying.is_empty() {
            // What rests for a busy target goes on after the verification, still in its place.
            let Link::Drain { replay } = self.link else { return };
            self.start_verify(replay);
        }
        if matches!(self.link, Link::Replay { .. }) {
            self.pump_replay();
        }
        if matches!(self.link, Link::Up) {
            self.pump_work();
        }
    }

    fn pump_replay(&mut self) {
        loop {
            let Link::Replay { left, busy } = &mut self.link else { return };
            let Some(seq) = left.front().copied() else { break };
            if self.flying.len() >= limits::COMMANDS_IN_FLIGHT {
                return;
            }
            let Some(entry) = self.journal.get(seq) else {
                left.pop_front();
                continue;
            };
            if busy.overlap(&entry.range, seq.0) {
                return;
            }
            busy.add(seq.0, entry.range.clone());
            left.pop_front();
            self.resent += 1;
            self.send(Job::Replay(seq, Attempts::default()));
        }
        if self.flying.is_empty() && self.resting.is_empty() {
            self.link = Link::Up;
            self.pause = limits::RECONNECT_PAUSE;
            self.refusals = 0;
        }
    }

    fn pump_work(&mut self) {
        while self.flying.len() < limits::COMMANDS_IN_FLIGHT {
            if self.journal.wants_flush() && !self.own_flush {
                self.own_flush = true;
                let epoch = self.journal.begin_flush();
                self.send(Job::OwnFlush(epoch, Attempts::default()));
            }
            let Some((order, work)) = self.waiting.first_key_value() else { return };
            let changes = match &work.step {
                Step::Change { range, .. } | Step::Merge { range, .. } => Some(range.clone()),
                Step::Read { .. } | Step::Flush { .. } => None,
            };
            let order = *order;
            if let Some(range) = changes {
                let new = !matches!(work.step, Step::Change { seq: Some(_), .. });
                if (new && self.journal.is_full()) || self.busy.overlap(&range, order) {
                    return;
                }
                self.busy.add(order, range);
            }
            if let Some(work) = self.waiting.remove(&order) {
                self.send_work(work);
            }
        }
    }

    fn send_work(&mut self, mut work: Work) {
        match &mut work.step {
            Step::Change { range, change, seq } if seq.is_none() => {
                *seq = Some(self.journal.add(range.clone(), change.clone()));
            }
            Step::Flush { epoch } if epoch.is_none() => *epoch = Some(self.journal.begin_flush()),
            _ => {}
        }
        self.send(Job::Work(work));
    }

    fn send(&mut self, job: Job) {
        let (cdb, transfer) = match &job {
            Job::Verify(step, _) => step.command(),
            Job::OwnFlush(..) => (cdb::synchronize_cache(), Transfer::None),
            Job::Replay(seq, _) => match self.journal.get(*seq) {
                Some(entry) => change_command(&entry.range, &entry.change),
                None => return,
            },
            Job::Work(work) => match &work.step {
                Step::Read { range, .. } | Step::Merge { range, .. } => {
                    let len = (range.end - range.start) as u32;
                    (cdb::read(range.start, len), Transfer::In(len))
                }
                Step::Change { range, change, .. } => change_command(range, change),
                Step::Flush { .. } => (cdb::synchronize_cache(), Transfer::None),
            },
        };
        let Some(session) = &mut self.session else { return };
        // LUN 0 always answers, whatever has become of ours.
        let lun = if matches!(job, Job::Verify(Verify::Luns, _)) { 0 } else { self.lun };
        let tag = session.submit(Command { lun, cdb, transfer });
        self.flying.insert(tag, job);
    }

    /// A command that the target wants to see once more.
    fn again(&mut self, job: Job) {
        match job {
            Job::Work(work) => {
                self.waiting.insert(work.order, work);
            }
            Job::Verify(..) if matches!(self.link, Link::Verify) => self.send(job),
            Job::Replay(..) if matches!(self.link, Link::Replay { .. }) => self.send(job),
            // Another takes its place as soon as it is needed.
            Job::OwnFlush(..) => self.own_flush = false,
            Job::Verify(..) | Job::Replay(..) => {}
        }
    }

    fn resetting(&self) -> bool {
        matches!(self.link, Link::Drain { replay: Replay::Due })
    }

    fn on_completion(&mut self, now: Instant, completion: Completion) {
        let Some(mut job) = self.flying.remove(&completion.tag) else { return };
        let attempts = match &mut job {
            Job::Verify(_, attempts) | Job::Replay(_, attempts) | Job::OwnFlush(_, attempts) => attempts,
            Job::Work(work) => &mut work.attempts,
        };
        match attempts.judge(now, &completion.outcome) {
            Verdict::Good => self.succeeded(now, job, completion.data),
            Verdict::Again(Attention::Changed | Attention::Reset) if matches!(job, Job::Verify(..)) => {
                self.start_verify(self.after_verify);
            }
            Verdict::Again(attention) => {
                self.attention(attention);
                self.again(job);
            }
            Verdict::Later(at) => self.resting.push((at, job)),
            Verdict::Failed(failure, text) => self.failed(now, job, failure, text),
        }
    }

    fn attention(&mut self, attention: Attention) {
        let replay = match attention {
            Attention::None => return,
            Attention::Changed | Attention::Gone => Replay::NotDue,
            Attention::Reset => Replay::Due,
        };
        match &mut self.link {
            Link::Up => self.link = Link::Drain { replay },
            Link::Replay { .. } if replay == Replay::Due => self.link = Link::Drain { replay },
            Link::Drain { replay: planned } if replay == Replay::Due => *planned = replay,
            _ => {}
        }
    }

    fn succeeded(&mut self, now: Instant, job: Job, data: Vec<u8>) {
        match job {
            Job::Verify(step, _) => self.verify_step(now, step, &data),
            Job::Replay(seq, _) => {
                if let Link::Replay { busy, .. } = &mut self.link {
                    busy.remove(seq.0);
                }
            }
            Job::OwnFlush(epoch, _) => {
                if !self.resetting() {
                    self.journal.flushed(epoch);
                }
                self.own_flush = false;
            }
            Job::Work(work) => self.work_succeeded(work, data),
        }
    }

    fn work_succeeded(&mut self, work: Work, data: Vec<u8>) {
        let Work { id, order, step, .. } = work;
        match step {
            Step::Read { range, skip, take } => {
                let whole = data.len() as u64 == range.end - range.start;
                let taken = if whole { trim(data, skip, take) } else { Err(Failure::Io) };
                self.finish(id, order, taken);
            }
            Step::Merge { range, at, data: new } => {
                let mut merged = data;
                let Some(place) = merged.get_mut(at..at + new.len()) else {
                    return self.finish(id, order, Err(Failure::Io));
                };
                place.copy_from_slice(&new);
                let step = Step::Change { range, change: Change::Write(merged.into()), seq: None };
                self.waiting.insert(order, Work { id, order, step, attempts: Attempts::default() });
            }
            Step::Change { seq, .. } => {
                if let Some(seq) = seq {
                    self.journal.acknowledge(seq);
                }
                self.finish(id, order, Ok(Vec::new()));
            }
            // A flush that was answered after a reset says nothing of what the reset may have lost.
            Step::Flush { .. } if self.resetting() => {
                let step = Step::Flush { epoch: None };
                self.waiting.insert(order, Work { id, order, step, attempts: Attempts::default() });
            }
            Step::Flush { epoch } => {
                if let Some(epoch) = epoch {
                    self.journal.flushed(epoch);
                }
                self.finish(id, order, Ok(Vec::new()));
            }
        }
    }

    fn failed(&mut self, now: Instant, job: Job, failure: Failure, text: String) {
        match job {
            Job::Verify(step, _) => self.refused(now, format!("{} failed: {text}", step.name())),
            Job::Replay(..) => {
                self.fail(format!("a write that was acknowledged could not be made again: {text}"))
            }
            Job::OwnFlush(..) => {
                self.fail(format!("the array could not flush what it had acknowledged: {text}"))
            }
            Job::Work(work) => {
                if let Step::Change { seq: Some(seq), .. } = work.step {
                    self.journal.forget(seq);
                }
                self.finish(work.id, work.order, Err(failure));
            }
        }
    }

    fn finish(&mut self, id: RequestId, order: u64, result: Result<Vec<u8>, Failure>) {
        self.busy.remove(order);
        let Some(parent) = self.parents.get_mut(&id) else { return };
        parent.left -= 1;
        match result {
            Ok(data) if data.is_empty() => {}
            Ok(data) => drop(parent.read.insert(order, data)),
            Err(failure) => parent.result = parent.result.and(Err(failure)),
        }
        if parent.left == 0
            && let Some(mut parent) = self.parents.remove(&id)
        {
            let first = parent.read.pop_first().map_or_else(Vec::new, |(_, data)| data);
            let read = parent.read.into_values().fold(first, |mut all, data| {
                all.extend_from_slice(&data);
                all
            });
            self.done.push_back(Done { id, result: parent.result.map(|()| read) });
        }
    }

    fn verify_step(&mut self, now: Instant, step: Verify, data: &[u8]) {
        if let Err(reason) = step.take(data, self.lun, &self.expected, &mut self.found) {
            return if self.after_verify == Replay::NotDue {
                self.fail(reason)
            } else {
                self.refused(now, reason)
            };
        }
        if let Some(next) = step.next() {
            return self.send(Job::Verify(next, Attempts::default()));
        }
        if let Some(problem) = self.verified.as_ref().and_then(|before| before.contradicts(&self.found)) {
            return self.fail(problem);
        }
        self.verified = Some(self.found.clone());
        self.start_replay();
    }
}

fn trim(mut data: Vec<u8>, skip: usize, take: usize) -> Result<Vec<u8>, Failure> {
    if skip == 0 {
        data.truncate(take);
        return Ok(data);
    }
    data.get(skip..skip + take).map(<[u8]>::to_vec).ok_or(Failure::Io)
}

fn change_command(range: &Range<u64>, change: &Change) -> (cdb::Cdb, Transfer) {
    let len = range.end - range.start;
    match change {
        Change::Write(data) => (cdb::write(range.start, len as u32), Transfer::Out(Arc::clone(data))),
        Change::Zero { unmap } => {
            let block: Arc<[u8]> = vec![0; cdb::BLOCK as usize].into();
            (cdb::write_zeroes(range.start, len, *unmap), Transfer::Out(block))
        }
        Change::Unmap => (cdb::unmap(), Transfer::Out(Arc::new(cdb::unmap_list(range.start, len)))),
    }
}
