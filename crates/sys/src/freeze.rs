//! Freeze and thaw of a file system (fs/super.c: `freeze_super`, `thaw_super`).

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// `_IOWR('X', 119, int)`.
const FIFREEZE: libc::c_ulong = 0xC004_5877;
/// `_IOWR('X', 120, int)`.
const FITHAW: libc::c_ulong = 0xC004_5878;

/// Freezes the file system that `fd` lies on: EBUSY if it is frozen already, EOPNOTSUPP if it cannot be. Waits for
/// running writes and for the log, uninterruptibly.
pub fn freeze(fd: impl AsFd) -> io::Result<()> {
    super_ioctl(fd, FIFREEZE)
}

/// Thaws the file system that `fd` lies on, whoever froze it: EINVAL if it is not frozen.
pub fn thaw(fd: impl AsFd) -> io::Result<()> {
    super_ioctl(fd, FITHAW)
}

fn super_ioctl(fd: impl AsFd, request: libc::c_ulong) -> io::Result<()> {
    // SAFETY: neither ioctl reads or writes its argument; the descriptor is open for the duration of the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
