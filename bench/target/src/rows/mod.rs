//! What is measured, row by row: the first three rows of design section 5, and cross-checks.

mod large;
mod latency;
mod others;
mod random;

use crate::{
    generator::Work,
    lab::{BYTES, Lab},
    session::Load,
    wire::Way,
};
use anyhow::Result;
use umbra_bench_common::{places::Order, report::Report};

/// A row: its number, its name, and what runs it.
pub struct Row {
    /// Its number.
    pub number: u8,
    /// What it measures.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&Lab, &mut Report) -> Result<()>,
}

/// Every row.
pub const ROWS: &[Row] = &[
    Row { number: 1, name: "4 KiB at random, QD 32", run: random::run },
    Row { number: 2, name: "4 KiB at random, QD 1", run: latency::run },
    Row { number: 3, name: "1 MiB in sequence", run: large::run },
    Row { number: 4, name: "others' initiators", run: others::run },
];

/// Reading and writing, with their names in the table.
const WAYS: [(&str, Way); 2] = [("read", Way::Read), ("write", Way::Write)];

fn work(way: Way, len: usize, depth: usize, sessions: usize, order: Order) -> Work {
    Work { load: Load { way, len, depth, salt: 0 }, sessions, order, span: BYTES }
}
