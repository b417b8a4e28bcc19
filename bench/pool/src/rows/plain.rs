//! Row 1: I/O on a volume that is all mapped and its own, beside the raw file through the same ring.

use crate::{
    door::{Raw, Way},
    lab::{Lab, Stage},
    places::Order,
    report::{Goal, Line, Report},
    rounds::{Contender, alternate},
    run::{Work, alone},
};
use anyhow::Result;
use umbra_ring::Backend;

const BYTES: u64 = 1 << 30;
/// Of I/O at random (design section 5 has none for what is in sequence).
pub(super) const GOAL: Goal = Goal::RatioAtLeast(0.9);
pub(super) const KINDS: [(&str, Way, u64, Order); 4] = [
    ("4 KiB random read", Way::Read, 4 << 10, Order::Random),
    ("4 KiB random write in place", Way::Write, 4 << 10, Order::Random),
    ("1 MiB sequential read", Way::Read, 1 << 20, Order::Sequential),
    ("1 MiB sequential write", Way::Write, 1 << 20, Order::Sequential),
];

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let stage = lab.stage(1, BYTES, 64 << 20)?;
    let raw = stage.raw()?;
    for backend in [Backend::Uring, Backend::Plain] {
        for (name, way, len, order) in KINDS {
            for depth in [1, 32] {
                let case = format!("{name}, QD {depth}, {backend}");
                let work = lab.timed(backend, depth, way, len, order, BYTES);
                let line = compare(lab, case, work, &stage, &raw)?;
                report.add(&if order == Order::Random { line.goal(GOAL) } else { line })?;
            }
        }
    }
    Ok(())
}

fn compare(lab: &Lab, case: String, work: Work, stage: &Stage, raw: &Raw) -> Result<Line> {
    let mut contenders = [
        Contender::new("pool", || alone(&stage.luns[0], work, &lab.workers)),
        Contender::new("raw", || alone(raw, work, &lab.workers)),
    ];
    let series = alternate(lab.rounds, lab.slices, &mut contenders)?;
    Ok(Line::rates(1, case, &series[0], "raw file", &series[1]))
}
