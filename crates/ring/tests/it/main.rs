//! The runtime, every promise under both engines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod calls;
mod files;
mod lab;
mod messages;
mod sockets;
