//! Bounds on what peers can make the driver hold; the protocol's own stand in `umbra_iscsi::limits`.
//!
//! Memory of one session at worst: solicited data (16 MiB) and unsolicited data (queue depth times the first burst, 9 MiB)
//! of writes, [`READ_BYTES`] in workers and as much again on its way out, [`OUTPUT_BYTES`], and [`WORKERS`] kept buffers.

use std::time::Duration;

/// Connections over TCP in all, those in login included.
pub const CONNECTIONS: usize = 1024;
/// Connections from one address; from the unix socket in all, which strangers on TCP therefore cannot crowd out.
pub const CONNECTIONS_PER_PEER: usize = 320;
/// Sessions of one initiator: a host has one for each LUN that it has attached.
pub const SESSIONS_PER_HOST: usize = umbra_base::limits::LUNS_PER_SET;
/// Commands that one session may have open.
pub const QUEUE_DEPTH: u32 = 128;
/// Threads that carry out the commands of one session; started as they are needed.
pub const WORKERS: usize = 8;
/// Stack of a worker, and of a connection's reader.
pub const STACK_BYTES: usize = 256 << 10;
/// Bytes that wait for a socket before commands of that session wait too.
pub const OUTPUT_BYTES: usize = 4 << 20;
/// Data that the running reads of one session may make together; a larger one runs alone.
pub const READ_BYTES: u64 = 8 << 20;
/// How long a peer may refuse to take bytes.
pub const SEND_TIME: Duration = Duration::from_secs(30);
/// How often limits on time are looked at while nothing is received.
pub const TICK: Duration = Duration::from_secs(1);
/// Bytes of one step of a long verify or WRITE SAME.
pub const CHUNK: usize = 1 << 20;
/// Buffer that a worker keeps between commands.
pub const KEPT_BUFFER: usize = 1 << 20;
