//! Row 3: cuts of 1, 8 and 64 LUNs while they are written, and how long a write waits because of it.
//!
//! A submitter writes 4 KiB at random places of a hot MiB of every LUN. Now and then all LUNs are held, cut, released;
//! cuts follow when all hot blocks have been copied, and the copies are deleted at the end of a round. The extra delay of a cut is the
//! longest write that was under way between the begin of the hold and its end, less the median write. After a cut the
//! first write to each block copies it, so a part of that delay is copying: beside it stands the longest of the writes
//! that began in the 20 ms after the release, which copy too but were never held.

use crate::{
    door::Way,
    image::Image,
    lab::{Lab, Stage},
    places::Order,
    record::Record,
    report::{Goal, Line, Report},
    rounds::{median, quantile},
    run::{Work, watched},
    submit::{Limit, Load},
};
use anyhow::{Result, anyhow, ensure};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};
use umbra_ring::Backend;
use umbra_store::{LunStore, Snapshot, ThinId};

const GIB: u64 = 1 << 30;
/// Hot bytes of each LUN.
const HOT: u64 = 1 << 20;
/// In a round.
const CUTS: u32 = 10;
/// From a cut to a moment without one, and from there to the next cut.
const PAUSE: Duration = Duration::from_millis(40);
/// Deleted copies give their space back before that, or something is wrong.
const LONGEST: Duration = Duration::from_secs(120);
const LEASE: Duration = Duration::from_secs(5);
/// Ids of the copies of one cut are so far from their origins', and from the next cut's.
const COPIES: u32 = 1000;

/// What a case has shown so far, in milliseconds.
#[derive(Default)]
struct Seen {
    /// Length of each hold, from the call to the release.
    holds: Vec<f64>,
    /// Of it, the cut itself.
    cuts: Vec<f64>,
    /// Longest extra delay at each cut.
    extra: Vec<f64>,
    /// The same of writes that began after it.
    copying: Vec<f64>,
    /// The same at moments without one.
    quiet: Vec<f64>,
    worst_write: f64,
    worst_flush: f64,
}

struct Case {
    name: &'static str,
    depth: usize,
    stage: Stage,
    seen: Seen,
}

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mut cases = vec![
        case(lab, "1 LUN of 1 GiB, QD 8", 1, 8)?,
        case(lab, "8 LUNs of 1 GiB, QD 8", 8, 8)?,
        case(lab, "64 LUNs of 1 GiB, QD 8", 64, 8)?,
        case(lab, "64 LUNs of 1 GiB, QD 32", 64, 32)?,
    ];
    let mut large = lab.huge()?.stage(lab, None)?;
    large.luns.truncate(1);
    cases.push(Case { name: "1 LUN of 1 TiB, QD 8", depth: 8, stage: large, seen: Seen::default() });
    for _ in 0..lab.rounds {
        for case in &mut cases {
            round(lab, case)?;
        }
    }
    cases.iter().try_for_each(|case| lines(report, case))?;
    let [one, .., large] = &cases[..] else { return Ok(()) };
    let (ours, small) = (median(large.seen.extra.clone()), median(one.seen.extra.clone()));
    let line = Line::new(3, "median extra delay, flat from 1 GiB to 1 TiB mapped", ours, "ms");
    report.add(&line.beside("1 GiB", small, small / ours).goal(Goal::RatioAtLeast(0.8)))
}

fn case(lab: &Lab, name: &'static str, luns: usize, depth: usize) -> Result<Case> {
    let stage = Image::new(lab, &vec![GIB; luns])?.stage(lab, None)?;
    Ok(Case { name, depth, stage, seen: Seen::default() })
}

