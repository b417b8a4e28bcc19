//! The place of one operation in a ring: the operation, and what the kernel is told about it.

use super::{Op, descriptor::Table};
use io_uring::{opcode, squeue, types};
use std::{
    os::fd::{AsFd, AsRawFd},
    sync::Arc,
};

/// An operation that the kernel may be working on. It does not move while it does: slots live in one boxed slice.
pub(super) struct Slot {
    /// None while the slot is free.
    pub op: Option<Op>,
    /// What the operation's owner calls it.
    pub user: u64,
    /// Whether its owner asked for its early end.
    pub cancelled: bool,
    /// Gather list of the operation; keeps its memory from one use to the next.
    vectors: Vec<libc::iovec>,
    message: libc::msghdr,
}

impl Slot {
    pub fn free() -> Slot {
        // SAFETY: a msghdr is plain data for which all zeroes is valid: no name, no vectors, no control data.
        let message = unsafe { std::mem::zeroed() };
        Slot { op: None, user: 0, cancelled: false, vectors: Vec::new(), message }
    }

    /// Whether it is taken by an operation called `user` that can be cancelled: a ring's own wake-up is nobody's.
    pub fn is_called(&self, user: u64) -> bool {
        self.user == user && self.op.as_ref().is_some_and(|op| !matches!(op, Op::Wake { .. }))
    }

    /// The entry that asks the kernel for `op`, which becomes this slot's. Every pointer in it points into memory that
    /// `op` or this slot owns.
    pub fn fill(&mut self, op: Op, user: u64, table: &Arc<Table>, multishot: bool) -> squeue::Entry {
        (self.user, self.cancelled) = (user, false);
        let op = self.op.insert(op);
        match op.descriptor().index_in(table) {
            Some(index) => entry(op, &mut self.vectors, &mut self.message, types::Fixed(index), multishot),
            None => {
                let fd = types::Fd(op.descriptor().as_fd().as_raw_fd());
                entry(op, &mut self.vectors, &mut self.message, fd, multishot)
            }
        }
    }
}

fn entry(
    op: &mut Op,
    vectors: &mut Vec<libc::iovec>,
    message: &mut libc::msghdr,
    target: impl Target,
    multishot: bool,
) -> squeue::Entry {
    match op {
        Op::Read { offset, buf, done, .. } => {
            let (pointer, len) = buf.spare_raw();
            target.read(pointer, len as u32, *offset + u64::from(*done))
        }
        Op::Wake { buf, .. } => {
            let (pointer, len) = buf.spare_raw();
            target.read(pointer, len as u32, 0)
        }
        Op::Write { offset, parts, done, .. } => {
            gather(vectors, parts.slices_from(*done as usize));
            target.write(vectors, *offset + u64::from(*done))
        }
        Op::Sync { data_only, .. } => target.sync(*data_only),
        Op::Recv { buf, .. } => {
            let (pointer, len) = buf.spare_raw();
            target.recv(pointer, len as u32)
        }
        Op::Send { parts, done, .. } => {
            gather(vectors, parts.slices_from(*done as usize));
            message.msg_iov = vectors.as_mut_ptr();
            message.msg_iovlen = vectors.len() as _;
            target.send(vectors, message)
        }
        Op::Accept { .. } => target.accept(multishot),
    }
}

fn gather<'a>(vectors: &mut Vec<libc::iovec>, slices: impl Iterator<Item = &'a [u8]>) {
    vectors.clear();
    vectors.extend(
        slices.map(|slice| libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() }),
    );
}

/// What an entry works on: a descriptor, or a place in the table of registered files.
trait Target: Sized {
    fn read(self, pointer: *mut u8, len: u32, offset: u64) -> squeue::Entry;
    fn write(self, vectors: &[libc::iovec], offset: u64) -> squeue::Entry;
    fn sync(self, data_only: bool) -> squeue::Entry;
    fn recv(self, pointer: *mut u8, len: u32) -> squeue::Entry;
    fn send(self, vectors: &[libc::iovec], message: &libc::msghdr) -> squeue::Entry;
    fn accept(self, multishot: bool) -> squeue::Entry;
}

/// The same lines for both types; the crate's own trait for them is sealed.
macro_rules! target {
    ($type:ty) => {
        impl Target for $type {
            fn read(self, pointer: *mut u8, len: u32, offset: u64) -> squeue::Entry {
                opcode::Read::new(self, pointer, len).offset(offset).build()
            }

            fn write(self, vectors: &[libc::iovec], offset: u64) -> squeue::Entry {
                match vectors {
                    [one] => opcode::Write::new(self, one.iov_base.cast(), one.iov_len as u32)
                        .offset(offset)
                        .build(),
                    more => {
                        opcode::Writev::new(self, more.as_ptr(), more.len() as u32).offset(offset).build()
                    }
                }
            }

            fn sync(self, data_only: bool) -> squeue::Entry {
                let flags = if data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
                opcode::Fsync::new(self).flags(flags).build()
            }

            fn recv(self, pointer: *mut u8, len: u32) -> squeue::Entry {
                opcode::Recv::new(self, pointer, len).build()
            }

            fn send(self, vectors: &[libc::iovec], message: &libc::msghdr) -> squeue::Entry {
                let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
                match vectors {
                    [one] => {
                        opcode::Send::new(self, one.iov_base.cast(), one.iov_len as u32).flags(flags).build()
                    }
                    _ => opcode::SendMsg::new(self, message).flags(flags as u32).build(),
                }
            }

            fn accept(self, multishot: bool) -> squeue::Entry {
                match multishot {
                    true => opcode::AcceptMulti::new(self).flags(libc::SOCK_CLOEXEC).build(),
                    false => opcode::Accept::new(self, std::ptr::null_mut(), std::ptr::null_mut())
                        .flags(libc::SOCK_CLOEXEC)
                        .build(),
                }
            }
        }
    };
}

target!(types::Fd);
target!(types::Fixed);
