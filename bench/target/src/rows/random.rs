//! Row 1: 4 KiB at random, QD 32, one session and four: rates, and what a request costs above the floor.

use super::{WAYS, work};
use crate::{lab::Lab, placement::Placement};
use anyhow::Result;
use umbra_bench_common::{
    places::Order,
    report::{Goal, Line, Report},
    rounds::Series,
};

const LEN: usize = 4 << 10;
const DEPTH: usize = 32;
/// Of the floor's rate, of tgt's, and of what tgt costs above the floor.
const OF_FLOOR: f64 = 0.7;
const OF_TGT: f64 = 2.5;
const OF_COST: f64 = 1.0 / 3.0;

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    for (name, way) in WAYS {
        for (sessions, placement) in [(1, Placement::Apart), (4, Placement::Free)] {
            let measured = lab.measure(work(way, LEN, DEPTH, sessions, Order::Random), placement)?;
            for (ours, form) in measured.ours.iter().zip(&lab.ours) {
                let case = format!("4 KiB random {name}, QD {DEPTH}, {sessions} session(s), {}", form.name);
                let line = Line::rates(1, &case, ours, "floor", &measured.floor);
                // The floor has a thread for each session: what one shard alone does beside that says how far a core goes.
                let fair = form.shards >= sessions.min(2);
                report.add(&if fair { line.goal(Goal::RatioAtLeast(OF_FLOOR)) } else { line })?;
                let Some(tgt) = &measured.tgt else { continue };
                report.add(&Line::rates(1, &case, ours, "tgt", tgt).goal(Goal::RatioAtLeast(OF_TGT)))?;
                report.add(&above_floor(&case, ours, &measured.floor, tgt))?;
            }
        }
    }
    Ok(())
}

/// What the protocol costs: processor time of a request beyond the floor's.
fn above_floor(case: &str, ours: &Series, floor: &Series, tgt: &Series) -> Line {
    let [ours, floor, tgt] = [ours, floor, tgt].map(|series| series.median(|outcome| outcome.cost));
    let (ours_above, tgt_above) = (ours - floor, tgt - floor);
    let most = (tgt_above * OF_COST * 100.0).round() / 100.0;
    Line::new(1, format!("{case}: cpu above the floor"), ours_above, "us")
        .beside("tgt", tgt_above, ours_above / tgt_above)
        .goal(Goal::AtMost(most))
        .note(format!("ours {ours:.2}, floor {floor:.2}, tgt {tgt:.2}"))
}
