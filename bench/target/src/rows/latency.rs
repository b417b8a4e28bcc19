//! Row 2: 4 KiB at random, one request at a time: how long it takes.

use super::{WAYS, work};
use crate::{lab::Lab, placement::Placement};
use anyhow::Result;
use umbra_bench_common::{
    places::Order,
    report::{Goal, Line, Report},
    rounds::Series,
};

const LEN: usize = 4 << 10;
/// Of tgt's time.
const OF_TGT: f64 = 0.7;
const PLACES: [(&str, Placement); 2] = [("one core", Placement::Together), ("two cores", Placement::Apart)];

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    for (name, way) in WAYS {
        for (place, placement) in PLACES {
            let measured = lab.measure(work(way, LEN, 1, 1, Order::Random), placement)?;
            for (ours, form) in measured.ours.iter().zip(&lab.ours) {
                let case = format!("4 KiB random {name}, QD 1, {place}: each, {}", form.name);
                report.add(&beside(&case, ours, "floor", &measured.floor))?;
                let Some(tgt) = &measured.tgt else { continue };
                let most = (microseconds(tgt) * OF_TGT * 10.0).round() / 10.0;
                report.add(&beside(&case, ours, "tgt", tgt).goal(Goal::AtMost(most)))?;
            }
        }
    }
    Ok(())
}

fn microseconds(series: &Series) -> f64 {
    1e6 / series.rate()
}

/// Times instead of rates.
fn beside(case: &str, ours: &Series, name: &str, other: &Series) -> Line {
    let rates = Line::rates(2, case, ours, name, other);
    let line =
        Line::new(2, case, microseconds(ours), "us").beside(name, microseconds(other), other.over(ours));
    Line { cost: rates.cost, busy: rates.busy, ..line }
}
