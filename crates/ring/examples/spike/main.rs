//! What the runtime costs: its engines against bare system calls, side by side, in one run.
//!
//! `cargo run --release -p umbra-ring --example spike [FOLDER]` measures files in FOLDER (the temporary folder unless
//! given), hand-overs and sockets. Rows of a group are taken in turns, and each shows its median; on a busy machine only
//! the ratios to the group's first row say something.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

mod files;
mod hands;
mod sockets;
mod table;

use std::{path::PathBuf, sync::Arc};
use umbra_ring::{Backend, Config, Workers};

fn main() {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!("files in {}", folder.display());
    files::measure(&folder);
    hands::measure();
    sockets::measure();
}

/// The engines to compare.
const ENGINES: [Backend; 2] = [Backend::Plain, Backend::Uring];

/// A shard's set-up for one thread of a measurement.
fn config(backend: Backend, workers: &Arc<Workers>) -> Config {
    Config {
        backend,
        depth: 128,
        buffers: 16 << 20,
        workers: workers.clone(),
        busy_poll: std::time::Duration::ZERO,
    }
}
