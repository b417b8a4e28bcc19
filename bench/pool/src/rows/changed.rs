//! Row 7: the list of changed blocks when 1 % of 1 TiB was changed since a copy: one by one at random, and in runs.

use crate::{
    lab::Lab,
    places::BLOCK,
    processor::timed,
    report::{Goal, Line, Report},
    rounds::median,
};
use anyhow::{Result, ensure};
use umbra_store::{LunStore, ThinId};

const ORIGIN: ThinId = ThinId(1);
const COPY: ThinId = ThinId(1000);

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    for (name, run) in [("blocks at random", 1), ("runs of 4 MiB at random", 64)] {
        let image = lab.huge()?.copy(lab)?;
        let changed = image.change(COPY, 100, run)?;
        let stage = image.stage(lab)?;
        let seen: Vec<(f64, f64)> =
            (0..lab.rounds).map(|_| timed(|| list(&stage.store, changed))).collect::<Result<_>>()?;
        let [seconds, processor] = [|seen: &(f64, f64)| seen.0, |seen: &(f64, f64)| seen.1]
            .map(|figure| median(seen.iter().map(figure)));
        let line = Line::new(7, format!("changed blocks of 1 % of 1 TiB, {name}"), seconds, "s");
        let note = format!("{changed} blocks; {processor:.3} s of processor time");
        report.add(&line.goal(Goal::AtMost(1.0)).note(note))?;
    }
    Ok(())
}

/// Gets the whole list.
fn list(store: &impl LunStore, changed: u64) -> Result<()> {
    let (mut bytes, mut from) = (0, Some(0));
    while let Some(at) = from {
        let part = store.changed(COPY, ORIGIN, at)?;
        bytes += part.runs.iter().map(|run| run.len).sum::<u64>();
        from = part.next;
    }
    ensure!(bytes == changed * BLOCK, "{bytes} bytes were listed, {changed} blocks were changed");
    Ok(())
}
