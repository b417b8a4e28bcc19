//! The primary: takes the service's orders, orders the hands, keeps the deadlines.
//!
//! One thread, one loop: wait for anything, take it in, then [`Primary::maintain`] does whatever the board and the clock
//! call for. Whatever goes wrong *spoils* the freeze: everything is recalled at once, and from then on the freeze
//! cannot be attested any more.

mod requests;
mod setup;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, SendFlags},
};
use std::{
    collections::{BTreeSet, VecDeque},
    os::fd::{AsFd, OwnedFd},
};
use umbra_base::{Error, ErrorCode, Instant, Result};
use umbra_sys::{
    clock::boottime_nanos,
    process::{exit_now, ignore_signals},
};

use crate::{
    Undo,
    board::{Board, Fs, UndoState},
    hand::{Hand, Order, Outcome},
    limits::{PATIENCE, TICK},
    mounts::Opened,
    protocol::{Numbered, Reply, Request},
    record::Record,
    thaw::{self, Recall},
    undo::Runner,
    wire::{self, Received},
};

/// Runs the guard in this process, which must be a fresh one with a single thread, and whose standard input is the
/// service's socket. Ends the process.
pub fn run() -> ! {
    ignore_signals(&[
        signal::HUP,
        signal::INT,
        signal::QUIT,
        signal::TERM,
        signal::PIPE,
        signal::TSTP,
        signal::USR1,
        signal::USR2,
    ]);
    // A panic must not write to a stream that may lie on a frozen file system; the others notice the death.
    std::panic::set_hook(Box::new(|_| exit_now(101)));
    let status = match setup::take_socket().and_then(setup::converse) {
        Ok(()) => 0,
        Err(_) => 1, // Told to the service where there was one; there is nowhere else to say it.
    };
    exit_now(status)
}

/// Numbers of signals (signal(7), x86 and ARM).
mod signal {
    pub const HUP: i32 = 1;
    pub const INT: i32 = 2;
    pub const QUIT: i32 = 3;
    pub const USR1: i32 = 10;
    pub const USR2: i32 = 12;
    pub const PIPE: i32 = 13;
    pub const TERM: i32 = 15;
    pub const TSTP: i32 = 20;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Primary {
    service: OwnedFd,
    record: Record,
    file_systems: Vec<Opened>,
    hands: Vec<Hand>,
    twin: OwnedFd,
    twin_lives: bool,
    hold: std::time::Duration,
    frozen_at: Option<Instant>,
    free_at: Option<Instant>,
    /// Why the freeze cannot be attested any more.
    spoiled: Option<(ErrorCode, String)>,
    /// What the hands are at.
    work: Option<Work>,
    /// A thaw was asked for before any freeze.
    released: bool,
    /// Requests that wait until every file system is free.
    thaws: Vec<u64>,
    /// Undo commands to be run, with the request that waits for each.
    queue: VecDeque<(usize, Option<u64>)>,
    running: Option<(usize, Option<u64>, Runner)>,
    ending: Option<Ending>,
    window_is_over: bool,
    notes: Vec<String>,
}

/// A request that every hand has to answer.
#[derive(Debug)]
struct Work {
    id: u64,
    order: Order,
    left: BTreeSet<usize>,
    failed: Option<Error>,
}

/// The end has been asked for, by a request or by the loss of the service.
#[derive(Debug)]
struct Ending {
    id: Option<u64>,
    undone: bool,
}

impl Primary {
    pub(crate) fn serve(mut self) -> Result<()> {
        loop {
            self.wait_and_take();
            self.maintain();
            if self.is_done() {
                return self.leave();
            }
        }
    }

    fn board(&self) -> &Board {
        &self.record.board
    }

