//! Row 2: I/O with 0, 1, 10 and 100 live snapshots.
//!
//! Every round of a first touch takes one snapshot more, touches each block once in an order that scatters, and deletes
//! that snapshot again. qcow2 has as many internal snapshots, taken the same way, and writes the same places. What is
//! *settled* comes after every block was touched, with both; qcow2's tool knows no chance, so it goes on by a stride.

use crate::{
    door::{Door, Raw, Way},
    lab::{Lab, Stage},
    places::{BLOCK, Order, STRIDE},
    qcow::Qcow,
    report::{Goal, Line, Report, tell},
    rounds::{Contender, Series, alternate},
    rows::plain::{GOAL, KINDS},
    run::{Outcome, Work, alone},
    submit::{Limit, Load},
};
use anyhow::{Context, Result};
use std::time::Duration;
use umbra_ring::Backend;
use umbra_store::{LunStore, Snapshot, ThinId};

/// Of the volume: 2048 blocks.
const BYTES: u64 = 128 << 20;
const BLOCKS: u64 = BYTES / BLOCK;
/// Room beside it: the standing snapshots keep two and a half times the volume, a pass takes one more while what the
/// passing snapshot kept is being given back. In a pool that is full meanwhile writes wait for that, and only those with
/// many snapshots would be.
const SPARE: u64 = 8 * BYTES;
/// Blocks written between two of the standing snapshots.
const BETWEEN: u64 = BLOCKS / 64;
const COUNTS: [u32; 4] = [0, 1, 10, 100];
/// Requests of a turn of qcow2's tool, short ones and long ones, and the bytes from one short one to the next: as near to
/// chance as it comes.
const QCOW_SHORT: u64 = 2000;
const QCOW_LONG: u64 = 64;
const QCOW_STEP: u64 = 33 * 4096;
/// The snapshot that comes and goes.
const PASSING: ThinId = ThinId(1000);
const LEASE: Duration = Duration::from_secs(5);

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let stages: Vec<_> = COUNTS.iter().map(|count| with_snapshots(lab, *count)).collect::<Result<_>>()?;
    let qcows = match Qcow::is_there() {
        true => COUNTS.iter().map(|count| qcow(lab, *count)).collect::<Result<_>>()?,
        false => Vec::new(),
    };
    if qcows.is_empty() {
        tell("qemu-img is not there: no qcow2 beside (Debian: qemu-utils)");
    }
    for depth in [1, 32] {
        first_touch(lab, report, depth, &stages, qcows.get(1..).unwrap_or_default())?;
        whole_blocks(lab, report, depth, &stages)?;
        settled(lab, report, depth, &stages, &qcows)?;
    }
    Ok(())
}

/// A volume with `count` standing snapshots but one, the last comes with each round; no two are the same.
fn with_snapshots(lab: &Lab, count: u32) -> Result<Stage> {
    let stage = lab.stage(1, BYTES, SPARE)?;
    for id in 2..=count {
        cut(&stage, ThinId(id))?;
        let at = |i: u64| (u64::from(id) * 7 + i * STRIDE) % BLOCKS * BLOCK;
        (0..BETWEEN).try_for_each(|i| stage.luns[0].write(at(i), &[1; 4096]))?;
    }
    if count > 0 {
        cut(&stage, PASSING)?;
    }
    Ok(stage)
}

fn qcow(lab: &Lab, count: u32) -> Result<Qcow> {
    let image = Qcow::new(lab.path(&format!("{count}.qcow2")), BYTES)?;
    for id in 2..=count {
        image.snapshot(&format!("s{id}"))?;
        image.bench(Way::Write, 1, 4096, BLOCK * STRIDE, BETWEEN)?;
    }
    if count > 0 {
        image.snapshot("passing")?;
    }
    Ok(image)
}

fn cut(stage: &Stage, copy: ThinId) -> Result<()> {
    let origin = ThinId(1);
    let hold = stage.store.hold(&[origin], LEASE)?;
    let cut = stage.store.cut(&hold, &[Snapshot { origin, copy }])?;
    drop(hold);
    Ok(stage.store.wait_durable(&cut)?)
}

/// All blocks are shared again with one snapshot, and as many snapshots stand as before.
fn share_anew(stage: &Stage) -> Result<()> {
    stage.store.delete(PASSING)?;
    cut(stage, PASSING)
}

/// One pass over all blocks, `len` bytes at the start of each.
fn pass(depth: usize, len: u64) -> Work {
    let load = Load { backend: Backend::Auto, depth, way: Way::Write, len, limit: Limit::Count(BLOCKS) };
    Work { load, order: Order::Scattered, span: BYTES }
}

fn shared_pass(lab: &Lab, stage: &Stage, work: Work) -> Result<Outcome> {
    share_anew(stage)?;
    alone(&stage.luns[0], work, &lab.workers)
}

fn first_touch(lab: &Lab, report: &mut Report, depth: usize, stages: &[Stage], qcows: &[Qcow]) -> Result<()> {
    let ours = stages[1..].iter();
    let ours = ours.map(|stage| Contender::new("pool", move || shared_pass(lab, stage, pass(depth, 4096))));
    let theirs = qcows.iter().map(|image| Contender::new("qcow2", move || qcow_pass(image, depth)));
    let series = alternate(lab.rounds, 1, &mut ours.chain(theirs).collect::<Vec<_>>())?;
    let (ours, theirs) = series.split_at(stages.len() - 1);
    for (i, (series, count)) in ours.iter().zip(&COUNTS[1..]).enumerate() {
        let case = format!("4 KiB first touch, {count} snapshots, QD {depth}");
        let line = match theirs.get(i) {
            Some(theirs) => Line::rates(2, case, series, "qcow2", theirs).goal(Goal::RatioAtLeast(1.0)),
            None => Line::of(2, case, series),
        };
        report.add(&Line { cost: line.cost.map(|(own, _)| (own, None)), ..line })?;
    }
    flat(report, "4 KiB first touch", depth, ours, &COUNTS[1..])
}