fn lines(report: &mut Report, case: &Case) -> Result<()> {
    let Seen { holds, cuts, extra, copying, quiet, worst_write, worst_flush } = &case.seen;
    let p99 = |all: &[f64]| quantile(all.iter().copied(), 0.99);
    let name = format!("{}: hold, cut, release: p99", case.name);
    let medians = [holds, cuts].map(|all| median(all.clone()));
    let note = format!("median {:.3}, the cut {:.3} of it", medians[0], medians[1]);
    report.add(&Line::new(3, name, p99(holds), "ms").note(note))?;
    let name = format!("{}: longest extra delay of a write: p99", case.name);
    let line = Line::new(3, name, p99(extra), "ms").goal(Goal::AtMost(1.0));
    let line = line.beside("after the release", p99(copying), p99(extra) / p99(copying));
    let [usual, quiet] = [median(extra.clone()), p99(quiet)];
    report.add(&line.note(format!(
        "median {usual:.3}; without a cut {quiet:.3}; worst write {worst_write:.1}, worst flush {worst_flush:.1}"
    )))
}

/// Some cuts under load.
fn round(lab: &Lab, case: &mut Case) -> Result<()> {
    let Case { depth, stage, seen, .. } = case;
    let (depth, stage) = (*depth, &*stage);
    let (clock, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut record = Record::new(clock, stop.clone());
    let load = Load { backend: Backend::Auto, depth, way: Way::Write, len: 4096, limit: Limit::Watched };
    let work = Work { load, order: Order::Random, span: HOT };
    let cuts = if lab.quick { 3 } else { CUTS };
    let used = stage.store.usage().data_used;
    let windows = scope(|scope| {
        let record = &mut record;
        let load = scope.spawn(move || watched(&stage.luns, work, &lab.workers, record));
        sleep(2 * PAUSE);
        let windows: Result<Vec<_>> = (1..=cuts).map(|cut| one_cut(stage, clock, cut, seen)).collect();
        stop.store(true, Relaxed);
        load.join().map_err(|_| anyhow!("the submitter panicked"))??;
        windows
    })?;
    let usual = record.median();
    for (cut, quiet) in windows {
        seen.extra.push((record.longest(&cut) - usual).max(0.0));
        let after = cut.end..cut.end + PAUSE / 2;
        seen.copying.push((record.longest_begun(&after) - usual).max(0.0));
        seen.quiet.push((record.longest(&quiet) - usual).max(0.0));
    }
    let all = Duration::ZERO..clock.elapsed();
    seen.worst_write = seen.worst_write.max(record.longest(&all));
    clean_up(stage, cuts, used)
}

/// Deletes the copies, and waits until the pool is as it was.
fn clean_up(stage: &Stage, cuts: u32, used: u64) -> Result<()> {
    let luns = stage.luns.len() as u32;
    for copy in (1..=cuts).flat_map(|cut| (1..=luns).map(move |id| ThinId(id + cut * COPIES))) {
        stage.store.delete(copy)?;
    }
    let begun = Instant::now();
    while stage.store.usage().data_used > used {
        ensure!(begun.elapsed() < LONGEST, "the space of deleted copies is not back after {LONGEST:?}");
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

type Window = Range<Duration>;

/// One cut. Returns when it was, and a moment as long without one.
fn one_cut(stage: &Stage, clock: Instant, number: u32, seen: &mut Seen) -> Result<(Window, Window)> {
    let ids: Vec<ThinId> = (1..=stage.luns.len() as u32).map(ThinId).collect();
    let copy_of = |origin: &ThinId| ThinId(origin.0 + number * COPIES);
    let pairs: Vec<_> = ids.iter().map(|id| Snapshot { origin: *id, copy: copy_of(id) }).collect();
    let start = clock.elapsed();
    let hold = stage.store.hold(&ids, LEASE)?;
    let cutting = Instant::now();
    let cut = stage.store.cut(&hold, &pairs)?;
    seen.cuts.push(cutting.elapsed().as_secs_f64() * 1e3);
    drop(hold);
    let end = clock.elapsed();
    seen.holds.push((end - start).as_secs_f64() * 1e3);
    let flush = Instant::now();
    stage.store.wait_durable(&cut)?;
    stage.store.flush()?;
    seen.worst_flush = seen.worst_flush.max(flush.elapsed().as_secs_f64() * 1e3);
    sleep(PAUSE);
    let quiet = clock.elapsed();
    let quiet = quiet..quiet + (end - start);
    sleep(PAUSE);
    Ok((start..end, quiet))
}
