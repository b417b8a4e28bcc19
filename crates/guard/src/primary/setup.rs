//! From the start of the program to a guard that is ready: what is to be guarded is taken in, everything is opened, the
//! record is written, memory is locked, the hands and the twin are forked. Nothing is frozen yet, so here files may be
//! opened, and an error is simply told.

use rustix::{
    mm::{MlockAllFlags, mlockall},
    net::{RecvFlags, SendFlags},
    pipe::{PipeFlags, pipe_with},
    process::{PidfdFlags, getpid, pidfd_open, setsid},
};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};
use umbra_base::{Error, ErrorCode, Result, limits::HOLD_MAX};
use umbra_sys::{
    detach::silence_stdio,
    process::{Fork, exit_now, fork_single_threaded},
};

use super::Primary;
use crate::{
    Undo,
    hand::{Hand, Outcome, Post},
    limits::{FILE_SYSTEMS, READY, UNDOS},
    mounts::{self, Opened},
    protocol::{Numbered, Reply, Request},
    record::{self, Record, Text},
    twin::{Twin, is_over},
    wire::{self, Received},
};

/// The service's socket, moved away from standard input; the standard streams then lead nowhere.
pub(super) fn take_socket() -> Result<OwnedFd> {
    let what = |source: io::Error| Error::io("take the service's socket from standard input", source);
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).map_err(|error| what(error.into()))?;
    silence_stdio().map_err(what)?;
    Ok(socket)
}

/// Takes in what is to be guarded, then guards it.
pub(super) fn converse(service: OwnedFd) -> Result<()> {
    // Out of the service's session and process group: a signal to those is none to us. Fails for a group's leader only.
    let _ = setsid();
    let _ = std::env::set_current_dir("/");
    // The last to be killed when memory runs out; without the privilege it is one like all others.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let (mut mounts, mut undos) = (Vec::new(), Vec::new());
    loop {
        let Received::Message(Numbered { id, body }) = wire::receive(&service, RecvFlags::empty())? else {
            return Ok(()); // The service went before there was anything to guard.
        };
        let answer = match body {
            Request::Mount { path } if mounts.len() < FILE_SYSTEMS => {
                mounts.push(path);
                Ok(Reply::Done)
            }
            Request::Undo { undo } if undos.len() < UNDOS => {
                undos.push(undo);
                Ok(Reply::Done)
            }
            Request::Prepare { set, runtime, hold_ms } => {
                let hold = Duration::from_millis(hold_ms).min(HOLD_MAX);
                let wish = Wish { set, runtime, hold, mounts, undos };
                return guard(wish, service, id);
            }
            Request::Finish => return tell(&service, id, Reply::Done),
            Request::Mount { .. } | Request::Undo { .. } => {
                Err((ErrorCode::LimitReached, "too much for one guard"))
            }
            _ => Err((ErrorCode::BadState, "the guard is not prepared")),
        };
        tell(
            &service,
            id,
            answer.unwrap_or_else(|(code, text)| Reply::Failed(Error::new(code, text).into())),
        )?;
    }
}

fn tell(service: &OwnedFd, id: u64, reply: Reply) -> Result<()> {
    wire::transmit(service, &Numbered { id, body: reply }, SendFlags::empty())
}

/// Gets ready, says so, and guards. A guard that could not get ready ends: processes of it may be there already.
fn guard(wish: Wish, mut service: OwnedFd, id: u64) -> Result<()> {
    let hold = wish.hold;
    match wish.prepare(&mut service) {
        Ok(ready) => {
            tell(&service, id, Reply::Prepared { file_systems: ready.record.text.file_systems.clone() })?;
            ready.into_primary(service, hold).serve()
        }
        Err(error) => tell(&service, id, Reply::Failed(error.into())),
    }
}

/// What is to be guarded.
struct Wish {
    set: String,
    runtime: PathBuf,
    hold: Duration,
    mounts: Vec<PathBuf>,
    undos: Vec<Undo>,
}

/// All that a primary needs.
struct Ready {
    record: Record,
    file_systems: Vec<Opened>,
    hands: Vec<Hand>,
    twin: OwnedFd,
}

