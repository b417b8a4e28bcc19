//! The embedded store on real files and on a disk that forgets.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

mod basics;
mod closing;
mod controls;
mod cores;
mod cost;
mod damage;
mod devices;
mod direct;
mod discards;
mod errors;
mod failing;
mod flushes;
mod full_backing;
mod heard;
mod holds;
mod holes;
mod instant;
mod judge;
mod large_blocks;
mod log;
mod lost_log;
mod model;
mod overlap;
mod reaper;
mod recorded;
mod sharing;
mod sim;
mod space;
mod support;
mod sweep;
mod watch;
mod whole;

/// So that tests can say what allocates and what does not.
#[global_allocator]
static ALLOCATOR: umbra_sys::counting::Counting = umbra_sys::counting::Counting;
