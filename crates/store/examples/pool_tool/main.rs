//! Makes pools, changes them and says what they hold, so that somebody else (a kernel) can be asked the same.
//!
//! ```text
//! pool_tool make DIR SEED OPS BLOCK-KIB    makes a pool, does OPS operations of history SEED, prints its devices
//! pool_tool touch DIR SEED OPS ID:BYTES... does OPS operations on a pool that has these devices, prints all devices
//! pool_tool sums DIR ID:BYTES...           prints these devices, which must be all
//! pool_tool storm DIR SEED                 makes a pool and goes on until it is killed; a line for each operation done
//! pool_tool verify DIR SEED DONE           after a storm: everything done is there; prints the devices
//! pool_tool check DIR                      the independent checker's word on pool.meta
//! ```
//!
//! Devices are printed as JSON: id, bytes, mapped_blocks, sha256; one line each. Every command ends with a clean close,
//! except the one that is killed.

mod history;
mod pool;

use history::History;
use std::{
    env,
    io::{Write, stdout},
    path::Path,
    process::ExitCode,
    str::FromStr,
};
use umbra_base::{Error, ErrorCode, Result};
use umbra_store::{LunStore, ThinPoolStore};
use umbra_thin_check::{Expect, FileImage, Severity};

/// Bytes of data of the pools made here.
const DATA_BYTES: u64 = 192 << 20;
const STORM_BLOCK: u64 = 64 << 10;
const USAGE: &str = "usage: pool_tool make|touch|sums|storm|verify|check DIR ...";

#[expect(clippy::print_stderr, reason = "where this program tells its errors")]
fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pool_tool: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<()> {
    match args {
        ["make", dir, seed, ops, kib] => make(Path::new(dir), number(seed)?, number(ops)?, number(kib)?),
        ["touch", dir, seed, ops, devices @ ..] => {
            touch(Path::new(dir), number(seed)?, number(ops)?, &sizes(devices)?)
        }
        ["sums", dir, devices @ ..] => print(open(Path::new(dir))?, &sizes(devices)?),
        ["storm", dir, seed] => storm(Path::new(dir), number(seed)?),
        ["verify", dir, seed, done] => verify(Path::new(dir), number(seed)?, number(done)?),
        ["check", dir] => check(Path::new(dir)),
        _ => Err(Error::new(ErrorCode::InvalidArgument, USAGE)),
    }
}

fn make(dir: &Path, seed: u32, ops: u32, kib: u64) -> Result<()> {
    let store = pool::open(dir, DATA_BYTES, kib << 10)?;
    let mut history = History::new(seed, kib << 10, &[]);
    play(&store, &mut history, ops)?;
    pool::compare(&store, &history, &history)?;
    print(store, &history.devices())
}

fn touch(dir: &Path, seed: u32, ops: u32, devices: &[(u32, u64)]) -> Result<()> {
    let store = open(dir)?;
    let mut history = History::new(seed, store.usage().block_bytes, devices);
    play(&store, &mut history, ops)?;
    print(store, &history.devices())
}

fn storm(dir: &Path, seed: u32) -> Result<()> {
    let store = pool::open(dir, DATA_BYTES, STORM_BLOCK)?;
    let mut history = History::new(seed, STORM_BLOCK, &[]);
    loop {
        let (number, op) = history.step();
        pool::carry_out(&store, &history, number, &op)?;
        say(&number.to_string())?;
    }
}

fn verify(dir: &Path, seed: u32, done: u32) -> Result<()> {
    let store = open(dir)?;
    let mut before = History::new(seed, STORM_BLOCK, &[]);
    (0..done).for_each(|_| drop(before.step()));
    let mut after = before.clone();
    after.step();
    pool::compare(&store, &before, &after)?;
    let devices = [after, before].into_iter().map(|history| history.devices());
    let found = store.device_ids()?;
    let own =
        devices.into_iter().find(|devices| devices.iter().map(|(id, _)| *id).eq(found.iter().map(|id| id.0)));
    print(store, &own.unwrap_or_default())
}

fn check(dir: &Path) -> Result<()> {
    let report = umbra_thin_check::check(&FileImage::open(&dir.join("pool.meta"))?, Expect::default());
    for finding in report.findings.iter() {
        say(&finding.to_string())?;
    }
    match report.verdict() {
        Severity::Ok => Ok(()),
        verdict => Err(Error::new(ErrorCode::Corrupt, format!("the checker's verdict is {verdict}"))),
    }
}

fn play(store: &ThinPoolStore, history: &mut History, ops: u32) -> Result<()> {
    for _ in 0..ops {
        let (number, op) = history.step();
        pool::carry_out(store, history, number, &op)?;
    }
    Ok(())
}

/// Opens the pool that there must be.
fn open(dir: &Path) -> Result<ThinPoolStore> {
    let meta = dir.join("pool.meta");
    if !meta.is_file() {
        return Err(Error::new(ErrorCode::ObjectNotFound, format!("there is no {}", meta.display())));
    }
    pool::open(dir, DATA_BYTES, STORM_BLOCK)
}

/// Prints the devices, closes the store.
fn print(store: ThinPoolStore, devices: &[(u32, u64)]) -> Result<()> {
    let lines: Vec<_> = pool::describe(&store, devices)?.iter().map(pool::Description::json).collect();
    store.close()?;
    say(&format!("[\n{}\n]", lines.join(",\n")))
}

/// A line on standard output that is there before anything else is done.
fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| Error::io("print", e))
}

fn sizes(args: &[&str]) -> Result<Vec<(u32, u64)>> {
    let size = |arg: &&str| match arg.split_once(':') {
        Some((id, bytes)) => Ok((number(id)?, number(bytes)?)),
        None => Err(Error::new(ErrorCode::InvalidArgument, format!("{arg:?} is not ID:BYTES"))),
    };
    args.iter().map(size).collect()
}

fn number<N: FromStr>(arg: &str) -> Result<N> {
    let refuse = |_| Error::new(ErrorCode::InvalidArgument, format!("{arg:?} is not a number that fits"));
    arg.parse().map_err(refuse)
}
