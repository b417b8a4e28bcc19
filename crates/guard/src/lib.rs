//! The freeze guard: processes whose only work is that no file system stays frozen and no writer stays held (S3).
//!
//! ```text
//!   service            primary                twin              hand, one per file system
//!   Client  <-socket->  order, deadlines      watches the       FIFREEZE, FITHAW, probes,
//!                       and undo programs     primary, thaws    each in a process of its own,
//!                              |              in its place      because each may stall
//!                              +-------- board (shared page) -------+
//!                                 RUNTIME/guard/SET.rec, in tmpfs
//! ```
//!
//! What happens when, in each case within fractions of a second:
//!
//! | this ends or stops | who thaws | who runs the undo programs |
//! |---|---|---|
//! | the service (its socket closes) | primary, through the hands | primary |
//! | the primary | each hand its own, twin the rest | twin |
//! | the twin | primary, and it says `guard_lost` | primary, when told or at the limit |
//! | a hand | primary, and it says `guard_lost` | primary, when told or at the limit |
//! | primary and twin | each hand its own | [`recover`] |
//! | all of them | [`recover`] | [`recover`] |
//! | nobody, but the hold runs out | primary; 100 ms later the hands; 200 ms later the twin | not yet |
//! | nobody, but a writer's limit runs out | as above | primary; 1 s later the twin |
//! | storage, inside FIFREEZE | the hand, as soon as it answers | as asked |
//!
//! What always holds:
//! - the board says `freezing` before FIFREEZE is called, so whatever may be frozen stands in the record;
//! - a change on the board is a compare-and-swap, so each file system is thawed by one of them, once;
//! - a file system that answered EBUSY to our first FIFREEZE is not ours, and is never thawed by us;
//! - after [`Client::prepare`] the guard opens and writes no file until the file systems are thawed (S7).
//!
//! What it leaves to others: which volumes there are, when to freeze, and what a set is.

#![forbid(unsafe_code)]

mod board;
mod client;
mod hand;
pub mod limits;
mod mounts;
mod primary;
mod protocol;
mod record;
mod recover;
mod thaw;
mod twin;
mod undo;
mod wire;

pub use client::{Client, Launch, OnLost, Prepare};
pub use mounts::FileSystem;
pub use primary::run;
pub use protocol::{Thawed, Undo};
pub use recover::{Found, Recovered, recover};