    /// Waits for anything, at most a tick, and takes it in.
    fn wait_and_take(&mut self) {
        let ready = self.wait();
        let mut ready = ready.into_iter();
        let mut next = || ready.next().unwrap_or(false);
        let (service, twin) = (next(), next());
        let hands: Vec<_> = self.hands.iter().map(|_| (next(), next())).collect();
        if twin && self.twin_lives {
            self.twin_lives = false;
            self.spoil(ErrorCode::GuardLost, "the guard's twin has died".to_owned());
        }
        for (index, (answered, died)) in hands.into_iter().enumerate() {
            if answered {
                self.take_answers(index);
            }
            if died {
                self.hand_died(index);
            }
        }
        if service && self.ending.is_none() {
            self.take_requests();
        }
    }

    fn wait(&self) -> Vec<bool> {
        let watched = |fd, wanted| {
            PollFd::from_borrowed_fd(fd, if wanted { PollFlags::IN } else { PollFlags::empty() })
        };
        let mut fds = vec![
            watched(self.service.as_fd(), self.ending.is_none()),
            watched(self.twin.as_fd(), self.twin_lives),
        ];
        for hand in &self.hands {
            fds.push(watched(hand.socket.as_fd(), hand.alive));
            fds.push(watched(hand.pidfd.as_fd(), hand.alive));
        }
        if let Some((_, _, runner)) = &self.running {
            fds.extend(runner.wakers().map(|fd| watched(fd, true)));
        }
        let tick = Timespec::try_from(TICK).ok().filter(|_| self.is_watchful());
        let _ = poll(&mut fds, tick.as_ref()); // EINTR is an early tick.
        fds.iter().map(|fd| !fd.revents().is_empty()).collect()
    }

    /// Whether there is any deadline to look at.
    fn is_watchful(&self) -> bool {
        !self.board().all_free()
            || self.board().any_undo_owed()
            || self.running.is_some()
            || self.ending.is_some()
    }

    fn take_answers(&mut self, index: usize) {
        while let Some(outcome) = self.hands[index].answer() {
            self.answered(index, outcome);
        }
    }

    fn hand_died(&mut self, index: usize) {
        if !self.hands[index].alive {
            return;
        }
        self.hands[index].alive = false;
        let path = self.file_systems[index].file_system.path.display().to_string();
        self.spoil(ErrorCode::GuardLost, format!("the guard's process for {path} has died"));
    }

    /// A hand has answered what it was told last; the answer to a thaw stands on the board already.
    fn answered(&mut self, index: usize, outcome: Outcome) {
        let path = self.file_systems[index].file_system.path.display().to_string();
        let Some(work) = self.work.as_mut() else { return };
        if !work.left.remove(&index) {
            return;
        }
        let order = work.order;
        if let Err(error) = judge(order, &path, outcome) {
            let (code, text) = (error.code(), error.chain());
            work.failed.get_or_insert(error);
            if order != Order::Sync {
                self.spoil(code, text);
            }
        }
        self.finish_work();
    }

    /// Answers the request that the hands were at, when the last has answered, or the first has failed.
    fn finish_work(&mut self) {
        let Some(work) = self.work.take_if(|work| work.left.is_empty() || work.failed.is_some()) else {
            return;
        };
        match work.failed {
            Some(error) => self.reply(work.id, Reply::Failed(error.into())),
            None => self.reply(work.id, Reply::Done),
        }
    }

    /// The freeze is not worth anything any more: everything is thawed at once, and the service is told, by the answer
    /// to the request that is under way if there is one.
    fn spoil(&mut self, code: ErrorCode, text: String) {
        let work = self.work.take_if(|work| work.order != Order::Sync);
        if let Some(work) = work {
            let error = work.failed.unwrap_or_else(|| Error::new(code, text.clone()));
            self.reply(work.id, Reply::Failed(error.into()));
        } else if self.spoiled.is_none() {
            self.reply(0, Reply::Failed(Error::new(code, text.clone()).into()));
        }
        self.spoiled.get_or_insert((code, text));
        self.recall();
    }

