//! How busy the processors were, by us and by everybody.
//!
//! A figure means something only beside this: a machine that is busy with other work slows all contenders, and two
//! contenders that both fill the processors are compared by what an operation costs, not by waiting.

use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// What was used at some moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    at: Instant,
    own: Duration,
    busy: u64,
    all: u64,
}

/// Shares of all processors, 0 to 1, between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Used by this process, its ring's kernel threads included; children are not.
    pub own: f64,
    /// Used by anyone.
    pub machine: f64,
    /// Processor time of this process, in seconds.
    pub own_seconds: f64,
}

impl Sample {
    /// Now.
    pub fn take() -> Result<Sample> {
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec.unsigned_abs(), own.tv_nsec.unsigned_abs() as u32);
        let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let (busy, all) = ticks(&text).context("/proc/stat does not begin with the sum of all processors")?;
        Ok(Sample { at: Instant::now(), own, busy, all })
    }

    /// What was used since this sample.
    pub fn since(&self) -> Result<Used> {
        let now = Sample::take()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let (wall, own) = (now.at - self.at, now.own - self.own);
        let (busy, all) = (now.busy.saturating_sub(self.busy), now.all.saturating_sub(self.all));
        Ok(Used {
            own: own.as_secs_f64() / wall.as_secs_f64().max(1e-9) / cores,
            machine: busy as f64 / all.max(1) as f64,
            own_seconds: own.as_secs_f64(),
        })
    }
}

/// Seconds that `work` took, and seconds of processor time that this process used meanwhile.
pub fn timed(work: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
    let before = Sample::take()?;
    work()?;
    Ok((before.at.elapsed().as_secs_f64(), before.since()?.own_seconds))
}

/// Ticks that were not idle, and all ticks, of the line that sums the processors up (proc(5)).
fn ticks(text: &str) -> Option<(u64, u64)> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; the guests' are in user already.
    let all: u64 = ticks.iter().take(8).sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((all - idle, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_ticks_are_not_busy() {
        assert_eq!(ticks("cpu  10 1 5 70 4 2 3 5 9 9\ncpu0 1 2\n"), Some((26, 100)));
        assert_eq!(ticks("intr 1 2 3"), None);
    }
}
