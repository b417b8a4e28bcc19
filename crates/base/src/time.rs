//! Instants on an injected clock. The cores never read a clock: drivers hand in [`Instant`]s of CLOCK_BOOTTIME, which
//! counts through a suspend, so that no limit is stretched by one (design S5).

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A point on the boot-time clock, in nanoseconds since boot. Not a wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant {
    nanos: u64,
}

/// The instant at which a limit has run out.
pub type Deadline = Instant;

impl Instant {
    /// The instant `nanos` nanoseconds after boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant { nanos }
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// Time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, by: Duration) -> Instant {
        Instant { nanos: self.nanos.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)) }
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}