    /// Orders every file system to be thawed. Repeating it is harmless, and makes up for hands that died.
    fn recall(&mut self) {
        for index in 0..self.hands.len() {
            let verdict = thaw::recall(self.board(), index);
            if verdict == Recall::Free {
                continue;
            }
            if !self.hands[index].alive {
                // If it fails it stays on the board, and the next tick tries again.
                let _ = thaw::take_from_dead(self.board(), index, &self.file_systems[index].fd);
            } else if verdict == Recall::Frozen {
                self.hands[index].order(Order::Thaw);
            }
        }
    }

    /// Does what the board and the clock call for.
    fn maintain(&mut self) {
        let now = Instant::from_nanos(boottime_nanos());
        self.keep_deadlines(now);
        if self.spoiled.is_some() || !self.thaws.is_empty() || self.ending.is_some() {
            self.recall();
        }
        if self.board().all_free() {
            if self.frozen_at.is_some() {
                self.free_at.get_or_insert(now);
            }
            self.answer_thaws();
        }
        self.run_undos();
    }

    fn keep_deadlines(&mut self, now: Instant) {
        // A thaw that was asked for ends the hold of the others, but is no expiry.
        let wanted = self.thaws.is_empty() && self.ending.is_none() && !self.board().all_free();
        if wanted && self.board().hold_until().is_some_and(|until| now >= until) {
            self.note_stalls();
            let text = format!("file systems were frozen for {} ms, the limit", self.hold.as_millis());
            self.spoil(ErrorCode::HoldWritesTimeout, text);
        }
        if !self.window_is_over && self.board().window_until().is_some_and(|until| now >= until) {
            self.window_is_over = true;
            let live: Vec<_> =
                (0..self.board().undos()).filter(|i| self.board().undo(*i) == UndoState::Live).collect();
            if !live.is_empty() {
                self.spoil(
                    ErrorCode::WriterTimeout,
                    "a writer was frozen for as long as it may be".to_owned(),
                );
                self.queue.extend(live.into_iter().map(|index| (index, None)));
            }
        }
    }

    /// Names the file systems whose FIFREEZE has not returned, for the timeline.
    fn note_stalls(&mut self) {
        for (index, opened) in self.file_systems.iter().enumerate() {
            if matches!(self.record.board.fs(index), Fs::Freezing | Fs::Probing) {
                let path = opened.file_system.path.display();
                self.notes.push(format!(
                    "storage of {path} stalled inside the freeze; it is thawed when it answers"
                ));
            }
        }
    }

    fn answer_thaws(&mut self) {
        let held = match (self.frozen_at, self.free_at) {
            (Some(from), Some(to)) => to.since(from),
            _ => std::time::Duration::ZERO,
        };
        for id in std::mem::take(&mut self.thaws) {
            let held_ms = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
            self.reply(id, Reply::Thawed(crate::Thawed { held_ms, notes: self.notes.clone() }));
        }
    }

    /// One undo command at a time; at the end, and at the limit, all that are live.
    fn run_undos(&mut self) {
        if let Some((index, id, mut runner)) = self.running.take() {
            match runner.step() {
                None => self.running = Some((index, id, runner)),
                Some(result) => self.undo_ended(index, id, result),
            }
        }
        if let Some(ending) =
            self.ending.as_mut().filter(|ending| !ending.undone && self.record.board.all_free())
        {
            ending.undone = true;
            let owed =
                (0..self.record.board.undos()).filter(|index| self.record.board.undo(*index).is_owed());
            self.queue.extend(owed.map(|index| (index, None)));
        }
        while self.running.is_none() && !self.waits_for_thaw() {
            let Some((index, id)) = self.queue.pop_front() else { return };
            self.start_undo(index, id);
        }
    }

    /// File systems come first, since an undo command may need them; but where storage stalls, a writer is not held for it.
    fn waits_for_thaw(&self) -> bool {
        let now = Instant::from_nanos(boottime_nanos());
        let patient = self.board().window_until().is_none_or(|until| now < until + PATIENCE);
        patient && !self.board().all_free()
    }

