//! One system call for an operation, done now: what the plain engine and its workers do.

use rustix::{
    io::{Errno, ReadWriteFlags, pread, preadv2, pwrite, pwritev2},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, accept_with, recv, send, sendmsg},
};
use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::OwnedFd,
};
use umbra_sys::{
    bufparts::{MAX_PARTS, Parts},
    uring::{Descriptor, Op},
};

/// What a system call brought.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Bytes moved, or nothing to tell.
    Bytes(u32),
    Accepted(OwnedFd),
}

/// Whether a call may block on a file. Sockets never do: they are set so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// EAGAIN, or EOPNOTSUPP from file systems that cannot tell, instead of blocking.
    None,
    Patient,
}

/// Does `op` as far as one call goes; its progress is not taken into account.
pub(crate) fn perform(op: &mut Op, patience: Patience) -> Result<Outcome, Errno> {
    match op {
        Op::Read { file, offset, buf, done } => {
            read(file, buf.spare_mut(), *offset + u64::from(*done), patience).map(bytes)
        }
        Op::Write { file, offset, parts, done } => {
            write_parts(file, parts, *offset, *done as usize, patience).map(bytes)
        }
        Op::Sync { file, data_only: true } => rustix::fs::fdatasync(&**file).map(|()| bytes(0)),
        Op::Sync { file, data_only: false } => rustix::fs::fsync(&**file).map(|()| bytes(0)),
        Op::Recv { socket, buf } => {
            recv(&**socket, buf.spare_mut(), RecvFlags::empty()).map(|(received, _)| bytes(received))
        }
        Op::Send { socket, parts, done } => send_parts(socket, parts, *done),
        Op::Accept { socket } => accept_with(&**socket, SocketFlags::CLOEXEC).map(Outcome::Accepted),
        Op::Wake { event, buf } => rustix::io::read(&**event, buf.spare_mut()).map(|_| bytes(0)),
    }
}

fn bytes(count: usize) -> Outcome {
    Outcome::Bytes(count as u32) // At most MAX_PARTS times the largest buffer.
}

/// Reads from byte `offset` on; returns how much. The plain calls for one slice: the others make the kernel copy a list first.
pub(crate) fn read(
    file: &Descriptor,
    into: &mut [u8],
    offset: u64,
    patience: Patience,
) -> Result<usize, Errno> {
    match patience {
        Patience::None => preadv2(file, &mut [IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT),
        Patience::Patient => pread(file, into, offset),
    }
}

/// Writes to byte `offset` and on; returns how much.
pub(crate) fn write(
    file: &Descriptor,
    slices: &[IoSlice<'_>],
    offset: u64,
    patience: Patience,
) -> Result<usize, Errno> {
    match (patience, slices) {
        (Patience::Patient, [one]) => pwrite(file, one, offset),
        (Patience::Patient, more) => pwritev2(file, more, offset, ReadWriteFlags::empty()),
        (Patience::None, slices) => pwritev2(file, slices, offset, ReadWriteFlags::NOWAIT),
    }
}

/// The same with the bytes of `parts` behind the first `done`, for which `offset` was meant.
pub(crate) fn write_parts(
    file: &Descriptor,
    parts: &Parts,
    offset: u64,
    done: usize,
    patience: Patience,
) -> Result<usize, Errno> {
    gathered(parts, done, |slices| write(file, slices, offset + done as u64, patience))
}

fn send_parts(socket: &Descriptor, parts: &Parts, done: u32) -> Result<Outcome, Errno> {
    gathered(parts, done as usize, |slices| match slices {
        [one] => send(socket, one, SendFlags::NOSIGNAL),
        more => sendmsg(socket, more, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL),
    })
    .map(bytes)
}

/// Calls `act` with the slices of `parts` behind the first `done` bytes. A single one is not worth clearing a list for.
fn gathered<T>(parts: &Parts, done: usize, act: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
    let mut left = parts.slices_from(done);
    let first = IoSlice::new(left.next().unwrap_or(&[]));
    let Some(second) = left.next() else { return act(&[first]) };
    let mut slices = [IoSlice::new(&[]); MAX_PARTS];
    (slices[0], slices[1]) = (first, IoSlice::new(second));
    let mut count = 2;
    for slice in left {
        slices[count] = IoSlice::new(slice);
        count += 1;
    }
    act(&slices[..count])
}
