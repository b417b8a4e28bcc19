//! Files and sockets as a shard knows them.
//!
//! What always holds: a handle belongs to the shard that made it. It is cheap to clone, and its descriptor is closed
//! when the last clone is dropped and the last operation on it has completed.

use crate::inline::Inline;
use rustix::net::{Shutdown, shutdown};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    sync::Arc,
};
use umbra_sys::uring::Descriptor;

/// A file or block device, open for I/O at offsets.
#[derive(Debug, Clone)]
pub struct File {
    pub(crate) descriptor: Arc<Descriptor>,
    pub(crate) inline: Rc<Inline>,
}

/// A connected or listening stream socket.
#[derive(Debug, Clone)]
pub struct Socket(pub(crate) Arc<Descriptor>);

impl Socket {
    /// Ends both directions at once: what is being received ends as if the peer had closed, what is being sent fails.
    /// A peer that is gone already is no error.
    pub fn shutdown(&self) -> io::Result<()> {
        match shutdown(&*self.0, Shutdown::Both) {
            Err(rustix::io::Errno::NOTCONN) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Bytes that were sent and that the peer has not acknowledged.
    pub fn unacknowledged(&self) -> io::Result<u64> {
        umbra_sys::sockets::unacknowledged(self)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
