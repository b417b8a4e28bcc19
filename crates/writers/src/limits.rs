//! Bounds of this crate.

use std::time::Duration;

/// Writers on a host: as many as can take part in one set.
pub const WRITERS: usize = umbra_vss::limits::WRITERS_PER_SET;
/// Bytes of a configuration file.
pub const CONFIG_BYTES: u64 = 64 * 1024;
/// Paths of one command writer.
pub const PATHS: usize = 256;
/// Words of a command line.
pub const ARGUMENTS: usize = 256;
/// Longest limit of a program that a configuration may set; the coordinator's own limits count besides.
pub const PROGRAM_LIMIT: Duration = Duration::from_secs(3600);
/// Limit of a program where the configuration sets none.
pub const PROGRAM_DEFAULT: Duration = Duration::from_secs(20);
/// What is kept of a program's output, for the error text.
pub const OUTPUT_BYTES: usize = 4096;
/// Limit of PostgreSQL's checkpoint where the configuration sets none: nothing is held meanwhile.
pub const CHECKPOINT_DEFAULT: Duration = Duration::from_secs(300);
/// Limit of a connection to a database, and of its first questions.
pub const CONNECT: Duration = Duration::from_secs(10);
/// How long what a failed program said last is waited for, where others keep its streams open.
pub const LAST_WORDS: Duration = Duration::from_millis(200);
