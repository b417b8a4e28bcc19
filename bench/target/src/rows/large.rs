//! Row 3: 1 MiB in sequence, QD 4: what the copies of data cost, and nothing else should.

use super::{WAYS, work};
use crate::{lab::Lab, placement::Placement};
use anyhow::Result;
use umbra_bench_common::{
    places::Order,
    report::{Goal, Line, Report},
};

const LEN: usize = 1 << 20;
const DEPTH: usize = 4;
const OF_FLOOR: f64 = 0.8;
const OF_TGT: f64 = 1.5;

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    for (name, way) in WAYS {
        let measured = lab.measure(work(way, LEN, DEPTH, 1, Order::Sequential), Placement::Apart)?;
        for (ours, form) in measured.ours.iter().zip(&lab.ours) {
            let case = format!("1 MiB sequential {name}, QD {DEPTH}, {}", form.name);
            let line = Line::rates(3, &case, ours, "floor", &measured.floor);
            report.add(&line.goal(Goal::RatioAtLeast(OF_FLOOR)))?;
            let Some(tgt) = &measured.tgt else { continue };
            report.add(&Line::rates(3, &case, ours, "tgt", tgt).goal(Goal::RatioAtLeast(OF_TGT)))?;
        }
    }
    Ok(())
}
