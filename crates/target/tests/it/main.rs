//! The target over real sockets, with units in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod attentions;
mod commands;
mod direct;
mod discovery;
mod farewell;
mod fences;
mod filed;
mod hostile;
mod lab;
mod management;
mod memory;
mod portals;
mod raw;
mod reservations;
mod room;
mod slow_keeper;
mod thresholds;
mod tokens;
mod tools;
mod waiting;
