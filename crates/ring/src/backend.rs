//! Which engine carries the I/O: the choice, and the one type for both.

use crate::plain::Plain;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::{fmt, io, os::fd::OwnedFd, str::FromStr, time::Duration};
use umbra_sys::uring::{Descriptor, Op, Reaped, Ring};

/// The variable of the environment that [`Backend::from_env`] reads.
const VARIABLE: &str = "UMBRA_IO";

/// What carries the I/O of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// io_uring where the kernel lets this process have it, else plain system calls.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// preadv, pwritev and epoll.
    Plain,
}

impl Backend {
    /// What `UMBRA_IO` says: auto, uring or plain; auto if it is not set.
    pub fn from_env() -> io::Result<Backend> {
        match std::env::var(VARIABLE) {
            Ok(text) => text.parse(),
            Err(std::env::VarError::NotPresent) => Ok(Backend::Auto),
            Err(why) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("read {VARIABLE}: {why}"))),
        }
    }
}

impl FromStr for Backend {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Backend> {
        match text {
            "auto" => Ok(Backend::Auto),
            "uring" => Ok(Backend::Uring),
            "plain" => Ok(Backend::Plain),
            other => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{other:?} is no I/O backend; choose auto, uring or plain"),
            )),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Auto => "auto",
            Backend::Uring => "uring",
            Backend::Plain => "plain",
        })
    }
}

/// An engine: takes operations, and hands each back when something happened to it. Both kinds do the least: what is
/// short or interrupted is the shard's to go on with.
#[derive(Debug)]
pub(crate) enum Engine {
    Uring(Ring),
    Plain(Plain),
}

impl Engine {
    /// The engine of `backend`. `plain` makes the engine without io_uring.
    pub fn new(
        backend: Backend,
        depth: u32,
        plain: impl FnOnce() -> io::Result<Plain>,
    ) -> io::Result<Engine> {
        if backend == Backend::Plain {
            return Ok(Engine::Plain(plain()?));
        }
        match Ring::new(depth) {
            Ok(ring) => Ok(Engine::Uring(ring)),
            Err(why) if backend == Backend::Auto => {
                tracing::warn!(%why, "io_uring is not to be had; plain system calls carry the I/O");
                Ok(Engine::Plain(plain()?))
            }
            Err(why) => Err(io::Error::new(
                why.kind(),
                format!("set up io_uring: {why}; {VARIABLE}=plain does without it"),
            )),
        }
    }

    pub fn backend(&self) -> Backend {
        match self {
            Engine::Uring(_) => Backend::Uring,
            Engine::Plain(_) => Backend::Plain,
        }
    }

    /// Queues an operation; given back if there is no room.
    pub fn push(&mut self, user: u64, op: Op) -> Result<(), Op> {
        match self {
            Engine::Uring(ring) => ring.push(user, op),
            Engine::Plain(plain) => plain.push(user, op),
        }
    }

    /// Has every operation called `user` end early, if it can.
    pub fn cancel(&mut self, user: u64) -> io::Result<()> {
        match self {
            Engine::Uring(ring) => ring.cancel(user),
            Engine::Plain(plain) => {
                plain.cancel(user);
                Ok(())
            }
        }
    }

    /// Starts what is queued, and waits until something completed or the time is over.
    pub fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Engine::Uring(ring) => ring.enter(timeout),
            Engine::Plain(plain) => plain.enter(timeout),
        }
    }

    pub fn reap(&mut self) -> Option<Reaped> {
        match self {
            Engine::Uring(ring) => ring.reap(),
            Engine::Plain(plain) => plain.reap(),
        }
    }

    pub fn in_flight(&self) -> usize {
        match self {
            Engine::Uring(ring) => ring.in_flight(),
            Engine::Plain(plain) => plain.in_flight(),
        }
    }

    /// Makes a file this engine's.
    pub fn file(&mut self, fd: OwnedFd) -> Descriptor {
        match self {
            Engine::Uring(ring) => ring.register(fd),
            Engine::Plain(_) => Descriptor::new(fd),
        }
    }

    /// Makes a socket, or whatever else has to be waited for, this engine's: io_uring waits inside of the operation,
    /// which it only does for descriptors that block; epoll wants those that do not.
    pub fn socket(&mut self, fd: OwnedFd) -> io::Result<Descriptor> {
        let flags = fcntl_getfl(&fd)?;
        match self {
            Engine::Uring(ring) => {
                if flags.contains(OFlags::NONBLOCK) {
                    fcntl_setfl(&fd, flags - OFlags::NONBLOCK)?;
                }
                Ok(ring.register(fd))
            }
            Engine::Plain(plain) => {
                if !flags.contains(OFlags::NONBLOCK) {
                    fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
                }
                plain.watch(&fd)?;
                Ok(Descriptor::new(fd))
            }
        }
    }

    /// Undoes [`Engine::socket`].
    pub fn release(&mut self, descriptor: Descriptor) -> OwnedFd {
        let fd = descriptor.into_fd();
        if let Engine::Plain(plain) = self {
            plain.unwatch(&fd);
        }
        fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Shard, Workers};
    use std::sync::Arc;

    #[test]
    fn backends_are_read_as_they_are_shown_and_others_are_refused() {
        for backend in [Backend::Auto, Backend::Uring, Backend::Plain] {
            assert_eq!(backend.to_string().parse::<Backend>().unwrap(), backend);
        }
        let why = "epoll".parse::<Backend>().unwrap_err().to_string();
        assert_eq!(why, "\"epoll\" is no I/O backend; choose auto, uring or plain");
    }

    #[test]
    fn auto_is_io_uring_where_the_kernel_has_it_and_else_plain() {
        let config = |backend| Config {
            backend,
            depth: 8,
            buffers: 1 << 20,
            workers: Arc::new(Workers::start(1, 1).unwrap()),
            busy_poll: Duration::ZERO,
        };
        let expected = match Shard::<()>::new(&config(Backend::Uring)) {
            Ok(_) => Backend::Uring,
            Err(why) => {
                assert!(why.to_string().contains("UMBRA_IO=plain does without it"), "{why}");
                Backend::Plain
            }
        };
        assert_eq!(Shard::<()>::new(&config(Backend::Auto)).unwrap().backend(), expected);
        assert_eq!(Shard::<()>::new(&config(Backend::Plain)).unwrap().backend(), Backend::Plain);
    }
}
