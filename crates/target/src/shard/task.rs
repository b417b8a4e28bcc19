//! Commands that run: I/O on the ring in pieces, or a call that a worker makes.
//!
//! What always holds: a task stays until nothing of it runs any more, aborted or not; its fences fall when the command can
//! change nothing any more, and not before (design A1).

use super::{Kind, Server, known_file, token};
use crate::exclusion::Inside;
use crate::fence::Fence;
use crate::outcome::Outcome;
use crate::slot::Slot;
use crate::unit::LogicalUnit;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use umbra_base::Extent;
use umbra_ring::{Buf, Payload};
use umbra_scsi::{Durability, Extent as Blocks, Plan, Sense, SenseFormat, WriteCache, status};

/// A command that runs.
pub(super) struct Task<U: LogicalUnit> {
    pub conn: usize,
    pub tag: u32,
    pub slot: Arc<Slot<U>>,
    pub format: SenseFormat,
    pub cache: WriteCache,
    pub takes: Option<u64>,
    pub ordered: bool,
    /// It may touch any LUN of its host's view, not only its own.
    pub copies: bool,
    /// Nobody wants to hear how it ends.
    pub aborted: bool,
    /// The same, for the worker of what may take long and can be left half done.
    pub given_up: Option<Arc<AtomicBool>>,
    /// Its change of reservations is in force; it only waits until all shards have done their part.
    pub settling: bool,
    pub fences: Vec<Fence>,
    pub work: Work<U::Ticket>,
    /// Its buffer, in pieces while parts of it are in operations.
    pub pieces: Vec<Option<Buf>>,
    /// Pieces in operations.
    pub left: usize,
    pub failed: Option<io::Error>,
}

/// What it does.
#[derive(Debug)]
pub(super) enum Work<T> {
    Read {
        ticket: T,
        /// Bytes that the command names, of which not all may have been asked for.
        has: u64,
    },
    Write {
        ticket: T,
        inside: Inside,
        blocks: Blocks,
        durability: Durability,
    },
    /// A worker changes the unit.
    Changing,
    /// A worker reads it, or it waits for a flush.
    Elsewhere,
}

impl<U: LogicalUnit> Task<U> {
    /// Nobody wants to hear of it any more; what can stop half way does.
    pub fn give_up(&mut self) {
        if let Some(given_up) = &self.given_up {
            given_up.store(true, Relaxed);
        }
    }

    /// Keeps a fence up for as long as this can change something. What settles can not, and waits for fences itself: two
    /// that waited for each other, or one for its own, would never end.
    pub fn hold(&mut self, fence: &Fence) {
        if !self.settling {
            self.fences.push(fence.clone());
        }
    }

    /// From now on this can change nothing any more: its fences fall.
    pub fn settle(&mut self) {
        self.settling = true;
        self.fences.clear();
    }
}

impl<U: LogicalUnit> Server<U> {
    /// Reads what is planned if it lies in one place and can be read without waiting. False: the rest is still to be read.
    pub(super) fn read_now(&mut self, slot: &Slot<U>, buf: &mut Buf) -> bool {
        let [extent] = self.extents[..] else { return false };
        let Some(at) = extent.at else {
            buf.fill_zero();
            return true;
        };
        let file = known_file(&mut self.files, &mut self.shard, slot.file.as_ref());
        file.is_ok_and(|file| self.shard.read_now(&self.files[file].1, at, buf))
    }

    /// The same for a write of `data`; false: none or some of it may be written.
    pub(super) fn write_now(&mut self, slot: &Slot<U>, data: &[u8]) -> bool {
        let [Extent { at: Some(at), .. }] = self.extents[..] else { return false };
        let file = known_file(&mut self.files, &mut self.shard, slot.file.as_ref());
        file.is_ok_and(|file| self.shard.write_now(&self.files[file].1, at, data))
    }

    /// Reads the planned extents into `buf`. If there is one, [`Server::read_now`] has begun.
    pub(super) fn read_pieces(&mut self, t: usize, buf: Buf) {
        let Some(file) = self.task_file(t) else { return self.pieces_done(t) };
        let mut rest = Some(buf);
        for piece in 0..self.extents.len() {
            let extent = self.extents[piece];
            let Some(mut part) = rest.take() else { break };
            if piece + 1 < self.extents.len() {
                rest = Some(part.split_off(extent.len as usize));
            }
            let task = &mut self.tasks[t];
            match extent.at {
                Some(at) => {
                    task.pieces.push(None);
                    task.left += 1;
                    let (token, at) = (token(Kind::Piece, t, piece), at + part.len() as u64);
                    match self.extents.len() {
                        1 => self.shard.submit_read(token, &self.files[file].1, at, part),
                        _ => self.shard.read(token, &self.files[file].1, at, part),
                    }
                }
                None => {
                    part.fill_zero();
                    task.pieces.push(Some(part));
                }
            }
        }
        if self.tasks[t].left == 0 {
            self.pieces_done(t);
        }
    }

    /// Writes `data` to the planned extents. If there is one, [`Server::write_now`] could not.
    pub(super) fn write_pieces(&mut self, t: usize, data: Buf) {
        let Some(file) = self.task_file(t) else { return self.pieces_done(t) };
        let mut rest = Some(data);
        for piece in 0..self.extents.len() {
            let extent = self.extents[piece];
            let Some(mut part) = rest.take() else { break };
            if piece + 1 < self.extents.len() {
                rest = Some(part.split_off(extent.len as usize));
            }
            let task = &mut self.tasks[t];
            task.pieces.push(None);
            task.left += 1;
            // No file has such a byte: the ring refuses it.
            let (token, at) = (token(Kind::Piece, t, piece), extent.at.unwrap_or(u64::MAX));
            match self.extents.len() {
                1 => self.shard.submit_write(token, &self.files[file].1, at, part),
                _ => self.shard.write(token, &self.files[file].1, at, part),
            }
        }
    }

