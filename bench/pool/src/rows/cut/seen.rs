//! What the cuts of one contender have shown, and the lines that say it.

use crate::{
    report::{Goal, Line, Report},
    rounds::quantile,
};
use anyhow::Result;

/// Quantiles that are told.
const TOLD: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// All in milliseconds.
#[derive(Debug, Default)]
pub struct Seen {
    /// Length of each hold, from the call to the release.
    pub holds: Vec<f64>,
    /// Of it, the cut itself.
    pub cuts: Vec<f64>,
    /// Longest extra delay at each cut.
    pub extra: Vec<f64>,
    /// The same at moments without one.
    pub quiet: Vec<f64>,
    /// Of all writes, in and between the windows.
    pub worst_write: f64,
    /// Of the flushes that followed the cuts.
    pub worst_flush: f64,
}

impl Seen {
    /// How long the holds were.
    pub fn hold(&self, report: &mut Report, case: &str) -> Result<()> {
        let cut = match self.cuts.is_empty() {
            true => String::new(),
            false => format!("; the cut itself {}", told(&self.cuts)),
        };
        let hold = quantile(self.holds.clone(), 0.5);
        report.add(&Line::new(3, format!("{case}: hold, cut, release: p50"), hold, "ms").note(format!(
            "{}{cut}; worst write {:.1}, worst flush {:.1}",
            told(&self.holds),
            self.worst_write,
            self.worst_flush
        )))
    }

    /// The longest extra delays beside another's, and what is said of them.
    pub fn beside(&self, report: &mut Report, case: &str, name: &str, other: &Seen) -> Result<()> {
        for (quantile_name, q) in TOLD {
            let [ours, theirs] = [self, other].map(|seen| quantile(seen.extra.clone(), q));
            let case = format!("{case}: longest extra delay: {quantile_name}");
            let line = Line::new(3, case, ours, "ms").beside(name, theirs, ours / theirs);
            let [own, others] = [self, other].map(|seen| quantile(seen.quiet.clone(), q));
            report
                .add(&line.note(format!("at moments as long without a cut {own:.3}, {name} {others:.3}")))?;
        }
        Ok(())
    }

    /// The goal. A write of ours waits for the machine as well: for its scheduler, whose pauses on a shared one are
    /// longer than the goal, and for blocks to be copied, which row 2 judges. The floor's writes wait for just that, so
    /// what ours wait longer at the same quantile is what the pool adds: the length of the hold, the engine, the log, the
    /// commit that follows. A pool that holds too long shows whatever the machine does, and a machine's pause does not.
    pub fn above(&self, report: &mut Report, case: &str, floor: &Seen) -> Result<()> {
        let above = |q| quantile(self.extra.clone(), q) - quantile(floor.extra.clone(), q);
        let case = format!("{case}: above the floor at p99");
        let line = Line::new(3, case, above(0.99), "ms").goal(Goal::AtMost(1.0));
        report.add(&line.note(format!("p50 {:.3} p90 {:.3}", above(0.5), above(0.9))))
    }
}

fn told(all: &[f64]) -> String {
    TOLD.map(|(name, q)| format!("{name} {:.3}", quantile(all.iter().copied(), q))).join(" ")
}
