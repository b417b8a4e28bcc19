//! Data that the initiator owes and does not send: commands that wait for it hold the driver's memory.
//!
//! What always holds: as long as any data comes, all of it may take its time (the queue of a slow line is long); an
//! initiator that owes data and sends none through a whole [`DATA_TIME`] is given up, even if it answers pings.

use super::event::CloseReason;
use crate::limits::DATA_TIME;
use umbra_base::Instant;

/// Looks at the session once every [`DATA_TIME`].
#[derive(Debug)]
pub(super) struct Stall {
    next: Instant,
    /// Whether data was owed at the last look, and none has come since.
    still: bool,
}

impl Stall {
    pub fn new(now: Instant) -> Self {
        Stall { next: now + DATA_TIME, still: false }
    }

    /// Data has come.
    pub fn moved(&mut self) {
        self.still = false;
    }

    pub fn deadline(&self) -> Instant {
        self.next
    }

    /// What time it is, and whether data is owed now.
    pub fn check(&mut self, now: Instant, owed: impl FnOnce() -> bool) -> Result<(), CloseReason> {
        if now < self.next {
            return Ok(());
        }
        let owed = owed();
        if owed && self.still {
            return Err(CloseReason::DataTimeout { seconds: DATA_TIME.as_secs() });
        }
        (self.next, self.still) = (now + DATA_TIME, owed);
        Ok(())
    }
}
