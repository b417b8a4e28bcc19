//! How long a shard looks for completions before it sleeps.
//!
//! To wake a thread that sleeps on another processor takes several microseconds, on a virtual machine more than a whole
//! request: a host that has one command under way at a time would wait for that with each. A shard whose waits are
//! short therefore looks for a while, and sleeps if nothing came. What always holds: a wait that nothing ends in time
//! closes the window, so that an idle shard costs nothing; and no wait looks for longer than the owner allows.

use std::time::Duration;

/// The first window is this part of the longest.
const FIRST: u32 = 4;

/// The time to look, learned from the waits before.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    window: Duration,
    longest: Duration,
}

impl BusyPoll {
    /// Looks for `longest` at most; for zero, never.
    pub fn new(longest: Duration) -> BusyPoll {
        BusyPoll { window: Duration::ZERO, longest }
    }

    /// Whether waits are of interest at all.
    pub fn is_wanted(&self) -> bool {
        !self.longest.is_zero()
    }

    /// How long to look now.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Something came after so long, looking and sleeping together; None: nothing came.
    pub fn waited(&mut self, time: Option<Duration>) {
        self.window = match time.filter(|time| *time <= self.longest) {
            Some(time) if time <= self.window => self.window,
            Some(_) => (self.window * 2).max(self.longest / FIRST).min(self.longest),
            None => Duration::ZERO,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(40);
    const TICK: Duration = Duration::from_nanos(1);

    fn after(waits: &[Duration]) -> Duration {
        let mut busy = BusyPoll::new(LONGEST);
        waits.iter().for_each(|time| busy.waited(Some(*time)));
        busy.window()
    }

    #[test]
    fn waits_that_looking_would_have_ended_open_the_window_up_to_the_longest() {
        assert_eq!(after(&[]), Duration::ZERO);
        assert_eq!(after(&[LONGEST]), LONGEST / 4);
        assert_eq!(after(&[LONGEST; 2]), LONGEST / 2);
        assert_eq!(after(&[LONGEST; 9]), LONGEST);
    }

    #[test]
    fn a_window_that_suffices_stays_as_it_is() {
        assert_eq!(after(&[LONGEST, LONGEST / 4]), LONGEST / 4);
        assert_eq!(after(&[LONGEST, LONGEST / 4 + TICK]), LONGEST / 2);
    }

    #[test]
    fn a_wait_that_looking_would_not_have_ended_closes_it() {
        assert_eq!(after(&[LONGEST, LONGEST, LONGEST + TICK]), Duration::ZERO);
        let mut busy = BusyPoll::new(LONGEST);
        [Some(LONGEST), None].into_iter().for_each(|time| busy.waited(time));
        assert_eq!(busy.window(), Duration::ZERO, "nothing came");
    }

    #[test]
    fn who_allows_nothing_gets_nothing() {
        let mut busy = BusyPoll::new(Duration::ZERO);
        busy.waited(Some(Duration::ZERO));
        busy.waited(Some(TICK));
        assert!(!busy.is_wanted() && busy.window().is_zero());
    }
}
