//! Messages from other threads into a shard.
//!
//! What always holds: a message arrives, in the order of its sender, unless the shard is gone; nobody waits to send one; a
//! shard that is awake costs its senders no system call, and one that sleeps is woken by the first of many. How many
//! messages wait has no bound here: something may depend on each, so that the one who sends them is to bound their number.

use rustix::event::{EventfdFlags, eventfd};
use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering, fence},
        mpsc::Sender,
    },
};

/// Rouses a shard that waits in the kernel.
#[derive(Debug)]
pub(crate) struct Waker {
    event: OwnedFd,
    asleep: AtomicBool,
}

impl Waker {
    pub fn new() -> io::Result<Waker> {
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Waker { event, asleep: AtomicBool::new(false) })
    }

    /// Another descriptor of the same event, for the shard's engine to wait on.
    pub fn event(&self) -> io::Result<OwnedFd> {
        self.event.try_clone()
    }

    /// The shard is going to sleep; it must look for news once more after this.
    pub fn doze(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The shard is awake and will look for news by itself.
    pub fn rise(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Called after there is news.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        // The first one after the shard dozed off writes; an eventfd holds 2^64 - 2 of them, so this never blocks.
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            let _only_fails_when_closed = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}

/// What arrives in a shard from elsewhere.
#[derive(Debug)]
pub(crate) struct Arrival<M> {
    pub token: u64,
    pub result: io::Result<M>,
}

/// A way to send messages to one shard, from any thread.
pub struct Remote<M> {
    pub(crate) inbox: Sender<Arrival<M>>,
    pub(crate) waker: Arc<Waker>,
}

impl<M> Remote<M> {
    /// Has `message` complete in the shard under `token`.
    pub fn post(&self, token: u64, message: M) -> Result<(), Gone> {
        self.inbox.send(Arrival { token, result: Ok(message) }).map_err(|_| Gone)?;
        self.waker.wake();
        Ok(())
    }
}

impl<M> Clone for Remote<M> {
    fn clone(&self) -> Self {
        Remote { inbox: self.inbox.clone(), waker: self.waker.clone() }
    }
}

impl<M> fmt::Debug for Remote<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// The shard that a message is for has ended; the message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shard that the message is for has ended")
    }
}

impl std::error::Error for Gone {}
