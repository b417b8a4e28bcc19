//! Contenders in turns, and what their rounds say together.
//!
//! On a machine that does other work too, a figure drifts from minute to minute. So every round runs every contender,
//! forwards and backwards in turns, and two contenders are compared by the median of their ratios within a round.

use crate::run::Outcome;
use anyhow::{Context, Result};

/// Something measured, once a round.
pub struct Contender<'a> {
    name: String,
    run: Box<dyn FnMut() -> Result<Outcome> + 'a>,
}

impl<'a> Contender<'a> {
    /// `run` does what has to be measured, and says what came of it.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result<Outcome> + 'a) -> Contender<'a> {
        Contender { name: name.into(), run: Box::new(run) }
    }
}

/// The rounds of one contender.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<Outcome>);

impl Series {
    /// Median of a figure.
    pub fn median(&self, figure: impl Fn(&Outcome) -> f64) -> f64 {
        median(self.0.iter().map(figure))
    }

    /// Median of its rates.
    pub fn rate(&self) -> f64 {
        self.median(|outcome| outcome.rate)
    }

    /// Median of the ratios of a figure to another's in the same rounds.
    pub fn ratio(&self, other: &Series, figure: impl Fn(&Outcome) -> f64) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(one, other)| figure(one) / figure(other)))
    }

    /// Of the rates.
    pub fn over(&self, other: &Series) -> f64 {
        self.ratio(other, |outcome| outcome.rate)
    }
}

/// Runs every contender once to warm up, then `rounds` times in turns. A round is `slices` short turns of each, summed
/// up: work beside ours then meets all contenders alike. The series are in the contenders' order.
pub fn alternate(rounds: usize, slices: usize, contenders: &mut [Contender<'_>]) -> Result<Vec<Series>> {
    let mut series = vec![Series::default(); contenders.len()];
    let mut is_forward = true;
    for round in 0..=rounds {
        let mut sums = vec![Vec::with_capacity(slices); contenders.len()];
        for _ in 0..if round == 0 { 1 } else { slices } {
            let mut turns: Vec<usize> = (0..contenders.len()).collect();
            if !is_forward {
                turns.reverse();
            }
            is_forward = !is_forward;
            for at in turns {
                let contender = &mut contenders[at];
                sums[at].push((contender.run)().with_context(|| contender.name.clone())?);
            }
        }
        if round > 0 {
            series.iter_mut().zip(sums).for_each(|(series, sum)| series.0.push(together(&sum)));
        }
    }
    Ok(series)
}

/// Slices of one time as one outcome.
fn together(slices: &[Outcome]) -> Outcome {
    let mean =
        |figure: fn(&Outcome) -> f64| slices.iter().map(figure).sum::<f64>() / slices.len().max(1) as f64;
    Outcome {
        rate: mean(|slice| slice.rate),
        cost: mean(|slice| slice.cost),
        refused: mean(|slice| slice.refused),
        own: mean(|slice| slice.own),
        machine: mean(|slice| slice.machine),
    }
}

/// The middle value; zero of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that a share `q` of the others does not exceed; zero of nothing.
pub fn quantile(values: impl IntoIterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * q).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rate: f64) -> Outcome {
        Outcome { rate, ..Outcome::default() }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios() {
        let (one, other) =
            (Series(vec![at(8.0), at(1.0), at(9.0)]), Series(vec![at(10.0), at(2.0), at(9.0)]));
        assert_eq!(one.over(&other), 0.8);
        assert_eq!(one.rate(), 8.0);
    }

    #[test]
    fn contenders_take_turns_and_the_first_round_does_not_count() {
        let order = std::cell::RefCell::new(String::new());
        let told = |name: &'static str| {
            let order = &order;
            Contender::new(name, move || {
                order.borrow_mut().push_str(name);
                Ok(at(order.borrow().len() as f64))
            })
        };
        let series = alternate(2, 1, &mut [told("a"), told("b")]).unwrap();
        assert_eq!(*order.borrow(), "abbaab");
        assert_eq!(series[0].0.iter().map(|o| o.rate).collect::<Vec<_>>(), [4.0, 5.0]);
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values = || (1..=100).map(f64::from);
        assert_eq!((quantile(values(), 0.99), quantile(values(), 1.0), median([])), (99.0, 100.0, 0.0));
    }
}
