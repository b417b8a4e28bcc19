//! Row 8: one and two submitters, on one LUN and on two, beside the raw file: how the pool scales with cores.

use crate::{
    door::{Door, Raw, Way},
    lab::Lab,
    places::Order,
    report::{Goal, Line, Report},
    rounds::{Contender, Series, alternate},
    run::{Work, on_threads},
};
use anyhow::Result;
use umbra_ring::Backend;

/// Of each LUN.
const BYTES: u64 = 512 << 20;
const DEPTH: usize = 32;

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let stage = lab.stage(2, BYTES, 64 << 20)?;
    let whole = stage.raw()?;
    let raw = [whole.clone(), Raw { base: BYTES, ..whole }];
    for (name, way) in [("read", Way::Read), ("write in place", Way::Write)] {
        let work = lab.timed(Backend::Auto, DEPTH, way, 4096, Order::Random, BYTES);
        for luns in [1, 2] {
            let (ours, raw) = (&stage.luns[..luns], &raw[..luns]);
            let mut contenders = vec![
                contender(lab, ours, 1, work),
                contender(lab, ours, 2, work),
                contender(lab, raw, 1, work),
                contender(lab, raw, 2, work),
            ];
            let series = alternate(lab.rounds, lab.slices, &mut contenders)?;
            let case = format!("4 KiB random {name}, QD {DEPTH}, {luns} LUN(s)");
            lines(report, &case, &series)?;
        }
    }
    Ok(())
}

/// Thread `n` has the LUN `n`, as far as there are so many.
fn contender<'a, D: Door>(lab: &'a Lab, doors: &'a [D], threads: usize, work: Work) -> Contender<'a> {
    let doors: Vec<Vec<D>> = (0..threads).map(|at| vec![doors[at % doors.len()].clone()]).collect();
    Contender::new(format!("{threads} thread(s)"), move || on_threads(&doors, work, &lab.workers))
}

fn lines(report: &mut Report, case: &str, series: &[Series]) -> Result<()> {
    let [one, two, raw_one, raw_two] = series else { return Ok(()) };
    for (threads, ours, raw) in [(1, one, raw_one), (2, two, raw_two)] {
        let case = format!("{case}, {threads} thread(s)");
        report.add(&Line::rates(8, case, ours, "raw file", raw).goal(Goal::RatioAtLeast(0.9)))?;
    }
    let (ours, raws) = (two.over(one), raw_two.over(raw_one));
    let line = Line::new(8, format!("{case}, 2 threads to 1"), ours, "x");
    report.add(&line.beside("raw file", raws, ours / raws).goal(Goal::RatioAtLeast(0.9)))
}
