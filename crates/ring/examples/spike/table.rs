//! Rows taken in turns, and their medians.

use std::time::{Duration, Instant};

/// How often each row is taken.
const ROUNDS: usize = 7;
/// How long a row is taken for.
const TIME: Duration = Duration::from_millis(150);

/// A way of doing something, which says how many operations it did in about the given time, and how long it took.
pub type Row<'a> = (String, Box<dyn FnMut(Duration) -> (u64, Duration) + 'a>);

/// Takes the rows of a group in turns and prints operations per second, time per operation, and the ratio to the first.
pub fn measure(title: &str, rows: &mut [Row<'_>]) {
    let mut rates = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for ((_, run), rates) in rows.iter_mut().zip(&mut rates) {
            let (operations, time) = run(TIME);
            rates.push(operations as f64 / time.as_secs_f64());
        }
    }
    println!("\n{title:<42} {:>12} {:>10} {:>7}", "ops/s", "us/op", "ratio");
    let medians: Vec<f64> = rates.into_iter().map(median).collect();
    for ((name, _), rate) in rows.iter().zip(&medians) {
        println!("{name:<42} {rate:>12.0} {:>10.2} {:>7.2}", 1e6 / rate, rate / medians[0]);
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Calls `batch`, which says how many operations it did, until the time is over.
pub fn repeat(time: Duration, mut batch: impl FnMut() -> u64) -> (u64, Duration) {
    let begun = Instant::now();
    let mut operations = 0;
    while begun.elapsed() < time {
        operations += batch();
    }
    (operations, begun.elapsed())
}
