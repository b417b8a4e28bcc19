//! What is printed: one line for each case, its figure, what stands beside it, the goal and whether it is met.

use crate::rounds::Series;
use serde::Serialize;

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The ratio is this or more.
    RatioAtLeast(f64),
    /// The figure itself is this or less.
    AtMost(f64),
}

/// One case of a row.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Number of the row.
    pub row: u8,
    /// What was measured.
    pub case: String,
    /// Our figure.
    pub ours: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it is compared with: name and figure.
    pub beside: Option<(String, f64)>,
    /// Ours to that, round by round.
    pub ratio: Option<f64>,
    /// What is wanted.
    pub goal: Option<Goal>,
    /// Whether it is so.
    pub met: Option<bool>,
    /// Processor time of one of ours, in microseconds, and its ratio to what is beside.
    pub cost: Option<(f64, Option<f64>)>,
    /// Shares of all processors during ours: ours, and anybody's.
    pub busy: Option<(f64, f64)>,
    /// What else is worth knowing.
    pub note: String,
}

impl Line {
    /// A figure of a row.
    pub fn new(row: u8, case: impl Into<String>, ours: f64, unit: &'static str) -> Line {
        Line {
            row,
            case: case.into(),
            ours,
            unit,
            beside: None,
            ratio: None,
            goal: None,
            met: None,
            cost: None,
            busy: None,
            note: String::new(),
        }
    }

    /// What it is compared with, and the ratio.
    pub fn beside(mut self, name: impl Into<String>, figure: f64, ratio: f64) -> Line {
        self.beside = Some((name.into(), figure));
        self.ratio = Some(ratio);
        self.judged()
    }

    /// What is wanted.
    pub fn goal(mut self, goal: Goal) -> Line {
        self.goal = Some(goal);
        self.judged()
    }

    /// A contender's rate beside another's, with what each costs.
    pub fn rates(row: u8, case: impl Into<String>, ours: &Series, name: &str, other: &Series) -> Line {
        let mut line = Line::of(row, case, ours).beside(name, other.rate(), ours.over(other));
        line.cost = line.cost.map(|(cost, _)| (cost, Some(ours.ratio(other, |outcome| outcome.cost))));
        line
    }

    /// A contender's rate alone.
    pub fn of(row: u8, case: impl Into<String>, ours: &Series) -> Line {
        let mut line = Line::new(row, case, ours.rate(), "IO/s");
        line.cost = Some((ours.median(|outcome| outcome.cost), None));
        line.busy = Some((ours.median(|outcome| outcome.own), ours.median(|outcome| outcome.machine)));
        match ours.median(|outcome| outcome.refused) {
            0.0 => line,
            share => line.note(format!("{:.1} % by workers", share * 100.0)),
        }
    }

    /// What else is worth knowing.
    pub fn note(mut self, note: impl Into<String>) -> Line {
        self.note = note.into();
        self
    }

    fn judged(mut self) -> Line {
        self.met = match (self.goal, self.ratio) {
            (Some(Goal::RatioAtLeast(least)), Some(ratio)) => Some(ratio >= least),
            (Some(Goal::AtMost(most)), _) => Some(self.ours <= most),
            _ => None,
        };
        self
    }

    fn text(&self) -> String {
        let beside =
            self.beside.as_ref().map(|(name, figure)| format!("{} {name}", number(*figure, self.unit)));
        let ratio = self.ratio.map(|ratio| format!("{ratio:.2}"));
        let goal = self.goal.map(|goal| match goal {
            Goal::RatioAtLeast(least) => format!(">= {least}"),
            Goal::AtMost(most) => format!("<= {most} {}", self.unit),
        });
        let met = self.met.map(|met| if met { "met" } else { "MISSED" });
        let cost = self.cost.map(|(cost, ratio)| match ratio {
            Some(ratio) => format!("{cost:.2} us x{ratio:.2}"),
            None => format!("{cost:.2} us"),
        });
        let busy = self.busy.map(|(own, all)| format!("{:.0}/{:.0} %", own * 100.0, all * 100.0));
        format!(
            "{:>2}  {:<58} {:>14} {:<28} {:>6} {:>10} {:<6} {:>15} {:>10}  {}",
            self.row,
            self.case,
            format!("{} {}", number(self.ours, self.unit), self.unit),
            beside.unwrap_or_default(),
            ratio.unwrap_or_default(),
            goal.unwrap_or_default(),
            met.unwrap_or_default(),
            cost.unwrap_or_default(),
            busy.unwrap_or_default(),
            self.note
        )
        .trim_end()
        .to_owned()
    }
}

/// A figure with as many digits as say something.
fn number(figure: f64, unit: &str) -> String {
    match unit {
        "IO/s" | "MiB/s" => format!("{figure:.0}"),
        "x" => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

/// The head of the table.
fn head() -> String {
    format!(
        "{:>2}  {:<58} {:>14} {:<28} {:>6} {:>10} {:<6} {:>15} {:>10}",
        "", "case", "ours", "beside", "ratio", "goal", "", "cpu each", "cpu own/all"
    )
}

/// Prints lines as they come.
#[derive(Debug)]
pub struct Report {
    json: bool,
    lines: usize,
    missed: usize,
}

impl Report {
    /// A table, or an object for each line.
    pub fn new(json: bool) -> Report {
        Report { json, lines: 0, missed: 0 }
    }

    /// One more line.
    #[expect(clippy::print_stdout, reason = "this is the program's output")]
    pub fn add(&mut self, line: &Line) -> anyhow::Result<()> {
        match self.json {
            true => println!("{}", serde_json::to_string(line)?),
            false if self.lines == 0 => println!("{}\n{}", head(), line.text()),
            false => println!("{}", line.text()),
        }
        self.lines += 1;
        self.missed += usize::from(line.met == Some(false));
        Ok(())
    }

    /// How it went altogether, for people.
    pub fn end(&self) {
        tell(&format!("{} lines, {} goals missed", self.lines, self.missed));
    }
}

/// Says what is being done, beside the output.
#[expect(clippy::print_stderr, reason = "progress for people")]
pub fn tell(text: &str) {
    eprintln!("-- {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_whenever_it_and_its_figure_are_known() {
        let ratio = Line::new(1, "a", 5.0, "IO/s").goal(Goal::RatioAtLeast(0.9));
        assert_eq!(ratio.met, None);
        assert_eq!(ratio.clone().beside("raw", 6.0, 0.83).met, Some(false));
        assert_eq!(ratio.beside("raw", 5.0, 1.0).met, Some(true));
        assert_eq!(Line::new(3, "b", 1.2, "ms").goal(Goal::AtMost(1.0)).met, Some(false));
    }
}
