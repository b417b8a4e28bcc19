//! The command line: a client of the API, and a reader of pools in files (`umbra pool check`, `dump`, `delta`, `usage`).
//!
//! ```text
//!   argv -> args (clap types) -> commands (one call) -> shapes (a value) -> output (text | --json) -> stdout
//!                                    \-> an Error -> report -> stderr (| stdout with --json) -> exit status
//! ```
//!
//! [`run`] does everything but serve: what must run in the process of a server comes back as an [`Action`], because this
//! crate knows the API and nothing behind it. [`demo`] is a client too: it starts this same binary as array, service and
//! command line.

#![forbid(unsafe_code)]

pub mod args;
mod client;
mod commands;
mod demo;
pub mod output;
mod parse;
mod progress;
pub mod report;
mod run;
mod shapes;
mod stream;
mod table;

pub use run::{Action, run};