impl Wish {
    fn prepare(self, service: &mut OwnedFd) -> Result<Ready> {
        if self.hold.is_zero() {
            return Err(Error::new(ErrorCode::InvalidArgument, "a hold of no time at all"));
        }
        self.undos.iter().try_for_each(Undo::check)?;
        let file_systems = mounts::open_all(&self.mounts)?;
        let described: Vec<_> = file_systems.iter().map(|opened| opened.file_system.clone()).collect();
        Record::refuse_below(&self.runtime, &described)?;
        let text =
            Text { set: self.set, boot_id: record::boot_id()?, file_systems: described, undos: self.undos };
        let record = Record::create(&self.runtime, text)?;
        let processes = start_processes(&record, &file_systems, service);
        match processes {
            Ok((hands, twin)) => Ok(Ready { record, file_systems, hands, twin }),
            Err(source) => {
                record.remove();
                Err(Error::new(ErrorCode::GuardLost, "start the guard's processes").because(source))
            }
        }
    }
}

impl Ready {
    fn into_primary(self, service: OwnedFd, hold: Duration) -> Primary {
        Primary {
            service,
            record: self.record,
            file_systems: self.file_systems,
            hands: self.hands,
            twin: self.twin,
            twin_lives: true,
            hold,
            frozen_at: None,
            free_at: None,
            spoiled: None,
            released: false,
            work: None,
            thaws: Vec::new(),
            queue: VecDeque::new(),
            running: None,
            ending: None,
            window_is_over: false,
            notes: Vec::new(),
        }
    }
}

/// Locks memory, forks the hands and then the twin, and waits until all of them are ready.
fn start_processes(
    record: &Record,
    file_systems: &[Opened],
    service: &mut OwnedFd,
) -> io::Result<(Vec<Hand>, OwnedFd)> {
    let primary = pidfd_open(getpid(), PidfdFlags::empty())?;
    lock_memory()?;
    let mut hands = Vec::new();
    for (index, opened) in file_systems.iter().enumerate() {
        hands.push(start_hand(record, index, opened, &primary, service)?);
    }
    let twin = start_twin(record, file_systems, &hands, &primary, service)?;
    for hand in &hands {
        if !is_readable(&hand.socket) || hand.answer() != Some(Outcome::Done) {
            return Err(io::Error::other("a process of the guard is not ready"));
        }
    }
    Ok((hands, twin))
}

/// No page of ours is fetched, and none is found for us by writing others back, while anything is frozen. A child does
/// not inherit the locks.
fn lock_memory() -> io::Result<()> {
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?)
}

fn start_hand(
    record: &Record,
    index: usize,
    opened: &Opened,
    primary: &OwnedFd,
    service: &mut OwnedFd,
) -> io::Result<Hand> {
    let (ours, theirs) = Hand::pair()?;
    match fork_single_threaded()? {
        Fork::Parent(pid) => Hand::adopt(pid, ours),
        Fork::Child => {
            drop(ours);
            become_child(primary, service);
            let post = Post {
                board: &record.board,
                index,
                file_system: opened.fd.as_fd(),
                primary: primary.as_fd(),
                orders: theirs,
                froze: false.into(),
            };
            post.serve()
        }
    }
}

fn start_twin(
    record: &Record,
    file_systems: &[Opened],
    hands: &[Hand],
    primary: &OwnedFd,
    service: &mut OwnedFd,
) -> io::Result<OwnedFd> {
    let (ready, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    match fork_single_threaded()? {
        Fork::Parent(pid) => {
            drop(theirs);
            let mut byte = [0];
            if !is_readable(&ready) || rustix::io::read(&ready, &mut byte)? != 1 {
                return Err(io::Error::other("the guard's twin is not ready"));
            }
            Ok(pidfd_open(pid, PidfdFlags::empty())?)
        }
        Fork::Child => {
            drop(ready);
            become_child(primary, service);
            Twin { record, file_systems, hands, primary: primary.as_fd() }.serve(theirs)
        }
    }
}

/// The service must see its socket closed when the primary dies, so no child keeps it open: another descriptor that the
/// child has anyway takes its place.
fn become_child(primary: &OwnedFd, service: &mut OwnedFd) {
    let closed = rustix::io::dup3(primary, service, rustix::io::DupFlags::CLOEXEC);
    if closed.is_err() || lock_memory().is_err() {
        exit_now(1);
    }
}

fn is_readable(fd: &OwnedFd) -> bool {
    is_over(fd.as_fd(), READY)
}

/// Waits a moment for the children, so that they are not left to others. Who does not end is none of our concern then.
pub(super) fn reap(hands: &[Hand], twin: &OwnedFd) {
    let all = hands.iter().map(|hand| &hand.pidfd).chain([twin]);
    for pidfd in all {
        if is_over(pidfd.as_fd(), READY) {
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            );
        }
    }
}
