//! One connection and the session on it: the protocol machine, the queue of commands, and the workers that carry them out.
//!
//! ```text
//!   reader thread --Command--> queue --worker: take--> running --finish--> machine --> output
//!                                \__ abort: gone         \__ abort: finishes unheard; whoever waits for it is told then
//! ```
//! What always holds: one lock a session, never held while a unit, a directory, another session or the socket is
//! called; a session has ended only when nothing of it runs.

use crate::execute::{self, Scratch};
use crate::host::Host;
use crate::limits::{OUTPUT_BYTES, READ_BYTES, STACK_BYTES, WORKERS};
use crate::slot::lock;
use crate::socket::{PeerKey, Socket};
use crate::target::Target;
use crate::task_management::Waiter;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use umbra_base::Instant;
use umbra_iscsi::target::{CloseReason, Command, Completion, Connection, Resend, SessionKind};
use umbra_scsi::attention::Attentions;
use umbra_scsi::{Sense, WriteCache};

/// A logged-in session, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    pub initiator: String,
    pub isid: [u8; 6],
    pub tsih: u16,
    pub kind: SessionKind,
    pub resend: Resend,
    /// Where it comes from, `ADDRESS:PORT` or `unix`.
    pub peer: String,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub id: u64,
    pub socket: Socket,
    pub peer: String,
    pub peer_key: PeerKey,
    state: Mutex<State>,
    /// Work for a worker, or the end.
    pub work: Condvar,
    /// Output was sent, a command finished, or the end.
    pub progress: Condvar,
}

#[derive(Debug)]
pub(crate) struct State {
    pub connection: Connection,
    pub queue: VecDeque<Job>,
    pub running: Vec<Running>,
    next_job: u64,
    /// Bytes for the socket, and whether somebody is sending.
    pub output: Vec<u8>,
    pub sending: bool,
    workers: usize,
    idle: usize,
    pub ended: bool,
    /// Set when the login is complete.
    pub nexus: Option<Nexus>,
}

/// The session's side of being logged in.
#[derive(Debug)]
pub(crate) struct Nexus {
    pub host: Arc<Host>,
    pub info: SessionInfo,
    /// Unit attentions by LUN.
    pub attentions: BTreeMap<u16, Attentions>,
    /// Numbers that it knew and that are gone; until it asks REPORT LUNS (design A1).
    pub stale: BTreeSet<u16>,
}

/// A command that waits for a worker.
#[derive(Debug)]
pub(crate) struct Job {
    id: u64,
    pub command: Command,
}

/// A command that a worker has.
#[derive(Debug)]
pub(crate) struct Running {
    id: u64,
    pub tag: u32,
    /// The LUN, if the field names one.
    pub number: Option<u16>,
    pub aborted: bool,
    ordered: bool,
    /// Bytes that it may read.
    reads: u64,
    pub waiters: Vec<Arc<Waiter>>,
}

/// What a worker takes along.
pub(crate) struct Work {
    pub command: Command,
    pub host: Arc<Host>,
    pub cache: WriteCache,
    /// To be reported instead of carrying the command out.
    pub attention: Option<Sense>,
    id: u64,
}

const ORDERED: u8 = 2;
const HEAD_OF_QUEUE: u8 = 3;

