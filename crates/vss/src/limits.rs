//! Bounds of this crate.

use std::time::Duration;

/// Writers in one set. Each costs a task or two per phase; double this and only the driver's tasks double.
pub const WRITERS_PER_SET: usize = 64;
/// Requesters that wait for their turn to create. More would wait for longer than anybody's patience.
pub const CREATIONS_WAITING: usize = 64;
/// How far the two clocks may drift apart in the window before it counts as a suspend. They are read one after the
/// other, so a scheduler's delay between the readings shows as drift; a real suspend takes longer than this.
pub const SUSPEND_TOLERANCE: Duration = Duration::from_millis(250);
