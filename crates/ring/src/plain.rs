//! The engine without io_uring: system calls on the shard's own thread where they cannot block, epoll for sockets, and
//! workers for the rest.
//!
//! A file operation that comes here may block (see [`crate::inline`]) and goes to a worker with all that it owns. These
//! workers do nothing else: calls may wait for the end of an operation, and must not stand before it. A socket operation is tried at once and, if nothing comes of it, parked under its descriptor until epoll reports a
//! change. What always holds: an operation is in exactly one of `queued`, `parked`, a worker's hands, or `done`; sockets
//! are watched by their edges, so an operation is parked only after a try that found nothing; one end of a socket serves
//! its operations in order.

use crate::{
    remote::Waker,
    syscalls::{Outcome, Patience, perform},
    workers::Workers,
};
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
};
use std::{
    collections::VecDeque,
    fmt, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};
use umbra_sys::uring::{Op, Reaped};

/// Changes taken from epoll at a time; more wait for the next.
const EVENTS: usize = 128;
/// Operations on files that are done at a time.
const WORKERS: usize = 8;

/// An operation and the name that it was pushed under.
type Named = (u64, Op);

/// Operations that wait for one descriptor.
#[derive(Debug, Default)]
struct Parked {
    reading: VecDeque<Named>,
    writing: VecDeque<Named>,
}

pub(crate) struct Plain {
    depth: usize,
    in_flight: usize,
    queued: VecDeque<Named>,
    done: VecDeque<Reaped>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    /// By number of the descriptor, which is an operation's as long as it is parked here.
    parked: Vec<Parked>,
    /// How many operations are parked, those that wait for the shard's own event apart.
    parked_sockets: usize,
    /// For operations on files; as many may wait as there are. The engine ends when they have done theirs.
    workers: Workers,
    /// What workers have done. Has room for every operation, so that no worker ever waits for a shard.
    finished: Receiver<Reaped>,
    finish: SyncSender<Reaped>,
    with_workers: usize,
    waker: Arc<Waker>,
    /// The last turn did not ask epoll.
    passed_by: bool,
}