    /// The place among [`Server::files`] of the file of a task's unit; without one the task has failed.
    fn task_file(&mut self, t: usize) -> Option<usize> {
        let task = &mut self.tasks[t];
        let file = known_file(&mut self.files, &mut self.shard, task.slot.file.as_ref());
        file.map_err(|error| task.failed = Some(error)).ok()
    }

    pub(super) fn piece_done(
        &mut self,
        t: usize,
        piece: usize,
        result: io::Result<u32>,
        payload: Payload<crate::message::Message<U>>,
    ) {
        let Some(task) = self.tasks.get_mut(t) else { return };
        let buf = match payload {
            Payload::Buf(buf) => Some(buf),
            Payload::Parts(mut parts) => parts.drain().next(),
            _ => None,
        };
        if let Some(place) = task.pieces.get_mut(piece) {
            *place = buf;
        }
        if let Err(error) = result {
            task.failed.get_or_insert(error);
        }
        task.left -= 1;
        if task.left == 0 {
            self.pieces_done(t);
        }
    }

    /// All of a task's own I/O is done.
    fn pieces_done(&mut self, t: usize) {
        let task = &mut self.tasks[t];
        let whole = joined(&mut task.pieces);
        let (failed, session) = (task.failed.take(), self.conns[task.conn].id);
        if let Some(error) = &failed {
            let lun = task.slot.number;
            tracing::warn!(session, lun, %error, "input or output on the pool's file failed");
        }
        // A full ring says nothing of the medium.
        let busy = failed.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::ResourceBusy);
        let done = failed.is_none() && whole.is_some();
        match std::mem::replace(&mut task.work, Work::Elsewhere) {
            Work::Read { ticket, has } => {
                let finished = task.slot.unit.finish(ticket, done);
                let outcome = match (done, finished) {
                    (true, Ok(())) => Outcome { has: Some(has), ..Outcome::good() },
                    _ if busy => Outcome::status(status::BUSY),
                    _ => Outcome::check(Sense::UNRECOVERED_READ_ERROR, task.format),
                };
                self.end_task(t, outcome, whole);
            }
            Work::Write { ticket, inside, blocks, durability } => {
                let finished = task.slot.unit.finish(ticket, done);
                task.slot.state.exclusion.leave(inside);
                let cache = task.cache;
                match (done, finished) {
                    (true, Ok(())) if durability == Durability::Cached => {
                        self.end_task(t, Outcome::good(), None);
                    }
                    (true, Ok(())) => self.make_durable(t, Outcome::good()),
                    // The other door waits for room, or says what is wrong.
                    _ if whole.is_some() => {
                        task.work = Work::Changing;
                        self.conns[task.conn].calls += 1;
                        self.call_for(t, Plan::Write { extent: blocks, durability }, whole, cache);
                    }
                    _ => {
                        let outcome = Outcome::check(Sense::WRITE_ERROR, self.tasks[t].format);
                        self.end_task(t, outcome, None);
                    }
                }
            }
            Work::Changing | Work::Elsewhere => {}
        }
    }

    /// A worker has carried a task out, but for making it durable.
    pub(super) fn called(&mut self, t: usize, outcome: Outcome, buf: Option<Buf>) {
        if self.tasks.contains(t) {
            self.end_task(t, outcome, buf);
        }
    }

    /// No worker could take a task.
    pub(super) fn not_called(&mut self, t: usize, result: io::Result<u32>) {
        if self.tasks.contains(t) {
            self.end_task(t, not_carried_out(result), None);
        }
    }

    /// A task is over: its status goes out unless it was aborted, and its fences fall.
    pub(super) fn end_task(&mut self, t: usize, outcome: Outcome, buf: Option<Buf>) {
        let mut task = self.tasks.remove(t);
        task.pieces.clear();
        self.spare_pieces.push(std::mem::take(&mut task.pieces));
        let c = task.conn;
        let conn = &mut self.conns[c];
        conn.running -= 1;
        conn.ordered &= !task.ordered;
        conn.calls -= usize::from(matches!(task.work, Work::Changing));
        if !task.aborted {
            self.answer(c, task.tag, outcome.taking(task.takes), buf);
        }
        drop(task);
        self.start_commands(c);
        self.touch(c);
    }
}

/// Puts the pieces of one buffer together again.
fn joined(pieces: &mut Vec<Option<Buf>>) -> Option<Buf> {
    let mut pieces = pieces.drain(..);
    let mut whole = pieces.next()??;
    for piece in pieces {
        whole.join(piece?).ok()?;
    }
    Some(whole)
}

/// What became of a command for which there was no worker.
pub(super) fn not_carried_out(result: io::Result<u32>) -> Outcome {
    match result {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Outcome::status(status::BUSY),
        Err(error) => {
            tracing::error!(%error, "a command could not be carried out");
            Outcome::check(Sense::INTERNAL_TARGET_FAILURE, SenseFormat::Fixed)
        }
        Ok(_) => Outcome::check(Sense::INTERNAL_TARGET_FAILURE, SenseFormat::Fixed),
    }
}