impl Session {
    pub fn new(id: u64, socket: Socket, connection: Connection) -> Self {
        Session {
            id,
            peer: socket.peer(),
            peer_key: socket.peer_key(),
            socket,
            state: Mutex::new(State {
                connection,
                queue: VecDeque::new(),
                running: Vec::new(),
                next_job: 0,
                output: Vec::new(),
                sending: false,
                workers: 0,
                idle: 0,
                ended: false,
                nexus: None,
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits on a condition of this session.
    pub fn wait<'a>(&self, on: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        on.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the session to end, without waiting for it.
    pub fn end(&self, reason: CloseReason) {
        self.state().connection.close(reason);
        self.socket.shutdown();
    }

    /// Puts a command in line and sees to it that somebody carries it out.
    pub fn enqueue(self: &Arc<Self>, target: &Arc<Target>, state: &mut State, command: Command) {
        let job = Job { id: state.next_job, command };
        state.next_job += 1;
        if job.command.attribute == HEAD_OF_QUEUE {
            state.queue.push_front(job);
        } else {
            state.queue.push_back(job);
        }
        if state.idle < state.queue.len() && state.workers < WORKERS {
            self.start_worker(target, state);
        }
        self.work.notify_one();
    }

    fn start_worker(self: &Arc<Self>, target: &Arc<Target>, state: &mut State) {
        let (session, target) = (Arc::clone(self), Arc::clone(target));
        let worker = thread::Builder::new().name(format!("iscsi-{}", self.id)).stack_size(STACK_BYTES);
        match worker.spawn(move || session.work_loop(&target)) {
            Ok(_) => state.workers += 1,
            Err(error) if state.workers == 0 => {
                state.connection.close(CloseReason::Socket(format!("no thread for commands: {error}")));
            }
            // Those that run will get to it.
            Err(_) => {}
        }
    }

    fn work_loop(self: &Arc<Self>, target: &Arc<Target>) {
        let mut scratch = Scratch::default();
        while let Some(work) = self.take_work() {
            let outcome = execute::run(target, self, &work, &mut scratch);
            self.finish(&work, &outcome.completion(&scratch));
            scratch.shrink();
        }
        let mut state = self.state();
        state.workers -= 1;
        self.progress.notify_all();
    }

    /// The next command; `None` when the session has ended.
    fn take_work(&self) -> Option<Work> {
        let mut state = self.state();
        loop {
            if state.ended {
                return None;
            }
            if let Some(work) = state.next_work() {
                if !state.queue.is_empty() && state.idle > 0 {
                    self.work.notify_one();
                }
                return Some(work);
            }
            state.idle += 1;
            state = self.wait(&self.work, state);
            state.idle -= 1;
        }
    }

    /// A command is done: its status goes out, unless it was aborted; whoever waited for it is told.
    fn finish(&self, work: &Work, completion: &Completion<'_>) {
        let mut state = self.state();
        let Some(at) = state.running.iter().position(|running| running.id == work.id) else { return };
        let running = state.running.swap_remove(at);
        if !running.aborted {
            state.connection.complete(running.tag, completion);
        }
        if running.ordered || state.queue.front().is_some_and(|job| job.command.attribute == ORDERED) {
            self.work.notify_all();
        }
        self.progress.notify_all();
        self.flush(state);
        running.waiters.iter().for_each(|waiter| waiter.one_done());
    }

    /// Ends everything and waits until nothing of this session runs. Called by its reader thread, last. What is being sent (a
    /// logout response, a refusal) goes out before the socket is closed.
    pub fn wind_up(&self) {
        let mut state = self.state();
        state.ended = true;
        state.queue.clear();
        self.work.notify_all();
        self.progress.notify_all();
        while state.sending {
            state = self.wait(&self.progress, state);
        }
        self.socket.shutdown();
        while state.workers > 0 || state.sending {
            state = self.wait(&self.progress, state);
        }
    }
}

impl State {
    /// The command whose turn it is, if there is memory for what it reads. An ordered one waits for all before it, and all
    /// after it wait for it (SAM-5 section 8.6).
    fn next_work(&mut self) -> Option<Work> {
        let next = &self.queue.front()?.command;
        let (ordered, reads) = (next.attribute == ORDERED, u64::from(next.read_length));
        let reading: u64 = self.running.iter().map(|running| running.reads).sum();
        let blocked = self.running.iter().any(|running| running.ordered)
            || (ordered && !self.running.is_empty())
            || (reading > 0 && reading + reads > READ_BYTES)
            || self.output.len() > OUTPUT_BYTES;
        let nexus = self.nexus.as_mut()?;
        if blocked {
            return None;
        }
        let Job { id, command } = self.queue.pop_front()?;
        let number = command.lun.number();
        let attention = number
            .and_then(|number| nexus.attentions.get_mut(&number))
            .and_then(|attentions| attentions.interrupt(command.cdb[0]));
        let cache = match nexus.info.resend {
            Resend::Promised => WriteCache::Back,
            Resend::No => WriteCache::Through,
        };
        self.running.push(Running {
            id,
            tag: command.tag,
            number,
            aborted: false,
            ordered,
            reads,
            waiters: Vec::new(),
        });
        Some(Work { command, host: Arc::clone(&nexus.host), cache, attention, id })
    }
}

/// The instant now, on the clock that the machines run on.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(umbra_sys::clock::boottime_nanos())
}
