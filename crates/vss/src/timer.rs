//! Every limit on time, each a row of one table: what it bounds, how long, where the number comes from, what happens.
//!
//! [`Limits`] holds the values that a creation runs with. A value is never above its row's ceiling and never zero.

use std::time::Duration;
use umbra_base::{
    ErrorCode,
    limits::{FREEZE_TO_THAW, HOLD_MAX},
};

/// A limit on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Timer {
    /// All writers' preparation.
    PrepareWriters,
    /// All providers' preparation.
    PrepareProviders,
    /// Start of the guard.
    ArmGuard,
    /// Sync of the file systems outside the window.
    Sync,
    /// Freeze of the writers of one level.
    FreezeWriters,
    /// From the order to freeze file systems until all are thawed.
    Hold,
    /// One provider's cut.
    Commit,
    /// All attestations.
    Attest,
    /// Thaw of the writers of one level.
    ThawWriters,
    /// From the order to freeze a writer until it is thawed; a writer may ask for less.
    FreezeToThaw,
    /// Durability, and the implicit import.
    AwaitDurable,
    /// Auto-recovery of all writers.
    PostSnapshot,
    /// After a failure: thaw of the file systems.
    UnwindRelease,
    /// After a failure: abort of the writers of one level.
    UnwindWriters,
    /// After a failure: discarding of the copies.
    UnwindProviders,
}

/// What happens when a limit has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The set fails with this code.
    Fail(ErrorCode),
    /// The set failed before; the unwinding notes it and goes on with the next part.
    GoOn(ErrorCode),
}

impl Expiry {
    /// The code of what ran out.
    pub fn code(self) -> ErrorCode {
        match self {
            Expiry::Fail(code) | Expiry::GoOn(code) => code,
        }
    }
}

/// A row of [`TIMERS`].
#[derive(Debug, Clone, Copy)]
pub struct TimerRow {
    /// Which limit.
    pub timer: Timer,
    /// Its value where nobody says otherwise.
    pub default: Duration,
    /// Its largest value.
    pub ceiling: Duration,
    /// Where the default comes from.
    pub source: &'static str,
    /// What happens when it runs out.
    pub expiry: Expiry,
}

const fn row(timer: Timer, default: u64, ceiling: u64, source: &'static str, expiry: Expiry) -> TimerRow {
    TimerRow {
        timer,
        default: Duration::from_secs(default),
        ceiling: Duration::from_secs(ceiling),
        source,
        expiry,
    }
}

/// Every limit, in the order of [`Timer`].
#[rustfmt::skip]
pub const TIMERS: [TimerRow; 15] = {
    use ErrorCode::*;
    use Expiry::{Fail, GoOn};
    let hold = HOLD_MAX.as_secs();
    let window = FREEZE_TO_THAW.as_secs();
    [
        row(Timer::PrepareWriters,   600, 3600, "a checkpoint of a large busy database; nothing is held meanwhile", Fail(WriterTimeout)),
        row(Timer::PrepareProviders,  60,  600, "space reservation in an array; its own lease is 30 s and renewed", Fail(TimedOut)),
        row(Timer::ArmGuard,          10,   60, "start of two processes and mlockall", Fail(GuardLost)),
        row(Timer::Sync,             120, 3600, "write-back of a host's dirty memory; nothing is held meanwhile", Fail(FlushWritesTimeout)),
        row(Timer::FreezeWriters,     20, window, "a third of freeze to thaw", Fail(WriterTimeout)),
        row(Timer::Hold,            hold, hold, "S2; VSS: the kernel drops the hold after 10 s", Fail(HoldWritesTimeout)),
        row(Timer::Commit,             5, hold, "half of the hold; VSS's goal is below 1 s", Fail(TimedOut)),
        row(Timer::Attest,             3, hold, "a query on an open connection and an ioctl", Fail(FreezeNotProven)),
        row(Timer::ThawWriters,       20, window, "a third of freeze to thaw", Fail(WriterTimeout)),
        row(Timer::FreezeToThaw,  window, window, "S2; VSS: 60 s, a writer may only lower it", Fail(WriterTimeout)),
        row(Timer::AwaitDurable,     120,  600, "one metadata commit and the attachment of the copies", Fail(TimedOut)),
        row(Timer::PostSnapshot,     600, 3600, "replay of a database's log in the copy; nothing is held meanwhile", Fail(WriterTimeout)),
        row(Timer::UnwindRelease,     10,   60, "as long as the hold: the guard has thawed by then, unless storage stalls", GoOn(HoldWritesTimeout)),
        row(Timer::UnwindWriters,     20,   60, "as the thaw", GoOn(WriterTimeout)),
        row(Timer::UnwindProviders,   30,  600, "the array's lease: it discards by itself then (S6)", GoOn(TimedOut)),
    ]
};

impl Timer {
    /// The row of this limit.
    pub fn row(self) -> &'static TimerRow {
        &TIMERS[self as usize]
    }
}

/// The values of one creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits([Duration; TIMERS.len()]);

impl Default for Limits {
    fn default() -> Self {
        Limits(TIMERS.map(|row| row.default))
    }
}

impl Limits {
    /// The value of `timer`.
    pub fn get(&self, timer: Timer) -> Duration {
        self.0[timer as usize]
    }

    /// These limits with another value for `timer`, brought between 1 ms and its ceiling.
    #[must_use]
    pub fn with(mut self, timer: Timer, value: Duration) -> Self {
        self.0[timer as usize] = value.clamp(Duration::from_millis(1), timer.row().ceiling);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (index, row) in TIMERS.iter().enumerate() {
            assert_eq!(row.timer as usize, index);
            assert!(row.default <= row.ceiling && !row.source.is_empty(), "{:?}", row.timer);
        }
    }

    #[test]
    fn no_limit_goes_above_its_ceiling_or_to_nothing() {
        let limits = Limits::default().with(Timer::Hold, Duration::from_secs(3600));
        assert_eq!(limits.get(Timer::Hold), HOLD_MAX);
        assert!(limits.with(Timer::Hold, Duration::ZERO).get(Timer::Hold) > Duration::ZERO);
    }
}
