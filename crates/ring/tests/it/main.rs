//! The runtime, every promise under both engines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod files;
mod lab;
