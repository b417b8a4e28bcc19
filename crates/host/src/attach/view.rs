//! The LUN as files: `disk`, and a window `pN` for each partition, so that tools can work on a file system before the
//! kernel sees the disk (I1).
//!
//! Every file is opened for direct I/O: nothing of the LUN is cached here, an acknowledged write is an acknowledged write of
//! the array, and `fsync` is SYNCHRONIZE CACHE. Requests are handed to the driver and answered by it, so any number are
//! under way at once.

use super::{
    driver::{Handle, Waiter},
    engine::Request,
};
use crate::partitions::Partition;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, TimeOrNow, WriteFlags,
};
use std::{
    ffi::OsStr,
    io,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

const ROOT: u64 = 1;
const DISK: u64 = 2;
/// Inode of partition N's window is this plus N.
const WINDOWS: u64 = 16;
/// Sizes change: the kernel asks each time.
const TTL: Duration = Duration::ZERO;
const REQUESTS_IN_BACKGROUND: u16 = 64;

/// A part of the LUN that is shown as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    ino: u64,
    name: String,
    start: u64,
    len: u64,
}

/// The files that there are now.
#[derive(Debug, Default)]
pub(super) struct Windows {
    list: RwLock<Vec<Window>>,
}

impl Windows {
    /// Shows a disk of `size` bytes with these partitions.
    pub(super) fn set(&self, size: u64, partitions: &[Partition]) {
        let disk = Window { ino: DISK, name: "disk".to_owned(), start: 0, len: size };
        let parts = partitions.iter().map(|part| Window {
            ino: WINDOWS + u64::from(part.number),
            name: format!("p{}", part.number),
            start: part.start,
            len: part.len,
        });
        *self.list.write().unwrap_or_else(PoisonError::into_inner) =
            std::iter::once(disk).chain(parts).collect();
    }

    fn find(&self, wanted: impl Fn(&Window) -> bool) -> Option<Window> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.iter().find(|window| wanted(window)).cloned()
    }

    fn by_ino(&self, ino: INodeNo) -> Result<Window, Errno> {
        self.find(|window| window.ino == ino.0).ok_or(if ino.0 == ROOT {
            Errno::EISDIR
        } else {
            Errno::ENOENT
        })
    }

    fn names(&self) -> Vec<(u64, String)> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.iter().map(|window| (window.ino, window.name.clone())).collect()
    }
}

/// The file system.
#[derive(Debug)]
pub(super) struct View {
    pub(super) handle: Handle,
    pub(super) windows: Arc<Windows>,
    pub(super) transfer_bytes: u32,
}

impl View {
    fn attr(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        let (kind, perm, size) = match ino.0 {
            ROOT => (FileType::Directory, 0o700, 0),
            _ => (FileType::RegularFile, 0o600, self.windows.by_ino(ino)?.len),
        };
        let time = SystemTime::UNIX_EPOCH;
        Ok(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// `len` bytes at `offset` of a file, as an offset on the LUN and a length within the file.
    fn place(&self, ino: INodeNo, offset: u64, len: u64) -> Result<(u64, u64), Errno> {
        let window = self.windows.by_ino(ino)?;
        let left = window.len.saturating_sub(offset);
        Ok((window.start.saturating_add(offset), len.min(left)))
    }

    fn place_whole(&self, ino: INodeNo, offset: u64, len: u64) -> Result<u64, Errno> {
        match self.place(ino, offset, len)? {
            (start, within) if within == len => Ok(start),
            _ => Err(Errno::EFBIG),
        }
    }
}

impl Filesystem for View {
    fn init(&mut self, _req: &fuser::Request, config: &mut KernelConfig) -> io::Result<()> {
        // Kernels without one of these are slower, not wrong.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        let _ = config.set_max_write(self.transfer_bytes);
        let _ = config.set_max_background(REQUESTS_IN_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _req: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let window = self.windows.find(|window| parent.0 == ROOT && name == window.name.as_str());
        match window.ok_or(Errno::ENOENT).and_then(|window| self.attr(INodeNo(window.ino))) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _req: &fuser::Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _req: &fuser::Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // A disk has the size that it has; times are not kept.
        match self.attr(ino) {
            Ok(attr) if mode.or(uid).or(gid).is_none() && size.is_none_or(|size| size == attr.size) => {
                reply.attr(&TTL, &attr);
            }
            Ok(_) => reply.error(Errno::EPERM),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _req: &fuser::Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.windows.by_ino(ino) {
            Ok(_) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
                reply.opened(FileHandle(0), flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _req: &fuser::Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.place(ino, offset, u64::from(size)) {
            Ok((_, 0)) => reply.data(&[]),
            Ok((offset, len)) => {
                self.handle.request(Request::Read { offset, len: len as u32 }, Waiter::Read(reply));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _req: &fuser::Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.place_whole(ino, offset, data.len() as u64) {
            Ok(offset) => {
                let waiter = Waiter::Write(reply, data.len() as u32);
                self.handle.request(Request::Write { offset, data: data.into() }, waiter);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(
        &self,
        _req: &fuser::Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Called at close(2), which promises nothing.
        reply.ok();
    }

    fn fsync(
        &self,
        _req: &fuser::Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.handle.request(Request::Flush, Waiter::Empty(reply));
    }

    fn fallocate(
        &self,
        _req: &fuser::Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const KEEP_SIZE: i32 = 0x01;
        const PUNCH_HOLE: i32 = 0x02;
        const ZERO_RANGE: i32 = 0x10;
        // Both read as zeroes afterwards. Neither promises space on a thin LUN, so both may give it back: a tool that
        // clears a log must not fill the pool with zeroes.
        if !matches!(mode & !KEEP_SIZE, PUNCH_HOLE | ZERO_RANGE) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        match self.place_whole(ino, offset, length) {
            Ok(offset) => {
                self.handle.request(Request::Zero { offset, len: length, unmap: true }, Waiter::Empty(reply));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _req: &fuser::Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if ino.0 != ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let dots =
            [(ROOT, FileType::Directory, ".".to_owned()), (ROOT, FileType::Directory, "..".to_owned())];
        let files = self.windows.names().into_iter().map(|(ino, name)| (ino, FileType::RegularFile, name));
        for (index, (ino, kind, name)) in dots.into_iter().chain(files).enumerate().skip(offset as usize) {
            if reply.add(INodeNo(ino), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
