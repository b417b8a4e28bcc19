//! Every bound of this crate, by name.

use std::time::Duration;

/// Bytes of unflushed writes that an attachment keeps; at this many, writes wait for a flush (A2).
pub const JOURNAL_BYTES: usize = 64 << 20;
/// Bytes of unflushed writes at which the attachment flushes by itself.
pub const JOURNAL_FLUSH_AT: usize = 32 << 20;
/// What an entry of the journal counts beside its data.
pub const JOURNAL_ENTRY_BYTES: usize = 128;
/// Commands of one attachment on the wire at once.
pub const COMMANDS_IN_FLIGHT: usize = 64;
/// Longest read or write in one command.
pub const TRANSFER_BYTES: u32 = 1 << 20;
/// Longest range in one UNMAP or WRITE SAME, if the target does not say less.
pub const RANGE_BYTES: u64 = 1 << 30;
/// Times that one command is sent again for unit attentions; a target has few of them queued.
pub const ATTENTIONS: u32 = 64;
/// Times that one command is sent again after being aborted by the target.
pub const ABORTS: u32 = 8;
/// How long a busy or not yet ready target is asked again.
pub const BUSY_TIME: Duration = Duration::from_secs(60);
/// Pause before a busy target is asked again.
pub const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// First pause before a new connection; doubled at each failure up to [`RECONNECT_PAUSE_MAX`].
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause before a new connection.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Reconnects in a row that may end in a refusal (unknown host, unknown LUN) before the device fails: an array that
/// starts may answer before it knows everything again.
pub const REFUSALS: u32 = 20;
/// How long one attempt to connect may take.
pub const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Bytes of one line on a control socket.
pub const CONTROL_LINE_BYTES: usize = 64 << 10;
/// How long a new attachment may take until it is ready.
pub const START_TIME: Duration = Duration::from_secs(30);
/// How long a control request may take.
pub const CONTROL_TIME: Duration = Duration::from_secs(60);
/// How long a control request waits for the array itself (a flush, a look at the partition table).
pub const CALL_TIME: Duration = Duration::from_secs(20);
/// Control requests that are answered at once.
pub const CONTROL_REQUESTS: usize = 16;
/// Partitions of one disk that get a window.
pub const PARTITIONS: usize = 128;
/// Bytes of a tool's output that are kept for an error message.
pub const TOOL_OUTPUT_BYTES: usize = 64 << 10;
/// How deep stacked devices are followed (loop over file system over loop ...).
pub const STACK_DEPTH: usize = 16;
