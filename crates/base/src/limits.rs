//! Bounds that more than one crate must agree on. Bounds of one crate stand in that crate.

use std::time::Duration;

/// Longest time that writes may be held (VSS: the kernel drops the hold after 10 s; design S2).
pub const HOLD_MAX: Duration = Duration::from_secs(10);
/// Freeze to thaw, unless a writer asks for less (VSS default; design S2).
pub const FREEZE_TO_THAW: Duration = Duration::from_secs(60);
/// How long an unfinished set may live in the array without a sign of life (design S6).
pub const SET_LEASE: Duration = Duration::from_secs(30);
/// Volumes in one set. VSS: 64.
pub const VOLUMES_PER_SET: usize = 64;
/// LUNs in one set; a volume may span several.
pub const LUNS_PER_SET: usize = 256;
/// Bytes of a name (LUN, host, writer).
pub const NAME_BYTES: usize = 64;
/// Labels on a LUN or set.
pub const LABELS: usize = 32;
/// Bytes of an iSCSI name (RFC 7143 section 4.2.7.1).
pub const ISCSI_NAME_BYTES: usize = 223;