    fn start_undo(&mut self, index: usize, id: Option<u64>) {
        if !self.board().claim_undo(index) {
            // It is not owed, or somebody else of ours runs it.
            return self.answer_undo(id, Ok(()));
        }
        match Runner::start(self.undo(index)) {
            Ok(runner) => self.running = Some((index, id, runner)),
            Err(error) => self.undo_ended(index, id, Err(error)),
        }
    }

    fn undo_ended(&mut self, index: usize, id: Option<u64>, result: Result<()>) {
        // One that failed while somebody can be told stays owed: it is run again at the end.
        let given_up = self.ending.is_some();
        let state = if result.is_ok() || given_up { UndoState::Done } else { UndoState::Live };
        self.board().set_undo(index, state);
        self.answer_undo(id, result);
    }

    fn answer_undo(&self, id: Option<u64>, result: Result<()>) {
        if let Some(id) = id {
            self.reply(id, result.map_or_else(|error| Reply::Failed(error.into()), |()| Reply::Done));
        }
    }

    fn undo(&self, index: usize) -> &Undo {
        &self.record.text.undos[index]
    }

    fn is_done(&self) -> bool {
        let undone = self.ending.as_ref().is_some_and(|ending| ending.undone);
        undone && self.board().all_free() && self.running.is_none() && self.queue.is_empty()
    }

    /// Nothing is held any more: the others end, the record goes.
    fn leave(self) -> Result<()> {
        self.board().finish();
        self.record.remove();
        self.hands.iter().for_each(|hand| hand.order(Order::Quit));
        setup::reap(&self.hands, &self.twin);
        if let Some(id) = self.ending.as_ref().and_then(|ending| ending.id) {
            self.reply(id, Reply::Done);
        }
        Ok(())
    }

    /// Tells the service. It may be gone or not listening; the guard does its work regardless.
    fn reply(&self, id: u64, body: Reply) {
        let _ = wire::transmit(&self.service, &Numbered { id, body }, SendFlags::DONTWAIT);
    }

    fn take_requests(&mut self) {
        loop {
            match wire::receive::<Numbered<Request>>(&self.service, RecvFlags::DONTWAIT) {
                Ok(Received::Message(Numbered { id, body })) => self.request(id, body),
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => {
                    self.ending = Some(Ending { id: None, undone: false });
                    return;
                }
            }
        }
    }
}

/// What an answer means for the order it answers.
fn judge(order: Order, path: &str, outcome: Outcome) -> Result<()> {
    use rustix::io::Errno;
    let volume = |error: Error| Err(error.param("volume", path));
    match (order, outcome) {
        (_, Outcome::Done) => Ok(()),
        (Order::Freeze, Outcome::Failed(Errno::BUSY)) => {
            let text = format!("{path} is frozen already, by somebody else");
            volume(
                Error::new(ErrorCode::VolumeFrozenElsewhere, text)
                    .hint("whoever froze it must thaw it: fsfreeze --unfreeze"),
            )
        }
        (Order::Freeze, Outcome::Failed(Errno::OPNOTSUPP)) => volume(Error::new(
            ErrorCode::VolumeNotSupported,
            format!("the file system at {path} cannot be frozen"),
        )),
        (Order::Probe, Outcome::Stolen) => {
            let text = format!("{path} was thawed by somebody else while the set was cut");
            volume(
                Error::new(ErrorCode::FreezeNotProven, text)
                    .hint("another program freezes and thaws this volume too"),
            )
        }
        (Order::Probe, other) => volume(Error::new(
            ErrorCode::FreezeNotProven,
            format!("a probe of the freeze of {path} ended with {other:?}"),
        )),
        (_, Outcome::Failed(error)) => volume(Error::io(format!("{order:?} of {path}"), error)),
        (_, Outcome::Recalled | Outcome::Stolen) => volume(Error::new(
            ErrorCode::HoldWritesTimeout,
            format!("{path} was recalled before it was frozen"),
        )),
    }
}
