//! Taking back a freeze, by whichever process of the guard gets to it.

use rustix::io::Errno;
use std::{io, os::fd::AsFd};
use umbra_sys::freeze;

use crate::board::{Board, Fs};

/// Who has to act so that a file system gets free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recall {
    /// Nobody: it is free.
    Free,
    /// Whoever takes it ([`take`]).
    Frozen,
    /// Somebody who is inside a system call about it, and thaws it when that returns.
    Inside,
}

/// Says on the board that file system `index` is to be thawed, and finds who does it.
pub(crate) fn recall(board: &Board, index: usize) -> Recall {
    loop {
        match board.fs(index) {
            Fs::Idle | Fs::Thawed | Fs::Refused => return Recall::Free,
            Fs::Frozen => return Recall::Frozen,
            Fs::Recalled | Fs::Thawing => return Recall::Inside,
            inside @ (Fs::Freezing | Fs::Probing) => {
                if board.move_fs(index, inside, Fs::Recalled) {
                    return Recall::Inside;
                }
            }
        }
    }
}

/// Thaws file system `index` if it is frozen and nobody else thaws it.
pub(crate) fn take(board: &Board, index: usize, fd: impl AsFd) -> io::Result<()> {
    if !board.move_fs(index, Fs::Frozen, Fs::Thawing) {
        return Ok(());
    }
    match thaw_or_is_thawed(fd) {
        Ok(()) => {
            board.thawed(index);
            Ok(())
        }
        Err(error) => {
            // Frozen still; whoever looks next tries again.
            board.move_fs(index, Fs::Thawing, Fs::Frozen);
            Err(error)
        }
    }
}

/// Thaws file system `index` whose hand has died, whatever it was in the middle of. A hand that died inside its first
/// FIFREEZE left no word on whether it succeeded: then the thaw may meet a foreign freeze, which is the lesser evil
/// than a file system that stays frozen for ever.
pub(crate) fn take_from_dead(board: &Board, index: usize, fd: impl AsFd) -> io::Result<()> {
    if board.fs(index).is_free() {
        return Ok(());
    }
    thaw_or_is_thawed(fd)?;
    board.thawed(index);
    Ok(())
}

/// FITHAW; a file system that is not frozen is what we want.
pub(crate) fn thaw_or_is_thawed(fd: impl AsFd) -> io::Result<()> {
    match freeze::thaw(fd) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        other => other,
    }
}
