//! What a process must be that serves a block device: it never waits for memory that only its own device could free,
//! and never for a page of its own that has to be read back.

use rustix::mm::{MlockAllFlags, mlockall};
use std::io;

/// Locks what is mapped now, and what will be as soon as it is touched.
pub fn lock_memory() -> io::Result<()> {
    mlockall(MlockAllFlags::CURRENT)?;
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?;
    Ok(())
}

/// Tells the kernel that this process is in the writeback path (`PR_SET_IO_FLUSHER`; needs CAP_SYS_RESOURCE).
pub fn mark_io_flusher() -> io::Result<()> {
    rustix::process::configure_io_flusher_behavior(true)?;
    Ok(())
}
