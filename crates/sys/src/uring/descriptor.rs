//! Descriptors that operations share, and the ring's table of registered files.
//!
//! What always holds: a descriptor stays open until the last operation that uses it is gone, whoever else dropped it.
//! A registered file spares the kernel counting its users for each operation; its place in the table is free again
//! only after the ring has emptied it.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// An open descriptor, registered with one ring or with none.
#[derive(Debug)]
pub struct Descriptor {
    fd: OwnedFd,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    index: u32,
    table: Arc<Table>,
}

/// Which places of a ring's table are free, and which hold files that nobody uses any more.
#[derive(Debug)]
pub(super) struct Table {
    free: Mutex<Vec<u32>>,
    abandoned: Mutex<Vec<u32>>,
    any_abandoned: AtomicBool,
}

impl Descriptor {
    /// A descriptor that is registered nowhere; any ring can use it.
    pub fn new(fd: OwnedFd) -> Descriptor {
        Descriptor { fd, place: None }
    }

    pub(super) fn registered(fd: OwnedFd, index: u32, table: Arc<Table>) -> Descriptor {
        Descriptor { fd, place: Some(Place { index, table }) }
    }

    /// Its place in `table`, if it is registered there.
    pub(super) fn index_in(&self, table: &Arc<Table>) -> Option<u32> {
        self.place.as_ref().filter(|place| Arc::ptr_eq(&place.table, table)).map(|place| place.index)
    }

    /// The descriptor itself; its place in the table is given up.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
        self.table.any_abandoned.store(true, Ordering::Release);
    }
}

impl Table {
    pub(super) fn new(places: u32) -> Table {
        Table {
            free: Mutex::new((0..places).rev().collect()),
            abandoned: Mutex::new(Vec::new()),
            any_abandoned: AtomicBool::new(false),
        }
    }

    pub(super) fn take(&self) -> Option<u32> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(super) fn give_back(&self, index: u32) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(index);
    }

    /// The places whose files must be taken out, once.
    pub(super) fn take_abandoned(&self) -> Vec<u32> {
        if !self.any_abandoned.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
