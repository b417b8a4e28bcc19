//! What is measured, row by row.

mod broken;
mod cache;
mod changed;
mod cut;
mod delete;
mod plain;
mod snapshots;
mod start;
mod threads;

pub use start::until_killed;

use crate::{lab::Lab, report::Report};
use anyhow::Result;

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
    Row { number: 1, name: "mapped I/O beside the raw file", run: plain::run },
    Row { number: 2, name: "I/O with snapshots", run: snapshots::run },
    Row { number: 3, name: "cuts under load", run: cut::run },
    Row { number: 4, name: "delete of a large device", run: delete::run },
    Row { number: 5, name: "start after SIGKILL", run: start::run },
    Row { number: 6, name: "random reads beyond the cache", run: cache::run },
    Row { number: 7, name: "changed blocks", run: changed::run },
    Row { number: 8, name: "several submitters", run: threads::run },
    Row { number: 9, name: "the array's break", run: broken::run },
];
