//! A hand: the process that makes the system calls on one file system, because each of them may stall for as long as
//! storage does. It does what the primary says, and thaws by itself when the primary is gone or the hold has run out.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use umbra_base::Instant;
use umbra_sys::{clock::boottime_nanos, freeze, process::exit_now};

use crate::{
    board::{Board, Fs},
    limits::{HAND_GRACE, TICK},
    thaw,
};

/// What a hand is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    Sync = b'S',
    Freeze = b'F',
    Probe = b'P',
    Thaw = b'T',
    Quit = b'Q',
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The system call failed.
    Failed(Errno),
    /// It was to be thawed meanwhile, and is.
    Recalled,
    /// A probe found it thawed by somebody else.
    Stolen,
}

impl Outcome {
    fn encode(self) -> [u8; 5] {
        let (kind, number) = match self {
            Outcome::Done => (0, 0),
            Outcome::Failed(error) => (1, error.raw_os_error()),
            Outcome::Recalled => (2, 0),
            Outcome::Stolen => (3, 0),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [kind, a, b, c, d]
    }

    fn decode(bytes: [u8; 5]) -> Outcome {
        let [kind, number @ ..] = bytes;
        match kind {
            0 => Outcome::Done,
            2 => Outcome::Recalled,
            3 => Outcome::Stolen,
            _ => Outcome::Failed(Errno::from_raw_os_error(i32::from_le_bytes(number))),
        }
    }

    fn of(result: io::Result<()>) -> Outcome {
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(errno_of(&error)),
        }
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()))
}

/// The primary's end of a hand.
#[derive(Debug)]
pub(crate) struct Hand {
    pub pidfd: OwnedFd,
    pub socket: OwnedFd,
    pub alive: bool,
}

impl Hand {
    pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
    }

    pub(crate) fn adopt(pid: Pid, socket: OwnedFd) -> io::Result<Hand> {
        Ok(Hand { pidfd: pidfd_open(pid, PidfdFlags::empty())?, socket, alive: true })
    }

    /// Tells it; a hand that cannot be told is as good as dead, which its pidfd will say.
    pub(crate) fn order(&self, order: Order) {
        let _ = send(&self.socket, &[order as u8], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    /// Its next answer, if there is one.
    pub(crate) fn answer(&self) -> Option<Outcome> {
        let mut bytes = [0; 5];
        match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((5, _)) => Some(Outcome::decode(bytes)),
            _ => None,
        }
    }
}

/// What a hand lives on.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    pub board: &'a Board,
    pub index: usize,
    pub file_system: BorrowedFd<'a>,
    pub primary: BorrowedFd<'a>,
    pub orders: OwnedFd,
    /// Whether FIFREEZE of ours succeeded: what the board alone cannot tell about an order that was never begun.
    pub froze: Cell<bool>,
}

impl Post<'_> {
    /// The life of a hand.
    pub(crate) fn serve(&self) -> ! {
        self.answer(Outcome::Done); // Ready.
        loop {
            if self.step().is_none() {
                exit_now(0);
            }
        }
    }

    /// Waits for an order or a reason to act alone; `None` ends it.
    fn step(&self) -> Option<()> {
        let frozen = self.board.fs(self.index) == Fs::Frozen;
        let tick = Timespec::try_from(TICK).ok().filter(|_| frozen);
        let mut fds = [PollFd::new(&self.orders, PollFlags::IN), PollFd::new(&self.primary, PollFlags::IN)];
        let _ = poll(&mut fds, tick.as_ref()); // EINTR is an early tick.
        let (ordered, orphaned) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if orphaned {
            return self.leave();
        }
        if self.hold_is_over() {
            // An error leaves it frozen on the board: the twin tries on, and so does the next tick.
            let _ = thaw::take(self.board, self.index, self.file_system);
        }
        if ordered { self.obey() } else { Some(()) }
    }

    /// The primary is gone. No system call of ours is under way, so whatever the board says we know better.
    fn leave(&self) -> Option<()> {
        if self.froze.get() && !self.board.fs(self.index).is_free() {
            if thaw::thaw_or_is_thawed(self.file_system).is_err() {
                std::thread::sleep(TICK);
                return Some(());
            }
            self.board.thawed(self.index);
        }
        if matches!(self.board.fs(self.index), Fs::Freezing | Fs::Recalled) {
            self.board.thawed(self.index); // Ordered, but never begun.
        }
        None
    }

    fn hold_is_over(&self) -> bool {
        let now = Instant::from_nanos(boottime_nanos());
        self.board.hold_until().is_some_and(|until| now >= until + HAND_GRACE)
    }

    fn obey(&self) -> Option<()> {
        let mut order = [0];
        match recv(&self.orders, &mut order, RecvFlags::DONTWAIT) {
            Ok((1, _)) => {}
            _ => return Some(()),
        }
        match order[0] {
            b'S' => self.answer(Outcome::of(rustix::fs::syncfs(self.file_system).map_err(io::Error::from))),
            b'F' => self.answer(self.freeze()),
            b'P' => self.answer(self.probe()),
            b'T' => self.answer(Outcome::of(thaw::take(self.board, self.index, self.file_system))),
            b'Q' => return None,
            _ => {}
        }
        Some(())
    }

    /// FIFREEZE; the primary has moved the board to `Freezing`.
    fn freeze(&self) -> Outcome {
        if self.board.fs(self.index) != Fs::Freezing {
            self.board.thawed(self.index); // Recalled before it was begun.
            return Outcome::Recalled;
        }
        let result = freeze::freeze(self.file_system);
        self.froze.set(result.is_ok());
        match result {
            Ok(()) if self.board.move_fs(self.index, Fs::Freezing, Fs::Frozen) => Outcome::Done,
            Ok(()) => self.give_back(),
            Err(error) => {
                let refused = |from| self.board.move_fs(self.index, from, Fs::Refused);
                let _ = refused(Fs::Freezing) || refused(Fs::Recalled);
                Outcome::Failed(errno_of(&error))
            }
        }
    }

    /// FIFREEZE again, which must fail; the primary has moved the board to `Probing`.
    fn probe(&self) -> Outcome {
        match freeze::freeze(self.file_system) {
            Ok(()) => {
                // Somebody had thawed it, and now our probe froze it anew.
                self.give_back();
                Outcome::Stolen
            }
            Err(error) => {
                let outcome = match errno_of(&error) {
                    Errno::BUSY => Outcome::Done,
                    other => Outcome::Failed(other),
                };
                let frozen = self.board.move_fs(self.index, Fs::Probing, Fs::Frozen);
                if frozen { outcome } else { self.give_back() }
            }
        }
    }

    /// Thaws what must not stay frozen, and says so. An error leaves the board at `Frozen`, to be tried again.
    fn give_back(&self) -> Outcome {
        match thaw::thaw_or_is_thawed(self.file_system) {
            Ok(()) => self.board.thawed(self.index),
            Err(_) => {
                let frozen = |from| self.board.move_fs(self.index, from, Fs::Frozen);
                let _ = frozen(Fs::Recalled) || frozen(Fs::Probing);
            }
        }
        Outcome::Recalled
    }

    fn answer(&self, outcome: Outcome) {
        let _ = send(self.orders.as_fd(), &outcome.encode(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}
