//! Messages from other threads into a shard.
//!
//! What always holds: a message that was accepted arrives, in the order of its sender; a shard that is awake costs its
//! senders no system call, and one that sleeps is woken by the first of many.

use rustix::event::{EventfdFlags, eventfd};
use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering, fence},
        mpsc::{SyncSender, TrySendError},
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
    pub(crate) inbox: SyncSender<Arrival<M>>,
    pub(crate) waker: Arc<Waker>,
}

impl<M> Remote<M> {
    /// Has `message` complete in the shard under `token`. Refused, and given back, if too many messages wait there, or
    /// if the shard is gone.
    pub fn post(&self, token: u64, message: M) -> Result<(), Refused<M>> {
        match self.inbox.try_send(Arrival { token, result: Ok(message) }) {
            Ok(()) => {
                self.waker.wake();
                Ok(())
            }
            Err(TrySendError::Full(Arrival { result, .. })) => {
                Err(Refused { message: result.ok(), gone: false })
            }
            Err(TrySendError::Disconnected(Arrival { result, .. })) => {
                Err(Refused { message: result.ok(), gone: true })
            }
        }
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

/// A message that a shard did not take.
pub struct Refused<M> {
    message: Option<M>,
    gone: bool,
}

impl<M> Refused<M> {
    /// Whether the shard is gone; else it has too many messages waiting, and may take this one later.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// The message.
    pub fn into_message(self) -> Option<M> {
        self.message
    }
}

impl<M> fmt::Debug for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("gone", &self.gone).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.gone {
            true => "the shard that the message is for has ended",
            false => "too many messages wait in the shard that the message is for; try again later",
        })
    }
}

impl<M> std::error::Error for Refused<M> {}
