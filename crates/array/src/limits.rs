//! Bounds of the array, each with its reason. Bounds that other crates must know stand in `umbra_base::limits`.

use std::time::Duration;

/// LUNs in one catalogue. The catalogue lives in memory; 16 Ki records of about 1 KiB are 16 MiB.
pub const LUNS: usize = 16_384;
/// Hosts in one catalogue.
pub const HOSTS: usize = 1_024;
/// Sets in one catalogue, broken ones included. When full, the oldest broken set whose LUNs are all gone is forgotten.
pub const SETS: usize = 8_192;
/// LUN numbers of one host: 1 to 255, the peripheral addressing that every initiator knows (SAM-5 section 4.7.7).
pub const LUN_NUMBERS: u16 = 255;
/// Deleted LUNs and sets that are remembered, so that asking again says when it happened.
pub const GRAVES: usize = 4_096;
/// Largest device id of the pool format (24 bits).
pub const THIN_MAX: u32 = (1 << 24) - 1;
/// Cuts of the pool, of the 16 777 215 that its format has, that are kept for sets: hosts that copy by ROD tokens take
/// none when fewer are left.
pub const CUTS_FOR_SETS: u32 = 1 << 22;
/// Device ids reserved in one catalogue commit; at most so many are skipped by a crash or restart.
pub const THIN_RESERVE: u32 = 64;
/// LUN sizes are whole multiples of this: the physical block that LUNs report.
pub const SIZE_STEP: u64 = 4_096;
/// Bytes of a label's key and of its value.
pub const LABEL_BYTES: usize = 256;
/// Extents of one copy: a volume over so many pieces of LUNs.
pub const EXTENTS: usize = 256;
/// Free text that a host records with a set (device names, reasons, notes), each.
pub const TEXT_BYTES: usize = 4_096;
/// Steps of a timeline, writers of a copy, extra volumes, identity changes of a LUN.
pub const ITEMS: usize = 1_024;
/// Lease of a pending set, at most.
pub const LEASE_MAX: Duration = Duration::from_secs(600);
/// New sets are refused when more than so many hundredths of the metadata are used (A7). For data there are thresholds.
pub const METADATA_FULL_PERCENT: u64 = 95;
/// Devices that one search for room deletes at most: those of a whole set.
pub const BURIED_AT_ONCE: usize = 2 * umbra_base::limits::LUNS_PER_SET;
/// A search for room waits so long for a device that is being deleted already.
pub const BURIAL: Duration = Duration::from_secs(1);
/// Percents that thresholds of space may have.
pub const PERCENTS: std::ops::RangeInclusive<u8> = 1..=100;
/// The longest that a full pool may queue writes. Most initiators give a command up after 30 s.
pub const FULL_WAIT_MAX: Duration = Duration::from_secs(3600);
/// Memory for what is known of mappings, at least and at most.
pub const CACHE_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 30;
/// Bytes of a configuration file.
pub const CONFIG_BYTES: u64 = 1 << 20;
/// Items of one page of a list, unless fewer are asked for.
pub const PAGE: usize = 256;
/// Runs of one page of a comparison, unless fewer are asked for: 100 KiB on the wire.
pub const DIFFERENCES: usize = 4_096;
/// Looks at the pool for one page of a comparison, each of a bounded number of metadata blocks.
pub const LOOKS_PER_PAGE: u32 = 256;
/// The longest that a wait for a lease sleeps before it looks at the boot-time clock again: the sleep itself does not
/// count through a suspend.
pub const LEASE_LOOK: Duration = Duration::from_secs(1);
/// After a failed background deletion, so long until the next attempt.
pub const DELETE_RETRY: Duration = Duration::from_secs(5);

/// Management connections at the same time: one service per host, command lines, scripts.
pub const CONNECTIONS: usize = 128;
/// Requests at the same time on one connection.
pub const STREAMS: u32 = 64;
/// Bytes of one request: a set of 64 volumes over 256 LUNs fits many times.
pub const REQUEST_BYTES: usize = 4 << 20;
/// Bytes of the headers of one request.
pub const HEADER_BYTES: u32 = 16 << 10;
/// From connecting to the HTTP/2 preface; who sends none is cut off.
pub const PREFACE_LIMIT: Duration = Duration::from_secs(5);
/// A silent connection is asked for a sign of life after so long, and cut off when none comes in as long again.
pub const KEEPALIVE: Duration = Duration::from_secs(30);
/// On a clean stop, requests under way get so long to end.
pub const STOP_LIMIT: Duration = Duration::from_secs(15);
/// After that, peers get so long to read their answers and leave.
pub const STOP_GRACE: Duration = Duration::from_millis(300);
