//! The pool measured against its peers (design section 5): the raw file through the same ring, qcow2, thin_check.
//!
//! Each row alternates its contenders in one run on one machine and prints medians, ratios, the goal beside each and
//! whether it is met. Nothing is asserted. docs/benchmarks.md says what each figure means.

#![forbid(unsafe_code)]

mod command;
mod door;
mod image;
mod lab;
mod places;
mod processor;
mod qcow;
mod record;
mod report;
mod rounds;
mod rows;
mod run;
mod submit;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use std::path::{Path, PathBuf};

/// Measures the pool.
#[derive(Debug, Parser)]
struct Args {
    /// Rows to run, by number; all without any.
    rows: Vec<u8>,
    /// Fewer and shorter rounds: to see that everything works, not to quote.
    #[arg(long)]
    quick: bool,
    /// An object for each line instead of a table.
    #[arg(long)]
    json: bool,
    /// Where to make the folder for pools and files; default: /dev/shm, else the temporary folder.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Serve the pool in a folder, write to a device that is empty, and wait to be killed (row 5's child).
    #[arg(long, hide = true, num_args = 2, value_names = ["FOLDER", "DEVICE"])]
    until_killed: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some([folder, device]) = args.until_killed.as_deref() {
        return rows::until_killed(Path::new(folder), device.parse().context("the device")?);
    }
    let known = rows::ROWS.iter().map(|row| row.number).collect::<Vec<_>>();
    for row in &args.rows {
        ensure!(known.contains(row), "there is no row {row}; there are: {known:?}");
    }
    let lab = lab::Lab::new(&args.dir.unwrap_or_else(usual_dir), args.quick)?;
    let mut report = report::Report::new(args.json);
    for row in rows::ROWS.iter().filter(|row| args.rows.is_empty() || args.rows.contains(&row.number)) {
        report::tell(&format!("row {}: {}", row.number, row.name));
        (row.run)(&lab, &mut report).with_context(|| format!("row {}: {}", row.number, row.name))?;
    }
    report.end();
    Ok(())
}

fn usual_dir() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