fn qcow_pass(image: &Qcow, depth: usize) -> Result<Outcome> {
    image.delete("passing")?;
    image.snapshot("passing")?;
    qcow_bench(image, Way::Write, depth, 4096, BLOCK * STRIDE, BLOCKS)
}

fn qcow_bench(image: &Qcow, way: Way, depth: usize, len: u64, step: u64, count: u64) -> Result<Outcome> {
    let seconds = image.bench(way, depth, len, step, count)?;
    Ok(Outcome { rate: count as f64 / seconds, ..Outcome::default() })
}

fn whole_blocks(lab: &Lab, report: &mut Report, depth: usize, stages: &[Stage]) -> Result<()> {
    let (raw, work) = (lab.raw("raw", BYTES)?, pass(depth, BLOCK));
    let mut contenders: Vec<_> = stages
        .iter()
        .zip(COUNTS)
        .map(|(stage, count)| {
            Contender::new("pool", move || match count {
                0 => alone(&stage.luns[0], work, &lab.workers),
                _ => shared_pass(lab, stage, work),
            })
        })
        .collect();
    contenders.push(Contender::new("raw file's hole", || hole_pass(lab, &raw, work)));
    let series = alternate(lab.rounds, 1, &mut contenders)?;
    let (series, hole) = series.split_at(stages.len());
    against_none(report, "64 KiB first pass", depth, series, 0.5)?;
    let case = format!("64 KiB first pass, 1 snapshot, QD {depth}");
    report.add(&Line::rates(2, case, &series[1], "raw file's hole", &hole[0]))
}

/// The same pass over a plain file without space: what the file system takes for giving each block its space.
fn hole_pass(lab: &Lab, raw: &Raw, work: Work) -> Result<Outcome> {
    use rustix::fs::{FallocateFlags, fallocate};
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&*raw.file, punch, 0, BYTES).context("punch the raw file")?;
    alone(raw, work, &lab.workers)
}

fn settled(lab: &Lab, report: &mut Report, depth: usize, stages: &[Stage], qcows: &[Qcow]) -> Result<()> {
    for stage in stages {
        alone(&stage.luns[0], pass(depth, BLOCK), &lab.workers)?;
    }
    for image in qcows {
        image.bench(Way::Write, depth, BLOCK, BLOCK, BLOCKS)?;
    }
    let raw = lab.raw("raw", BYTES)?;
    for (name, way, len, order) in KINDS {
        let work = lab.timed(Backend::Auto, depth, way, len, order, BYTES);
        let ours = stages.iter();
        let ours =
            ours.map(|stage| Contender::new("pool", move || alone(&stage.luns[0], work, &lab.workers)));
        let file = [Contender::new("raw file", || alone(&raw, work, &lab.workers))];
        let (step, count) = if order == Order::Random { (QCOW_STEP, QCOW_SHORT) } else { (len, QCOW_LONG) };
        let theirs = qcows.iter();
        let theirs = theirs
            .map(|image| Contender::new("qcow2", move || qcow_bench(image, way, depth, len, step, count)));
        let mut contenders: Vec<_> = ours.chain(file).chain(theirs).collect();
        let series = alternate(lab.rounds, lab.slices, &mut contenders)?;
        let (ours, others) = series.split_at(stages.len());
        against_none(report, &format!("{name}, settled"), depth, ours, 0.95)?;
        for (place, count) in COUNTS.iter().enumerate() {
            let case = format!("{name}, settled, {count} snapshots, QD {depth}");
            let line = Line::rates(2, case.as_str(), &ours[place], "raw file", &others[0]);
            report.add(&if order == Order::Random { line.goal(GOAL) } else { line })?;
            if let Some(theirs) = others.get(1 + place) {
                let line = Line::rates(2, case, &ours[place], "qcow2", theirs);
                report.add(&Line { cost: None, ..line })?;
            }
        }
    }
    Ok(())
}

fn against_none(report: &mut Report, what: &str, depth: usize, series: &[Series], least: f64) -> Result<()> {
    for (ours, count) in series.iter().zip(COUNTS).skip(1) {
        let case = format!("{what}, {count} snapshots, QD {depth}");
        let line = Line::rates(2, case, ours, "no snapshot", &series[0]);
        report.add(&line.goal(Goal::RatioAtLeast(least)))?;
    }
    flat(report, what, depth, &series[1..], &COUNTS[1..])
}

/// The most snapshots against the least: nothing but noise may lie between.
fn flat(report: &mut Report, what: &str, depth: usize, series: &[Series], counts: &[u32]) -> Result<()> {
    let ([first, .., last], [least, .., most]) = (series, counts) else { return Ok(()) };
    let case = format!("{what}, {most} snapshots, flat, QD {depth}");
    let line = Line::rates(2, case, last, &format!("{least} snapshot"), first);
    report.add(&line.goal(Goal::RatioAtLeast(0.9)))
}
