//! The ring: slots for operations, submission, reaping, cancelling, and an end that waits.

use super::{Descriptor, Op, descriptor::Table, slot::Slot};
use io_uring::{Builder, IoUring, cqueue, opcode, squeue, types};
use std::{
    fmt, io,
    marker::PhantomData,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

/// The name of entries whose completion says nothing: cancellations.
const NOBODY: u64 = u64::MAX;

/// An io_uring of one thread, and the operations that it owns.
pub struct Ring {
    uring: IoUring,
    /// Given up to the kernel for good should an end be impossible to wait for, see [`Ring::drop`].
    slots: ManuallyDrop<Box<[Slot]>>,
    free: Vec<u32>,
    table: Arc<Table>,
    multishot: bool,
    /// The kernel binds a ring to the thread that made it.
    thread: PhantomData<*const ()>,
}

/// A completion.
#[derive(Debug)]
pub struct Reaped {
    /// The name that the operation was pushed under.
    pub user: u64,
    /// The operation, its progress taken into account; none if it goes on and will complete again.
    pub op: Option<Op>,
    /// Bytes moved, or zero; or the operation's error.
    pub result: io::Result<u32>,
    /// The connection that an [`Op::Accept`] brought.
    pub accepted: Option<OwnedFd>,
    /// Whether it was asked to end early; what it did before counts all the same.
    pub cancelled: bool,
}

impl Ring {
    /// A ring for `depth` operations at a time and as many registered files, set up with all that the kernel has.
    /// `Unsupported` if it is too old (before 5.11); `PermissionDenied` if io_uring is closed to this process.
    pub fn new(depth: u32) -> io::Result<Ring> {
        let (uring, newest) = set_up(depth)?;
        let features = uring.params();
        if !(features.is_feature_ext_arg() && features.is_feature_nodrop() && features.is_feature_fast_poll())
        {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel's io_uring is too old"));
        }
        let places = if uring.submitter().register_files_sparse(depth).is_ok() { depth } else { 0 };
        Ok(Ring {
            uring,
            slots: ManuallyDrop::new((0..depth).map(|_| Slot::free()).collect()),
            free: (0..depth).rev().collect(),
            table: Arc::new(Table::new(places)),
            multishot: newest,
            thread: PhantomData,
        })
    }

    /// A descriptor for this ring, registered with it while there is room.
    pub fn register(&mut self, fd: OwnedFd) -> Descriptor {
        self.clear_abandoned();
        let Some(index) = self.table.take() else { return Descriptor::new(fd) };
        match self.uring.submitter().register_files_update(index, &[fd.as_fd().as_raw_fd()]) {
            Ok(_) => Descriptor::registered(fd, index, self.table.clone()),
            Err(_) => {
                self.table.give_back(index);
                Descriptor::new(fd)
            }
        }
    }

    /// Operations that it owns.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Queues an operation; the kernel learns of it at the next [`Ring::enter`]. Given back if all slots are taken.
    pub fn push(&mut self, user: u64, op: Op) -> Result<(), Op> {
        let Some(index) = self.free.pop() else { return Err(op) };
        let entry = self.slots[index as usize].fill(op, user, &self.table, self.multishot);
        match self.queue(entry.user_data(u64::from(index))) {
            Ok(()) => Ok(()),
            Err(_) => {
                self.free.push(index);
                Err(self.slots[index as usize].op.take().expect("it was just put there"))
            }
        }
    }

    /// Asks the kernel to give up every operation called `user`. Each still completes, with ECANCELED or with what it did.
    pub fn cancel(&mut self, user: u64) -> io::Result<()> {
        for index in 0..self.slots.len() {
            if self.slots[index].is_called(user) {
                self.slots[index].cancelled = true;
                self.queue(opcode::AsyncCancel::new(index as u64).build().user_data(NOBODY))?;
            }
        }
        Ok(())
    }

    /// Submits what is queued in one system call, and waits for a completion until `timeout` has passed: None waits
    /// as long as it takes, zero not at all. Returning early, interrupted by a signal for one, is no error.
    pub fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.clear_abandoned();
        let result = match timeout {
            Some(Duration::ZERO) => self.submit_only(),
            None => self.uring.submitter().submit_and_wait(1),
            Some(time) => {
                let time = types::Timespec::from(time);
                self.uring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&time))
            }
        };
        match result {
            Ok(_) => Ok(()),
            // Time is over, a signal came, or completions must be reaped before more can be submitted.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The next completion that is there already.
    pub fn reap(&mut self) -> Option<Reaped> {
        loop {
            let entry = self.uring.completion().next()?;
            if entry.user_data() != NOBODY {
                return Some(self.settle(&entry));
            }
        }
    }

    fn settle(&mut self, entry: &cqueue::Entry) -> Reaped {
        let index = entry.user_data() as u32;
        let slot = &mut self.slots[index as usize];
        let result = match entry.result() {
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            value => Ok(value as u32),
        };
        let is_accept = matches!(slot.op, Some(Op::Accept { .. }));
        let accepted = match result {
            // SAFETY: the kernel has just opened this descriptor for this operation and tells nobody else.
            Ok(fd) if is_accept => Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
            _ => None,
        };
        let (user, cancelled) = (slot.user, slot.cancelled);
        if cqueue::more(entry.flags()) {
            return Reaped { user, op: None, result, accepted, cancelled };
        }
        // The kernel is done with the operation: its memory and descriptors are the owner's again.
        let mut op = slot.op.take();
        self.free.push(index);
        if let (Some(op), Ok(bytes)) = (&mut op, &result) {
            op.progress(*bytes);
        }
        Reaped { user, op, result, accepted, cancelled }
    }

    fn submit_only(&mut self) -> io::Result<usize> {
        let mut queue = self.uring.submission();
        queue.sync();
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(0);
        }
        drop(queue);
        self.uring.submit()
    }

    fn queue(&mut self, entry: squeue::Entry) -> io::Result<()> {
        if self.uring.submission().is_full() {
            self.uring.submit()?;
        }
        // SAFETY: every pointer of the entry points into an operation or slot that stays where it is and is not touched
        // until its completion was reaped (see `Slot::fill`); if the push fails, the kernel never sees the entry.
        unsafe { self.uring.submission().push(&entry) }
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "the submission queue stays full"))
    }

    /// Takes files that nobody uses any more out of the kernel's table.
    fn clear_abandoned(&mut self) {
        for index in self.table.take_abandoned() {
            if self.uring.submitter().register_files_update(index, &[-1]).is_ok() {
                self.table.give_back(index);
            }
        }
    }

    /// Whether every operation has completed.
    fn finish(&mut self) -> bool {
        for index in 0..self.slots.len() {
            if self.slots[index].op.is_some() {
                let cancel = opcode::AsyncCancel::new(index as u64).build().user_data(NOBODY);
                if self.queue(cancel).is_err() {
                    break; // What is not cancelled is waited for.
                }
            }
        }
        while self.in_flight() > 0 {
            if self.enter(None).is_err() {
                return false;
            }
            while self.reap().is_some() {}
        }
        true
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.finish() {
            // Closing the ring would do it too, but some time later; whoever waits for a file's end waits for this.
            let _none_registered = self.uring.submitter().unregister_files();
            // SAFETY: nothing is in flight, so the kernel has no pointer into the slots; nobody uses them after this.
            unsafe { ManuallyDrop::drop(&mut self.slots) }
        }
        // Otherwise the kernel may still write: memory that is never freed harms less than memory that is used twice.
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// A ring with the best flags that the kernel takes, and whether these were those of 6.1.
fn set_up(depth: u32) -> io::Result<(IoUring, bool)> {
    let depth = depth.next_power_of_two();
    let mut newest = builder(depth);
    newest.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
    let mut newer = builder(depth);
    newer.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
    let refused = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
    match newest.build(depth) {
        Err(error) if refused(&error) => (),
        result => return result.map(|uring| (uring, true)),
    }
    match newer.build(depth) {
        Err(error) if refused(&error) => builder(depth).build(depth).map(|uring| (uring, false)),
        result => result.map(|uring| (uring, false)),
    }
}

/// What every kernel takes. Completions of cancellations and repeated accepts come on top of one for each operation.
fn builder(depth: u32) -> Builder {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(depth.saturating_mul(4));
    builder
}
