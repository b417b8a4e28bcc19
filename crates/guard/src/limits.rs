//! Bounds of this crate.

use std::time::Duration;

/// File systems in one guard; each costs a process. As many as volumes in a set.
pub const FILE_SYSTEMS: usize = umbra_base::limits::VOLUMES_PER_SET;
/// Undo commands in one guard; as many as writers in a set.
pub const UNDOS: usize = 64;
/// Bytes of a message between service and guard; a path has at most 4096, a command line is cut here.
pub const MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes of a record after its board: all paths and all commands.
pub const RECORD_BYTES: usize = 8 * 1024 * 1024;
/// What is kept of a program's output, for the error text.
pub const OUTPUT_BYTES: usize = 4096;
/// Longest time of an undo program; a service may give less.
pub const UNDO_LIMIT: Duration = Duration::from_secs(60);
/// How often deadlines are looked at. They are on the boot-time clock, which poll does not know, so that after a suspend
/// the thaw follows within this time.
pub const TICK: Duration = Duration::from_millis(50);
/// How much later than the primary a hand thaws by itself.
pub const HAND_GRACE: Duration = Duration::from_millis(100);
/// How much later than the primary the twin thaws.
pub const TWIN_GRACE: Duration = Duration::from_millis(200);
/// How long undo programs wait, at the end of the window, for file systems that do not thaw.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// How much later than the primary the twin runs undo programs.
pub const TWIN_UNDO_GRACE: Duration = Duration::from_secs(1);
/// How long the hands and the twin may take to be ready.
pub const READY: Duration = Duration::from_secs(5);
/// How long [`crate::recover`] waits for a guard that still lives to finish its work.
pub const RECOVER_WAIT: Duration = Duration::from_secs(5);
