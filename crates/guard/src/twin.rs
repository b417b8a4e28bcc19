//! The twin: a second process that watches the primary. When the primary is gone it thaws and runs the undo programs in
//! its place; when the primary merely does not act, it does so a grace later.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use umbra_base::Instant;
use umbra_sys::{clock::boottime_nanos, process::exit_now};

use crate::{
    board::{Board, UndoState},
    hand::Hand,
    limits::{TICK, TWIN_GRACE, TWIN_UNDO_GRACE},
    mounts::Opened,
    record::Record,
    thaw::{self, Recall},
    undo,
};

/// What the twin lives on; all of it is inherited.
#[derive(Debug)]
pub(crate) struct Twin<'a> {
    pub record: &'a Record,
    pub file_systems: &'a [Opened],
    pub hands: &'a [Hand],
    pub primary: BorrowedFd<'a>,
}

impl Twin<'_> {
    /// The life of the twin.
    pub(crate) fn serve(&self, ready: OwnedFd) -> ! {
        let _ = rustix::io::write(&ready, b"R");
        drop(ready);
        loop {
            let gone = is_over(self.primary, TICK);
            if self.board().is_finished() {
                exit_now(0);
            }
            if gone {
                self.take_over();
                exit_now(0);
            }
            self.watch_deadlines();
        }
    }

    fn board(&self) -> &Board {
        &self.record.board
    }

    /// The primary is there; is it late?
    fn watch_deadlines(&self) {
        let now = Instant::from_nanos(boottime_nanos());
        if self.board().hold_until().is_some_and(|until| now >= until + TWIN_GRACE) {
            self.thaw_what_can_be();
        }
        if self.board().window_until().is_some_and(|until| now >= until + TWIN_UNDO_GRACE) {
            self.run_undos(|index| self.board().claim_undo(index));
        }
    }

    /// The primary is gone: everything of its is ours.
    fn take_over(&self) {
        while !self.board().all_free() {
            self.thaw_what_can_be();
            if !self.board().all_free() {
                std::thread::sleep(TICK);
            }
        }
        self.run_undos(|index| self.board().undo(index).is_owed());
        self.board().finish();
        self.record.remove();
    }

    fn thaw_what_can_be(&self) {
        for (index, opened) in self.file_systems.iter().enumerate() {
            // A thaw that fails leaves the file system frozen on the board; the next tick tries again.
            let _ = match thaw::recall(self.board(), index) {
                Recall::Free => Ok(()),
                Recall::Frozen => thaw::take(self.board(), index, &opened.fd),
                Recall::Inside if is_over(self.hands[index].pidfd.as_fd(), std::time::Duration::ZERO) => {
                    thaw::take_from_dead(self.board(), index, &opened.fd)
                }
                Recall::Inside => Ok(()),
            };
        }
    }

    fn run_undos(&self, claim: impl Fn(usize) -> bool) {
        for (index, command) in self.record.text.undos.iter().enumerate() {
            if claim(index) {
                self.board().set_undo(index, UndoState::Running);
                // Nobody is left to be told of a failure; it was tried more than once.
                let _ = undo::run_unattended(command);
                self.board().set_undo(index, UndoState::Done);
            }
        }
    }
}

/// Whether the process of `pidfd` has ended, waiting for it at most that long.
pub(crate) fn is_over(pidfd: BorrowedFd<'_>, within: std::time::Duration) -> bool {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let within = Timespec::try_from(within).ok();
    matches!(poll(&mut fds, within.as_ref()), Ok(ready) if ready > 0)
}
