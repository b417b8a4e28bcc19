//! The two clocks that the array reads, behind a trait, so that leases are tested in simulated time.

use crate::model::UnixNanos;
use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};
use umbra_base::Instant;

/// Where time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Boot time: leases and limits count on it, a suspend included.
    fn now(&self) -> Instant;
    /// Wall-clock time: only ever recorded, never compared with.
    fn unix(&self) -> UnixNanos;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(umbra_sys::clock::boottime_nanos())
    }

    fn unix(&self) -> UnixNanos {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}
