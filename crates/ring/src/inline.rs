//! File operations done at once on the shard's own thread, where handing them over would cost more than they do.
//!
//! A write into the page cache is a copy of a microsecond or two, yet most file systems cannot promise that it will not
//! block, and then io_uring gives it to a kernel thread and the plain engine to a worker: measured (examples/spike), that
//! takes longer than the write. So a small write to a cached file is done here, as are all operations on files in
//! memory, and for the plain engine reads that the page cache can answer. What always holds: a file opened for direct
//! I/O never blocks the shard, nor does a read; a file whose writes were found to block (the cache is full of what is
//! not yet on the disk) is left to the engine for a while. What cannot be done to its end here, for whatever reason, the engine
//! goes on with, which says what is wrong; a write it does again as a whole.

use crate::{
    Backend, Buf,
    syscalls::{Patience, read},
};
use rustix::{
    fs::{FileType, FsWord, OFlags, fcntl_getfl, fstat, fstatfs},
    io::Errno,
    time::{ClockId, clock_gettime},
};
use std::{cell::Cell, io, os::fd::OwnedFd};
use umbra_sys::uring::Descriptor;

/// Bytes of the longest write that is done at once: a block of a pool. Longer ones are worth a hand-over, since they
/// keep another core as busy as they would keep this one.
const LONGEST: usize = 64 << 10;

/// A write that takes longer has waited for a disk. In milliseconds, of a clock that ticks every few.
const SLOW: i64 = 10;

/// Writes that the engine carries after a slow one, before another is done at once.
const PAUSE: u32 = 256;

/// Offsets end here: the kernel's are signed.
const LAST_OFFSET: u64 = i64::MAX as u64;

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

    /// Fills `buf` from byte `offset` on. False: the rest of it is the engine's to do.
    pub fn read(&self, file: &Descriptor, offset: u64, buf: &mut Buf) -> bool {
        let patience = match self.reads.get() {
            Way::Engine => return false,
            Way::Try => Patience::None,
            Way::Now => Patience::Patient,
        };
        if !is_in_a_file(offset, buf.spare()) {
            return false;
        }
        let before = buf.len();
        while buf.spare() > 0 {
            let at = offset + (buf.len() - before) as u64;
            match read(file, buf.spare_mut(), at, patience) {
                Ok(bytes) if bytes > 0 => buf.advance(bytes),
                // A file system that cannot tell might ask a disk or a network.
                Err(Errno::OPNOTSUPP) => {
                    self.reads.set(Way::Engine);
                    return false;
                }
                _ => return false,
            }
        }
        true
    }

    /// Has `write` write `len` bytes at `offset`, each time those behind the first so many; it returns how many it wrote.
    /// False: it is the engine's to do.
    pub fn write(
        &self,
        offset: u64,
        len: usize,
        write: impl FnMut(usize, Patience) -> Result<usize, Errno>,
    ) -> bool {
        if self.writes.get() == Way::Engine || len > LONGEST || !is_in_a_file(offset, len) {
            return false;
        }
        if let Some(left) = self.paused.get().checked_sub(1) {
            self.paused.set(left);
            return false;
        }
        let begun = milliseconds();
        let whole = self.write_all(len, write);
        if milliseconds() - begun > SLOW {
            self.paused.set(PAUSE);
        }
        whole
    }

    fn write_all(&self, len: usize, mut write: impl FnMut(usize, Patience) -> Result<usize, Errno>) -> bool {
        let mut done = 0;
        while done < len {
            let patience = if self.writes.get() == Way::Now { Patience::Patient } else { Patience::None };
            match write(done, patience) {
                Ok(bytes) if bytes > 0 => done += bytes,
                // A file system that cannot tell: into the page cache it goes.
                Err(Errno::OPNOTSUPP) if patience == Patience::None => self.writes.set(Way::Now),
                _ => return false,
            }
        }
        true
    }
}

/// Whether a file could have these bytes. The kernel takes the last offsets for others: -1 is where the file's cursor stands.
pub(crate) fn is_in_a_file(offset: u64, len: usize) -> bool {
    offset.checked_add(len as u64).is_some_and(|end| end <= LAST_OFFSET)
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

/// A clock that costs a few nanoseconds and ticks every few milliseconds.
fn milliseconds() -> i64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}
