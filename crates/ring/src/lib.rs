//! The runtime of the data path: one [`Shard`] for each thread that serves I/O, for the pool's files and the target's
//! sockets alike.
//!
//! An operation is submitted under a token and completes later, with its buffers, in [`Shard::wait`]; the owner keeps
//! what it needs to go on in a table of its own, by token. There are no futures and no callbacks. Two engines stand
//! under a shard: io_uring, and plain system calls with epoll for places where io_uring is closed; the choice is made
//! at start ([`Backend`]) and shows in nothing but speed.
//!
//! What always holds:
//! - Every operation completes exactly once ([`Shard::accept`]: once for each connection, and once for its end).
//! - An operation owns its buffers and keeps its descriptor open until it completes; a shard that is dropped cancels
//!   what can be cancelled and waits for the rest.
//! - In the steady state an operation costs no allocation and takes no lock; what may block goes to [`Workers`]: calls to
//!   the owner's, file operations without io_uring to such as do nothing else. A call may therefore wait for operations.
//! - Everything has a bound: operations, buffers and jobs that wait (messages have their senders'). A bound that is met is an error that says
//!   so, never a wait.
//!
//! What it does not do: decide. It knows no pool and no protocol.

#![forbid(unsafe_code)]

mod backend;
mod busy;
mod completion;
mod handle;
mod inline;
mod plain;
mod remote;
mod shard;
mod syscalls;
mod verdict;
mod workers;

pub use backend::Backend;
pub use completion::{Completion, Payload};
pub use handle::{File, Socket};
pub use remote::{Gone, Remote};
pub use shard::{Config, Shard};
pub use umbra_sys::{
    buf::{Buf, PAGE},
    bufparts::{MAX_PARTS, Parts},
    bufpool::{Account, BufPool, LARGEST, NoBuffer},
};
pub use workers::Workers;
