//! When each request began and ended, and what that says about moments in between.

use crate::{rounds::median, submit::Watch};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Requests that a record has room for: 64 MiB. What comes later is not recorded.
const MOST: usize = 4 << 20;
/// No request takes longer than this beyond the window in which it is looked for.
const TAIL: Duration = Duration::from_secs(2);

/// The record of one submitter, in nanoseconds since its clock's start.
pub struct Record {
    clock: Instant,
    stop: Arc<AtomicBool>,
    /// In the order of their ends.
    seen: Vec<Range<u64>>,
}

impl Record {
    /// An empty record; its submitter ends when `stop` is set.
    pub fn new(clock: Instant, stop: Arc<AtomicBool>) -> Record {
        Record { clock, stop, seen: Vec::with_capacity(MOST) }
    }

    /// The longest request that was under way at any moment of the window, in milliseconds; zero if there was none.
    pub fn longest(&self, window: &Range<Duration>) -> f64 {
        let [start, end] = [window.start, window.end].map(|time| time.as_nanos() as u64);
        let first = self.seen.partition_point(|request| request.end < start);
        let latest = end + TAIL.as_nanos() as u64;
        let near = self.seen[first..].iter().take_while(|request| request.end <= latest);
        let inside = near.filter(|request| request.start <= end);
        inside.map(|request| request.end - request.start).max().unwrap_or(0) as f64 / 1e6
    }

    /// The median of all, in milliseconds.
    pub fn median(&self) -> f64 {
        // One in so many is enough, and a prime one meets no rhythm.
        median(self.seen.iter().step_by(7).map(|request| (request.end - request.start) as f64 / 1e6))
    }
}

impl Watch for Record {
    fn begin(&mut self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn end(&mut self, begun: u64) {
        if self.seen.len() < MOST {
            let now = self.clock.elapsed().as_nanos() as u64;
            self.seen.push(begun..now);
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_a_window_may_begin_before_and_end_after_it() {
        let ms = |from: u64, to: u64| from * 1_000_000..to * 1_000_000;
        let mut record = Record::new(Instant::now(), Arc::default());
        record.seen = vec![ms(0, 1), ms(1, 3), ms(2, 9), ms(8, 10), ms(10, 11)];
        let longest = |from, to| record.longest(&(Duration::from_millis(from)..Duration::from_millis(to)));
        assert_eq!((longest(4, 5), longest(0, 1), longest(10, 11), longest(20, 30)), (7.0, 2.0, 2.0, 0.0));
        assert_eq!(record.median(), 1.0);
    }
}
