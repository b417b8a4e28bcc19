//! The engine on a disk in memory: golden pools, the format's smallest pool byte for byte, generated histories.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

mod bad;
mod changes;
mod damage;
mod deletes;
mod details;
mod disk;
mod foreign;
mod format;
mod golden;
mod held;
mod hints;
mod histories;
mod large;
mod leaves;
mod pools;
mod shares;
mod tools;
