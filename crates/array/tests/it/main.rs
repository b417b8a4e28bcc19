//! The array as its users meet it: over its management socket and its iSCSI portals, in a folder of its own, with the
//! real pool under it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod away;
mod bench;
mod contents;
mod hosts;
mod in_flight;
mod restart;
mod sets;
