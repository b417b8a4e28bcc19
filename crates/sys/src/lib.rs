//! Every unsafe block of Umbra: ioctls and system calls that neither std nor rustix offers, each behind a safe function.
//!
//! One file per subject. What always holds: no policy lives here, a function does one system call (or one short, fixed
//! sequence) and returns its `io::Error`; each unsafe block says why it is sound.

#![allow(unsafe_code)]

pub mod buf;
pub mod bufparts;
pub mod bufpool;
pub mod clock;
pub mod counting;
pub mod detach;
pub mod freeze;
pub mod isolate;
pub mod loopdev;
pub mod process;
pub mod sharedpage;
pub mod sockets;
pub mod uring;
pub mod writeback;
