//! Bounds of the service: everything that comes from outside has one.

use std::time::Duration;

/// Results of finished creations that are kept for a repeated question (P2). A result is some kilobytes; a requester
/// asks again within seconds, and this many sets are a busy host's day.
pub const OPERATIONS_KEPT: usize = 256;
/// Bytes of a configuration file.
pub const CONFIG_BYTES: u64 = 1 << 20;
/// Bytes of a path from a request (PATH_MAX).
pub const PATH_BYTES: usize = 4096;
/// Records asked for in one page of a list.
pub const PAGE: u32 = 200;
/// Pages followed before a list is taken for endless.
pub const PAGES: usize = 10_000;
/// Progress events waiting for a slow requester; the creation never waits for one.
pub const EVENTS: usize = 1024;
/// Longest call of the array that is not the cut: it may wait for a flush of the pool.
pub const ARRAY_CALL: Duration = Duration::from_secs(60);
/// How often a device that is in use is asked for again: whoever looks at all devices has each open for milliseconds.
pub const IN_USE_TRIES: usize = 10;
/// Pause between two of these.
pub const IN_USE_PAUSE: Duration = Duration::from_millis(100);
