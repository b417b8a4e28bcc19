//! A shard: one thread that serves its share of the connections, from the socket to the unit and back.
//!
//! ```text
//!   ring ── completion ─┬─ received bytes ── receive.rs ── iscsi core ── command.rs ─┬─ direct door: file I/O on the ring
//!                       ├─ file I/O ──────── task.rs                                 ├─ slow.rs, on a worker
//!                       ├─ sent ──────────── send.rs                                 └─ answered at once
//!                       └─ message ───────── here ── views, fences, task management, logins
//! ```
//! What always holds: a connection, its session and its tasks belong to one shard, and nothing of them is shared; what
//! concerns others' goes there as a message. In the steady state a read or write of mapped blocks allocates nothing, copies
//! nothing that is larger than a header (data in small portions excepted), and hands nothing to another thread. Responses
//! of one round leave together.

mod accept;
mod command;
mod connection;
mod durable;
mod farewell;
mod login;
mod management;
mod receive;
mod reserve;
mod send;
mod task;
mod views;

use crate::common::Common;
use crate::fence::Fence;
use crate::limits::{FRAME_BYTES, OPERATIONS, TICK};
use crate::message::Message;
use crate::unit::LogicalUnit;
use accept::Listening;
use connection::Conn;
use durable::Flushes;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::Arc;
use task::Task;
use umbra_base::{Extent, Instant};
use umbra_ring::{Buf, BufPool, Completion, Config, Payload, Remote, Shard};

/// What a token stands for; its other bits say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Receive,
    Send,
    /// A piece of a task's I/O.
    Piece,
    /// A task's slow call.
    Call,
    Flush,
    Accept,
    /// A connection's question to the directory.
    Login,
}

const KINDS: [Kind; 8] = [
    Kind::Message,
    Kind::Receive,
    Kind::Send,
    Kind::Piece,
    Kind::Call,
    Kind::Flush,
    Kind::Accept,
    Kind::Login,
];

fn token(kind: Kind, index: usize, piece: usize) -> u64 {
    (kind as u64) << 60 | (index as u64) << 16 | piece as u64
}

fn of_token(token: u64) -> (Kind, usize, usize) {
    let kind = KINDS.get((token >> 60) as usize).copied().unwrap_or(Kind::Message);
    (kind, (token >> 16 & 0xfff_ffff_ffff) as usize, (token & 0xffff) as usize)
}

/// The state of a shard.
pub(crate) struct Server<U: LogicalUnit> {
    /// Which one it is.
    number: usize,
    common: Arc<Common<U>>,
    shard: Shard<Message<U>>,
    /// For headers and received bytes; data of commands comes from the shard's own pool.
    frames: BufPool,
    listeners: Slab<Listening>,
    conns: Slab<Conn<U>>,
    /// Connections by their number in the book.
    by_id: HashMap<u64, usize>,
    tasks: Slab<Task<U>>,
    /// Empty lists of pieces, of tasks that are over.
    spare_pieces: Vec<Vec<Option<Buf>>>,
    flushes: Slab<Flushes<U>>,
    /// Flushes by their unit's address.
    by_unit: HashMap<usize, usize>,
    /// Data files as the ring knows them.
    files: Vec<(Arc<File>, umbra_ring::File)>,
    /// Of the I/O that is being planned.
    extents: Vec<Extent>,
    /// Connections that wait for memory, in order.
    starved: VecDeque<usize>,
    /// The last that began to wait does so because there is none at all, not because its host has its share.
    exhausted: bool,
    /// Connections to look after at the end of the round.
    touched: Vec<usize>,
    now: Instant,
    next_look: Instant,
    /// A look at thresholds and tokens is under way; one shard does that for all.
    watching: bool,
    stopping: Option<Fence>,
}

impl<U: LogicalUnit> Server<U> {
    /// A shard of the calling thread.
    pub fn new(number: usize, common: &Arc<Common<U>>) -> io::Result<Self> {
        let config = &common.config;
        let shard = Shard::new(&Config {
            backend: config.backend,
            depth: OPERATIONS,
            // The ring has a page of it for itself: the largest command must fit beside that, or it would wait for ever.
            buffers: (config.memory / common.shards).max(umbra_ring::LARGEST + umbra_ring::PAGE),
            workers: common.workers.clone(),
            busy_poll: config.busy_poll,
        })?;
        let now = now();
        Ok(Server {
            number,
            common: common.clone(),
            shard,
            frames: BufPool::new(FRAME_BYTES),
            listeners: Slab::new(),
            conns: Slab::new(),
            by_id: HashMap::new(),
            tasks: Slab::new(),
            spare_pieces: Vec::new(),
            flushes: Slab::new(),
            by_unit: HashMap::new(),
            files: Vec::new(),
            extents: Vec::new(),
            starved: VecDeque::new(),
            exhausted: false,
            touched: Vec::new(),
            now,
            next_look: now + TICK,
            watching: false,
            stopping: None,
        })
    }

    /// How others reach it.
    pub fn remote(&self) -> Remote<Message<U>> {
        self.shard.remote()
    }

    /// Serves until it is told to stop and nothing runs any more.
    pub fn run(mut self) {
        let mut completions = Vec::with_capacity(OPERATIONS as usize);
        loop {
            let timeout = self.next_look.since(now());
            if let Err(error) = self.shard.wait(Some(timeout), &mut completions) {
                tracing::error!(shard = self.number, %error, "waiting for input and output failed");
            }
            self.now = now();
            for completion in completions.drain(..) {
                self.complete(completion);
            }
            self.feed();
            if self.now >= self.next_look {
                self.look_around();
            }
            self.round_off();
            if self.stopping.is_some() && self.conns.is_empty() && self.flushes.is_empty() {
                return;
            }
        }
    }

