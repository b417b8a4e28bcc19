//! What is cut while it is written, and how its writes are watched.
//!
//! What always holds: a round leaves its subject as it found it, so that all rounds do the same work.

use super::{HOT, seen::Seen};
use crate::{
    door::{Door, Way},
    lab::Lab,
    places::Order,
    record::Record,
    run::{Work, watched},
    submit::{Limit, Load},
};
use anyhow::{Result, anyhow};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};
use umbra_ring::{Backend, Workers};

/// From a cut to a moment without one, and from there to the next cut: all hot blocks have been copied by then.
const PAUSE: Duration = Duration::from_millis(70);
/// Between a cut and its commit a service has the freeze attested, lets the file systems go on, and the writers (design S2);
/// that takes longer than this.
const THAW: Duration = Duration::from_millis(5);

/// Ranges that are written, and that can be cut together.
pub trait Subject {
    /// Cuts in a round. Peers have fewer, since each costs them seconds: they stand there for scale.
    const CUTS: u32 = 20;

    /// What writes are put to.
    type Door: Door;

    /// Makes ready for a round; returns the ranges, and who calls them when their direct door refuses.
    fn begin(&mut self, lab: &Lab) -> Result<(Vec<Self::Door>, Arc<Workers>)>;

    /// Makes ready for a cut; `number` counts from 1 in each round.
    fn prepare(&mut self, _number: u32) -> Result<()> {
        Ok(())
    }

    /// Holds the writes to all ranges, cuts, lets them go on. Returns how long the cut itself took, if it can be told.
    fn cut(&mut self, number: u32) -> Result<Option<Duration>>;

    /// Makes the last cut and everything written durable.
    fn flush(&mut self) -> Result<()>;

    /// Undoes the cuts of a round, of which there were so many.
    fn end(&mut self, cuts: u32) -> Result<()>;
}

type Window = Range<Duration>;

/// Some cuts under load.
pub fn round<S: Subject>(lab: &Lab, subject: &mut S, depth: usize, seen: &mut Seen) -> Result<()> {
    seen.begin();
    let (doors, workers) = subject.begin(lab)?;
    let (clock, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut record = Record::new(clock, stop.clone());
    let load = Load { backend: Backend::Auto, depth, way: Way::Write, len: 4096, limit: Limit::Watched };
    let work = Work { load, order: Order::Random, span: HOT };
    let cuts = if lab.quick { S::CUTS / 4 } else { S::CUTS };
    let windows = scope(|scope| {
        let record = &mut record;
        let load = scope.spawn(move || watched(&doors, work, &workers, record));
        let windows: Result<Vec<_>> = (1..=cuts).map(|cut| one_cut(subject, clock, cut, seen)).collect();
        stop.store(true, Relaxed);
        load.join().map_err(|_| anyhow!("the submitter panicked"))??;
        windows
    })?;
    let usual = record.median();
    for (cut, quiet) in windows {
        seen.extra.push((record.longest(&cut) - usual).max(0.0));
        seen.quiet.push((record.longest(&quiet) - usual).max(0.0));
    }
    seen.worst_write = seen.worst_write.max(record.longest(&(Duration::ZERO..clock.elapsed())));
    subject.end(cuts)
}

/// One cut. Returns when it was, and a moment as long without one.
fn one_cut<S: Subject>(
    subject: &mut S,
    clock: Instant,
    number: u32,
    seen: &mut Seen,
) -> Result<(Window, Window)> {
    subject.prepare(number)?;
    sleep(PAUSE);
    let start = clock.elapsed();
    let cut = subject.cut(number)?;
    let end = clock.elapsed();
    cut.iter().for_each(|cut| seen.cuts.push(cut.as_secs_f64() * 1e3));
    seen.holds.push((end - start).as_secs_f64() * 1e3);
    sleep(THAW);
    let flush = Instant::now();
    subject.flush()?;
    seen.worst_flush = seen.worst_flush.max(flush.elapsed().as_secs_f64() * 1e3);
    sleep(PAUSE);
    let quiet = clock.elapsed();
    Ok((start..end, quiet..quiet + (end - start)))
}
