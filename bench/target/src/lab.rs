//! Where measurements happen: a temporary folder, the servers in it, how long and how often.
//!
//! What always holds: everything lies under one folder that is removed at the end, also after an error; all servers serve
//! as many bytes, every one of them written, from files in the same file system.

use crate::{
    generator::{Generator, Limit, Protocol, Work, check},
    placement::{Placement, Processors},
    serve::{Server, Tgt},
    session::Unseen,
};
use anyhow::{Context, Result};
use std::{fs, path::Path, time::Duration};
use tempfile::TempDir;
use umbra_bench_common::{
    processor::Sample,
    report::tell,
    rounds::{Contender, Series, alternate},
    run::Outcome,
};

/// Rounds that count, turns of a contender in each, and how long a turn is.
const ROUNDS: (usize, usize, Duration) = (9, 5, Duration::from_millis(50));
const QUICK: (usize, usize, Duration) = (3, 2, Duration::from_millis(30));
/// Of each LUN.
pub const BYTES: u64 = 512 << 20;

/// The folder, the servers, and what all rows share.
pub struct Lab {
    /// Our target in the forms that are measured.
    pub ours: Vec<Named>,
    /// The floor.
    pub floor: Named,
    /// tgt, where it is installed.
    pub tgt: Option<Named>,
    processors: Processors,
    rounds: usize,
    slices: usize,
    time: Duration,
    /// Whether less is done, to see that it works.
    pub quick: bool,
    /// After the servers, so that it goes last.
    _folder: TempDir,
}

/// A server and what it is called.
pub struct Named {
    /// Its name in the table.
    pub name: &'static str,
    /// Threads that serve; 0 for as many as there are connections.
    pub shards: usize,
    /// Its process.
    pub server: Server,
}

/// What became of a case: a series for each contender.
pub struct Measured {
    /// In the order of [`Lab::ours`].
    pub ours: Vec<Series>,
    /// The floor's.
    pub floor: Series,
    /// tgt's.
    pub tgt: Option<Series>,
}

impl Lab {
    /// A lab in a new folder of `dir`, its servers running.
    pub fn new(dir: &Path, quick: bool) -> Result<Lab> {
        let folder = TempDir::with_prefix_in("umbra-bench-target-", dir)
            .with_context(|| format!("make a folder in {}; choose another with --dir", dir.display()))?;
        let ours = [
            ours(folder.path(), "uring", "uring", 2)?,
            ours(folder.path(), "plain", "plain", 2)?,
            ours(folder.path(), "uring, 1 shard", "uring", 1)?,
        ];
        let bytes = BYTES.to_string();
        let file = folder.path().join("floor.img");
        let floor = Server::start(Protocol::Floor, &["floor", &file.to_string_lossy(), &bytes])?;
        let tgt = match Tgt::is_there() {
            true => Some(Named { name: "tgt", shards: 1, server: Tgt::start(folder.path(), BYTES)? }),
            false => {
                tell("tgt is not there: nothing beside but the floor (Debian: tgt)");
                None
            }
        };
        let (rounds, slices, time) = if quick { QUICK } else { ROUNDS };
        let floor = Named { name: "floor", shards: 0, server: floor };
        let processors = Processors::take()?;
        Ok(Lab { ours: ours.into(), floor, tgt, processors, rounds, slices, time, quick, _folder: folder })
    }

    /// Checks that all servers read and write what they are asked to, then measures them in turns.
    pub fn measure(&self, work: Work, placement: Placement) -> Result<Measured> {
        let all = || self.ours.iter().chain([&self.floor]).chain(&self.tgt);
        self.processors.place(placement, all().map(|named| named.server.pid()))?;
        let mut contenders = Vec::new();
        for (named, salt) in all().zip(1..) {
            let address = named.server.address;
            check(address, work, salt).with_context(|| format!("check {}", named.name))?;
            let mut generator = Generator::open(address, work).with_context(|| named.name)?;
            let (time, cores) = (self.time, self.processors.count());
            let run = move || turn(&named.server, &mut generator, time, cores);
            contenders.push(Contender::new(named.name, run));
        }
        let mut series = alternate(self.rounds, self.slices, &mut contenders)?.into_iter();
        let ours = series.by_ref().take(self.ours.len()).collect();
        let floor = series.next().context("a contender without rounds")?;
        Ok(Measured { ours, floor, tgt: series.next() })
    }
}

/// One turn of a contender, on a machine of `cores` processors.
fn turn(server: &Server, generator: &mut Generator, time: Duration, cores: f64) -> Result<Outcome> {
    let (before, served) = (Sample::take()?, server.processor_seconds()?);
    let done = generator.run(Limit::Time(time), &mut Unseen)?;
    let used = before.since()?;
    let served = server.processor_seconds()? - served;
    let (seconds, count) = (done.time.as_secs_f64().max(1e-9), done.count.max(1) as f64);
    Ok(Outcome {
        rate: done.count as f64 / seconds,
        cost: served * 1e6 / count,
        refused: 0.0,
        own: (used.own_seconds + served) / seconds / cores,
        machine: used.machine,
    })
}

fn ours(folder: &Path, name: &'static str, backend: &str, shards: usize) -> Result<Named> {
    let folder = folder.join(format!("ours-{backend}-{shards}"));
    fs::create_dir(&folder).context("make a folder for a pool")?;
    let (folder, bytes) = (folder.to_string_lossy(), BYTES.to_string());
    let args = ["ours", &folder, &bytes, "--backend", backend, "--shards", &shards.to_string()];
    Ok(Named { name, shards, server: Server::start(Protocol::Iscsi, &args)? })
}