    fn complete(&mut self, completion: Completion<Message<U>>) {
        let Completion { token, result, payload } = completion;
        let (kind, index, piece) = of_token(token);
        match (kind, payload) {
            (Kind::Receive, payload) => self.received(index, result, payload.buf()),
            (Kind::Send, payload) => self.sent(index, result, payload.parts()),
            (Kind::Piece, payload) => self.piece_done(index, piece, result, payload),
            (Kind::Accept, payload) => self.accepted(index, result, payload.socket()),
            (Kind::Call, Payload::Message(Message::Called { outcome, buf })) => {
                self.called(index, outcome, buf)
            }
            (Kind::Call, Payload::Message(Message::Changed { aftermath })) => self.reserved(index, aftermath),
            (Kind::Call, _) => self.not_called(index, result),
            (Kind::Flush, Payload::Message(Message::Flushed { outcome })) => self.flushed(index, outcome),
            (Kind::Flush, _) => self.flushed(index, task::not_carried_out(result)),
            (Kind::Login, Payload::Message(Message::Identified { id, epoch, who, challenge })) => {
                self.identified(index, id, epoch, who, challenge);
            }
            (Kind::Login, _) => self.not_identified(index, result),
            (Kind::Message, Payload::Message(message)) => self.hear(message),
            (Kind::Message, _) => self.watching = false,
        }
    }

    fn hear(&mut self, message: Message<U>) {
        match message {
            Message::Listen { listener, portal } => self.listen(listener, portal),
            Message::Adopt(newcomer) => self.adopt(newcomer),
            Message::View { host, old, new, fence } => self.view_changed(&host, &old, &new, &fence),
            Message::End { ids, ending, fence } => self.end(&ids, ending, &fence),
            Message::Clear { unit, condition, fence } => self.clear(unit, condition, &fence),
            Message::Tell { at, condition } => self.tell(at, condition),
            Message::Enroll { id } => self.with_conn(id, Self::enroll),
            Message::Managed { id, tag, response } => self.with_conn(id, |server, c| {
                server.conns[c].core.task_management_done(tag, response);
                server.transmit(c);
            }),
            Message::LoggedOut { id } => self.with_conn(id, |server, c| {
                server.conns[c].core.logout_done();
                server.transmit(c);
            }),
            Message::Reserved { aftermath, fence } => self.suffer(&aftermath, &fence),
            Message::Settled { task } => self.settled(task),
            Message::Stop { fence } => self.stop(fence),
            Message::Watched => self.watching = false,
            // They come under tokens of their own.
            Message::Called { .. }
            | Message::Changed { .. }
            | Message::Flushed { .. }
            | Message::Identified { .. } => {}
        }
    }

    /// Does something with a connection, if it is still there.
    fn with_conn(&mut self, id: u64, what: impl FnOnce(&mut Self, usize)) {
        if let Some(c) = self.by_id.get(&id).copied() {
            what(self, c);
            self.touch(c);
        }
    }

    /// Sees to it that a connection is looked after at the end of the round.
    fn touch(&mut self, c: usize) {
        if let Some(conn) = self.conns.get_mut(c)
            && !std::mem::replace(&mut conn.touched, true)
        {
            self.touched.push(c);
        }
    }

    /// The end of a round: what is to be sent leaves, connections that are over go.
    fn round_off(&mut self) {
        while let Some(c) = self.touched.pop() {
            let Some(conn) = self.conns.get_mut(c) else { continue };
            conn.touched = false;
            // What ended may have been what an ordered command waited for, or that command itself.
            if !conn.queue.is_empty() {
                self.start_commands(c);
            }
            self.send(c);
            self.settle(c);
        }
    }

    /// Limits on time, and what is left over.
    fn look_around(&mut self) {
        let all: Vec<usize> = self.conns.iter().map(|(c, _)| c).collect();
        for c in all {
            self.look_after(c);
        }
        self.listen_again();
        if self.number == 0 && !self.watching && self.common.has_something_to_watch(self.now) {
            self.watching = true;
            let (common, now) = (self.common.clone(), self.now);
            self.shard.call(token(Kind::Message, 0, 0), move || {
                common.watch(now);
                Message::Watched
            });
        }
        self.next_look = self.now + TICK;
    }
}

/// The place of a unit's data file among those that the ring knows; it is made known to it.
fn known_file<U: LogicalUnit>(
    files: &mut Vec<(Arc<File>, umbra_ring::File)>,
    shard: &mut Shard<Message<U>>,
    file: Option<&Arc<File>>,
) -> io::Result<usize> {
    let file = file.ok_or_else(|| io::Error::other("a unit planned I/O on a file that it has not"))?;
    if let Some(at) = files.iter().position(|(other, _)| Arc::ptr_eq(other, file)) {
        return Ok(at);
    }
    let known = shard.file(file.try_clone()?);
    // One store has one file; a target whose units change stores keeps those of now.
    files.retain(|(other, _)| Arc::strong_count(other) > 1);
    files.push((file.clone(), known));
    Ok(files.len() - 1)
}

/// The instant now, on the clock that the machines run on.
pub(crate) fn now() -> Instant {
    Instant::from_nanos(umbra_sys::clock::boottime_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_what_it_was_made_of() {
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert_eq!(of_token(token(kind, 0xabc_def0, 0xfffe)), (kind, 0xabc_def0, 0xfffe));
        }
    }
}
