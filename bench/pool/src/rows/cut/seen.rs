//! What the cuts of one contender have shown, and the lines that say it.

use crate::{
    report::{Goal, Line, Report},
    rounds::{median, quantile},
};
use anyhow::Result;

/// Quantiles that are told. With so few cuts in a round its p99 is the longest.
const TOLD: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// A figure for each cut, round by round, in milliseconds.
///
/// A quantile of it is that of the median round. On a shared machine a pause of the scheduler, of 10 ms or 100, meets one cut
/// in some hundred, whoever cuts; over all rounds together that pause would be the p99 of everybody.
#[derive(Debug, Default)]
pub struct Figure(Vec<Vec<f64>>);

impl Figure {
    /// Begins a round.
    pub fn begin(&mut self) {
        self.0.push(Vec::new());
    }

    /// Adds to the round.
    pub fn push(&mut self, value: f64) {
        if let Some(round) = self.0.last_mut() {
            round.push(value);
        }
    }

    fn by_round(&self, q: f64) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().map(move |round| quantile(round.iter().copied(), q))
    }

    /// Of the median round.
    pub fn at(&self, q: f64) -> f64 {
        median(self.by_round(q))
    }

    /// How much more than another's, round by round.
    fn above(&self, other: &Figure, q: f64) -> f64 {
        median(self.by_round(q).zip(other.by_round(q)).map(|(ours, theirs)| ours - theirs))
    }

    /// Of all rounds together.
    fn of_all(&self, q: f64) -> f64 {
        quantile(self.0.iter().flatten().copied(), q)
    }

    fn told(&self) -> String {
        TOLD.map(|(name, q)| format!("{name} {:.3}", self.at(q))).join(" ")
    }
}

/// What one contender has shown.
#[derive(Debug, Default)]
pub struct Seen {
    /// Length of each hold, from the call to the release.
    pub holds: Figure,
    /// Of it, the cut itself, where that can be told.
    pub cuts: Figure,
    /// Longest extra delay at each cut.
    pub extra: Figure,
    /// The same at moments without one.
    pub quiet: Figure,
    /// Of all writes, in and between the windows, in milliseconds.
    pub worst_write: f64,
    /// Of the flushes that followed the cuts.
    pub worst_flush: f64,
}

impl Seen {
    /// Begins a round.
    pub fn begin(&mut self) {
        for figure in [&mut self.holds, &mut self.cuts, &mut self.extra, &mut self.quiet] {
            figure.begin();
        }
    }

    /// How long the holds were.
    pub fn hold(&self, report: &mut Report, case: &str) -> Result<()> {
        let (holds, cut) = (self.holds.told(), self.cuts.at(0.5));
        let worst = format!("worst write {:.1}, worst flush {:.1}", self.worst_write, self.worst_flush);
        let line = Line::new(3, format!("{case}: hold, cut, release: p50"), self.holds.at(0.5), "ms");
        report.add(&line.note(match cut {
            0.0 => format!("{holds}; {worst}"),
            cut => format!("{holds}, the cut itself {cut:.3}; {worst}"),
        }))
    }

    /// The longest extra delays beside another's.
    pub fn beside(&self, report: &mut Report, case: &str, name: &str, other: &Seen) -> Result<()> {
        for (quantile, q) in TOLD {
            let [ours, theirs] = [self, other].map(|seen| seen.extra.at(q));
            let line = Line::new(3, format!("{case}: longest extra delay: {quantile}"), ours, "ms");
            let [all, others] = [self, other].map(|seen| seen.extra.of_all(q));
            let [quiet, others_quiet] = [self, other].map(|seen| seen.quiet.at(q));
            report.add(&line.beside(name, theirs, ours / theirs).note(format!(
                "over all rounds {all:.3}, {name} {others:.3}; without a cut {quiet:.3}, {name} {others_quiet:.3}"
            )))?;
        }
        Ok(())
    }

    /// The goal. A write of ours waits for the machine as well: for its scheduler, whose pauses on a shared one are
    /// longer than the goal, and for blocks to be copied, which row 2 judges. The floor's writes wait for just that, so
    /// what ours wait longer at the same quantile of the same round is what the pool adds: the length of the hold, the
    /// engine, the log, the commit that follows. A pool that holds too long shows whatever the machine does, and a pause
    /// of the machine does not.
    pub fn above(&self, report: &mut Report, case: &str, floor: &Seen) -> Result<()> {
        let [p50, p90, p99] = TOLD.map(|(_, q)| self.extra.above(&floor.extra, q));
        let line = Line::new(3, format!("{case}: above the floor: p99"), p99, "ms").goal(Goal::AtMost(1.0));
        report.add(&line.note(format!("p50 {p50:.3} p90 {p90:.3}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(rounds: &[&[f64]]) -> Figure {
        Figure(rounds.iter().map(|round| round.to_vec()).collect())
    }

    #[test]
    fn one_round_with_a_pause_does_not_count() {
        let floor = figure(&[&[1.0, 1.0, 2.0], &[1.0, 1.0, 2.0], &[1.0, 90.0, 2.0]]);
        let ours = figure(&[&[2.0, 2.0, 3.5], &[2.0, 2.0, 370.0], &[2.0, 2.0, 3.0]]);
        assert_eq!((ours.at(0.99), floor.at(0.99)), (3.5, 2.0));
        assert_eq!((ours.above(&floor, 0.5), ours.above(&floor, 0.99)), (1.0, 1.5));
        assert_eq!(ours.of_all(0.99), 370.0);
    }

    #[test]
    fn a_contender_whose_every_round_is_slow_shows() {
        let floor = figure(&[&[1.0, 2.0], &[1.0, 2.0], &[1.0, 90.0]]);
        let slow = figure(&[&[1.0, 9.0], &[1.0, 9.0], &[1.0, 9.0]]);
        assert_eq!(slow.above(&floor, 0.99), 7.0);
    }
}
