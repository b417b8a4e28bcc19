//! End to end: the real binary, real file systems, real databases, real signals.
//!
//! Each test makes a [`lab::Lab`]: an array, a service and whatever they need, in temporary folders of its own, so
//! that tests run side by side; a lab removes all of it when it goes, also after a failure. They need root, loop and
//! FUSE; where one is absent a test says so loudly and ends.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests stand outside of test functions"
)]

mod books;
mod kills;
mod lab;
mod pool;
mod postgres;
mod refusals;
mod space;
mod story;
