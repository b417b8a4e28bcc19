//! The clocks that drivers hand to the cores.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on CLOCK_BOOTTIME: counts through a suspend, never jumps back.
pub fn boottime_nanos() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanos
}

/// Nanoseconds on CLOCK_MONOTONIC: stands still through a suspend; the difference to boot time shows one.
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanos
}
