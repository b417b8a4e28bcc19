//! File operations done at once on the shard's own thread, where handing them over would cost more than they do.
//!
//! A write into the page cache is a copy of a microsecond or two, yet most file systems cannot promise that it will not
//! block, and then io_uring gives it to a kernel thread and the plain engine to a worker: measured (examples/spike), that
//! takes longer than the write. So a small write to a cached file is done here, as are all operations on files in
//! memory, and for the plain engine reads that the page cache can answer. What always holds: a file opened for direct
//! I/O never blocks the shard, nor does a read; a file whose writes were found to block (the cache is full of what is
//! not yet on the disk) is left to the engine for a while.

use crate::{
    Backend,
    syscalls::{Outcome, Patience, perform},
    verdict::{Verdict, verdict},
};
use rustix::{
    fs::{FileType, FsWord, OFlags, fcntl_getfl, fstat, fstatfs},
    io::Errno,
    time::{ClockId, clock_gettime},
};
use std::{cell::Cell, io, os::fd::OwnedFd};
use umbra_sys::uring::Op;

/// Bytes of the longest write that is done at once: a block of a pool. Longer ones are worth a hand-over, since they
/// keep another core as busy as they would keep this one.
const LONGEST: usize = 64 << 10;

/// A write that takes longer has waited for a disk. In milliseconds, of a clock that ticks every few.
const SLOW: i64 = 10;

/// Writes that the engine carries after a slow one, before another is done at once.
const PAUSE: u32 = 256;

/// `f_type` of tmpfs, memfd included (linux/magic.h).
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// Whether an operation is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// No: the engine carries it.
    Engine,
    /// If the kernel can do it without blocking.
    Try,
    /// Yes.
    Now,
}

/// How a file's operations are done.
#[derive(Debug)]
pub(crate) struct Inline {
    reads: Cell<Way>,
    writes: Cell<Way>,
    /// Writes that are still left to the engine, because one was slow.
    paused: Cell<u32>,
}

impl Inline {
    /// What is right for this file under this engine.
    pub fn of(fd: &OwnedFd, backend: Backend) -> Inline {
        let (reads, writes) = ways(fd, backend).unwrap_or((Way::Engine, Way::Engine));
        Inline { reads: Cell::new(reads), writes: Cell::new(writes), paused: Cell::new(0) }
    }

    /// Does a read, and says how it ended; given back if it is the engine's.
    pub fn read(&self, op: Op) -> Result<(Op, io::Result<u32>), Op> {
        match self.reads.get() {
            Way::Engine => Err(op),
            // A file system that cannot tell might ask a disk or a network.
            Way::Try => run(op, Patience::None, || {
                self.reads.set(Way::Engine);
                None
            }),
            Way::Now => run(op, Patience::Patient, || None),
        }
    }

    /// The same for a write of `len` bytes.
    pub fn write(&self, op: Op, len: usize) -> Result<(Op, io::Result<u32>), Op> {
        let way = self.writes.get();
        if way == Way::Engine || len > LONGEST {
            return Err(op);
        }
        if let Some(left) = self.paused.get().checked_sub(1) {
            self.paused.set(left);
            return Err(op);
        }
        let begun = milliseconds();
        let patience = if way == Way::Now { Patience::Patient } else { Patience::None };
        let result = run(op, patience, || {
            self.writes.set(Way::Now);
            Some(Patience::Patient)
        });
        if milliseconds() - begun > SLOW {
            self.paused.set(PAUSE);
        }
        result
    }
}

fn ways(fd: &OwnedFd, backend: Backend) -> io::Result<(Way, Way)> {
    let kind = FileType::from_raw_mode(fstat(fd)?.st_mode);
    let is_direct = fcntl_getfl(fd)?.contains(OFlags::DIRECT);
    if is_direct || !matches!(kind, FileType::RegularFile | FileType::BlockDevice) {
        return Ok((Way::Engine, Way::Engine));
    }
    if kind == FileType::RegularFile && fstatfs(fd)?.f_type == TMPFS_MAGIC {
        return Ok((Way::Now, Way::Now));
    }
    // io_uring tries reads itself, many in one system call.
    let reads = if backend == Backend::Plain { Way::Try } else { Way::Engine };
    Ok((reads, Way::Try))
}

/// Does `op` to its end, unless it would block and `patience` says not to. `cannot_tell` is asked what to do when the
/// file system knows no such wish: give the operation back, or have the patience that it returns.
fn run(
    mut op: Op,
    mut patience: Patience,
    cannot_tell: impl Fn() -> Option<Patience>,
) -> Result<(Op, io::Result<u32>), Op> {
    loop {
        let result = match perform(&mut op, patience) {
            Ok(Outcome::Bytes(bytes)) => {
                op.progress(bytes);
                Ok(bytes)
            }
            Err(Errno::AGAIN) if patience == Patience::None => return Err(op),
            Err(Errno::OPNOTSUPP) if patience == Patience::None => match cannot_tell() {
                Some(other) => {
                    patience = other;
                    continue;
                }
                None => return Err(op),
            },
            Ok(Outcome::Accepted(_)) => Err(Errno::INVAL.into()), // No file accepts.
            Err(errno) => Err(errno.into()),
        };
        if let Verdict::End(result) = verdict(&op, result) {
            return Ok((op, result));
        }
    }
}

/// A clock that costs a few nanoseconds and ticks every few milliseconds.
fn milliseconds() -> i64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}