impl Plain {
    pub fn new(depth: u32, waker: Arc<Waker>) -> io::Result<Plain> {
        let depth = depth as usize;
        let (finish, finished) = sync_channel(depth);
        Ok(Plain {
            depth,
            in_flight: 0,
            queued: VecDeque::with_capacity(depth),
            done: VecDeque::with_capacity(depth),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            parked: Vec::new(),
            parked_sockets: 0,
            workers: Workers::start(WORKERS, depth)?,
            finished,
            finish,
            with_workers: 0,
            waker,
            passed_by: false,
        })
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn push(&mut self, user: u64, op: Op) -> Result<(), Op> {
        if self.in_flight == self.depth {
            return Err(op);
        }
        self.in_flight += 1;
        self.queued.push_back((user, op));
        Ok(())
    }

    /// Watches a socket from now on; that ends with its descriptor.
    pub fn watch(&mut self, fd: &OwnedFd) -> io::Result<()> {
        let number = fd.as_raw_fd() as usize;
        if self.parked.len() <= number {
            self.parked.resize_with(number + 1, Parked::default);
        }
        let what =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(number as u64), what)?)
    }

    pub fn unwatch(&mut self, fd: &OwnedFd) {
        let _was_watched = epoll::delete(&self.epoll, fd);
    }

    /// Ends what is queued or parked as `user`; what a worker has goes on to its end.
    pub fn cancel(&mut self, user: u64) {
        let mut ended = Vec::new();
        take_named(&mut self.queued, user, &mut ended);
        for parked in &mut self.parked {
            let before = ended.len();
            take_named(&mut parked.reading, user, &mut ended);
            take_named(&mut parked.writing, user, &mut ended);
            self.parked_sockets -= ended.len() - before;
        }
        for named in ended {
            self.complete(named, Err(Errno::CANCELED));
        }
    }

    pub fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        for _ in 0..self.queued.len() {
            let Some(named) = self.queued.pop_front() else { break };
            self.start(named);
        }
        self.collect_finished();
        let waits = self.done.is_empty() && timeout != Some(Duration::ZERO);
        // With work at hand, epoll is asked every other time.
        if !waits && (self.parked_sockets == 0 || !std::mem::replace(&mut self.passed_by, true)) {
            return Ok(());
        }
        self.passed_by = false;
        self.poll(if waits { timeout } else { Some(Duration::ZERO) })?;
        self.collect_finished();
        Ok(())
    }

    pub fn reap(&mut self) -> Option<Reaped> {
        let reaped = self.done.pop_front();
        self.in_flight -= usize::from(reaped.is_some());
        reaped
    }

    fn start(&mut self, named: Named) {
        match named.1 {
            Op::Read { .. } | Op::Write { .. } | Op::Sync { .. } => self.hand_over(named),
            Op::Recv { .. } | Op::Send { .. } | Op::Accept { .. } | Op::Wake { .. } => self.try_socket(named),
        }
    }

    /// Has a worker do the operation.
    fn hand_over(&mut self, (user, mut op): Named) {
        let (finish, waker) = (self.finish.clone(), self.waker.clone());
        self.with_workers += 1;
        let refused = self.workers.submit(Box::new(move || {
            let result = perform(&mut op, Patience::Patient);
            // The channel has room for every operation; only a shard that is gone does not listen.
            let _gone = finish.send(reaped((user, op), result));
            waker.wake();
        }));
        // There is room for every operation; were there none, it would be done here.
        if let Err(job) = refused {
            job();
        }
    }

    fn collect_finished(&mut self) {
        while self.with_workers > 0
            && let Ok(reaped) = self.finished.try_recv()
        {
            self.with_workers -= 1;
            self.done.push_back(reaped);
        }
    }

    fn try_socket(&mut self, (user, mut op): Named) {
        let is_wake = matches!(op, Op::Wake { .. });
        if !self.line(&op).is_empty() {
            self.parked_sockets += usize::from(!is_wake);
            return self.line(&op).push_back((user, op));
        }
        match perform(&mut op, Patience::None) {
            Err(Errno::AGAIN) => {
                self.parked_sockets += usize::from(!is_wake);
                self.line(&op).push_back((user, op));
            }
            result => self.complete((user, op), result),
        }
    }

    /// Where operations wait that work on the same end of the same descriptor.
    fn line(&mut self, op: &Op) -> &mut VecDeque<Named> {
        let number = op.descriptor().as_fd().as_raw_fd() as usize;
        if self.parked.len() <= number {
            self.parked.resize_with(number + 1, Parked::default);
        }
        let parked = &mut self.parked[number];
        if matches!(op, Op::Send { .. }) { &mut parked.writing } else { &mut parked.reading }
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => (),
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.retry(event.data.u64() as usize, event.flags);
        }
        self.events = events;
        Ok(())
    }

    /// Tries what waits for a descriptor that changed, until nothing more comes of it.
    fn retry(&mut self, number: usize, flags: epoll::EventFlags) {
        use epoll::EventFlags as E;
        if flags.intersects(E::IN | E::RDHUP | E::HUP | E::ERR) {
            self.retry_line(number, |parked| &mut parked.reading);
        }
        if flags.intersects(E::OUT | E::HUP | E::ERR) {
            self.retry_line(number, |parked| &mut parked.writing);
        }
    }

    fn retry_line(&mut self, number: usize, line: fn(&mut Parked) -> &mut VecDeque<Named>) {
        while let Some((user, mut op)) =
            self.parked.get_mut(number).and_then(|parked| line(parked).pop_front())
        {
            match perform(&mut op, Patience::None) {
                Err(Errno::AGAIN) => return line(&mut self.parked[number]).push_front((user, op)),
                result => {
                    self.parked_sockets -= usize::from(!matches!(op, Op::Wake { .. }));
                    self.complete((user, op), result);
                }
            }
        }
    }

    fn complete(&mut self, named: Named, result: Result<Outcome, Errno>) {
        self.done.push_back(reaped(named, result));
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// Moves every operation called `user` out of the line; the shard's own wake-up is nobody's.
fn take_named(line: &mut VecDeque<Named>, user: u64, into: &mut Vec<Named>) {
    for _ in 0..line.len() {
        match line.pop_front() {
            Some(named) if named.0 == user && !matches!(named.1, Op::Wake { .. }) => into.push(named),
            Some(named) => line.push_back(named),
            None => return,
        }
    }
}

/// A completion as a ring would tell it.
fn reaped((user, mut op): Named, result: Result<Outcome, Errno>) -> Reaped {
    let cancelled = matches!(result, Err(Errno::CANCELED));
    let (result, accepted) = match result {
        Ok(Outcome::Bytes(bytes)) => {
            op.progress(bytes);
            (Ok(bytes), None)
        }
        Ok(Outcome::Accepted(fd)) => (Ok(0), Some(fd)),
        Err(errno) => (Err(errno.into()), None),
    };
    Reaped { user, op: Some(op), result, accepted, cancelled }
}
