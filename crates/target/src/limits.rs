//! Bounds on what peers can make the driver hold; the protocol's own stand in `umbra_iscsi::limits`.
//!
//! Memory: every shard has a pool of [`TargetConfig::memory`](crate::TargetConfig::memory) bytes, its share of the whole, and
//! never less than the largest command, for data on its way in and out; and one of [`FRAME_BYTES`] for headers and received
//! bytes. Of the first, the sessions of one host have together no more than is left for all others: half of it if
//! it is alone, a third if they are two ([`umbra_ring::BufPool::take_for`]); what would be more waits. Outside of the pools peers
//! can make grow: data of pings and text requests, for each connection one data segment while it is received
//! ([`umbra_iscsi::limits::RECV_DATA_SEGMENT`], 256 KiB) and what the protocol machine keeps of it; and the tables of
//! sessions and tasks. [`CONNECTIONS`], [`CONNECTIONS_PER_PEER`] and [`QUEUE_DEPTH`] bound them.

use std::time::Duration;

/// Connections over TCP in all, those in login included.
pub const CONNECTIONS: usize = 1024;
/// Connections from one address (of IPv6: from one network of 64 bits); from the unix socket in all, which strangers on TCP therefore cannot crowd out.
pub const CONNECTIONS_PER_PEER: usize = 320;
/// Connections that have not logged in yet, counted in the same way.
pub const LOGINS_PER_PEER: usize = 64;
/// Sessions of one initiator: a host has one for each LUN that it has attached.
pub const SESSIONS_PER_HOST: usize = umbra_base::limits::LUNS_PER_SET;
/// Commands that one session may have open.
pub const QUEUE_DEPTH: u32 = 128;
/// Operations of a shard at a time: every session's receive and send, and the I/O of its commands.
pub const OPERATIONS: u32 = 8192;
/// Of these, those that commands may not take: a receive and a send of every connection, listeners and the shard's own.
pub const SOCKET_OPERATIONS: usize = 2 * CONNECTIONS + 64;
/// Operations of one command at most: one for each page, and one more where it begins amid one.
pub const COMMAND_OPERATIONS: usize = umbra_ring::LARGEST / umbra_ring::PAGE + 1;
/// Threads for calls that change units: they may wait for room in a full pool, and then keep only each other waiting.
pub const CHANGERS: usize = 32;
/// Such calls of one session at a time.
pub const CALLS_PER_SESSION: usize = 8;
/// Threads for calls that take long and change no data: VERIFY, reads of what the direct door does not know, and changes of
/// reservations, which may wait for others' writes.
pub const READERS: usize = 8;
/// Threads for all other calls: flushes, questions to the directory.
pub const WORKERS: usize = 8;
/// Jobs that may wait for threads. Every command of every session might want one.
pub const JOBS: usize = 64 << 10;
/// Data of commands on its way in and out, in all, unless another size is asked for.
pub const MEMORY: usize = 512 << 20;
/// Bytes for headers and received bytes, of each shard.
pub const FRAME_BYTES: usize = 256 << 20;
/// Replies up to so many bytes go out among the headers: what is told once (sense data, results of a copy, the list of LUNs)
/// must not be lost for want of memory. Longer ones, which can be asked for again, come from the host's share.
pub const REPLY_BYTES: usize = 16 << 10;
/// A shard that waits keeps its processor for so long, at most, while waits are shorter: about what a host needs to send the
/// next command after an answer.
pub const BUSY_POLL: Duration = Duration::from_micros(50);
/// Bytes received at a time, at most.
pub const RECEIVE_BYTES: usize = 64 << 10;
/// A data segment that still lacks as many bytes is received into its command's buffer, without a copy.
pub const STRAIGHT_BYTES: usize = 16 << 10;
/// Bytes that wait for a socket before commands and requests of that session wait too.
pub const OUTPUT_BYTES: usize = 4 << 20;
/// The same while more than a third of [`FRAME_BYTES`] is in use: so much for each connection, and what each receives into,
/// are less than the rest.
pub const OUTPUT_BYTES_SCARCE: usize = 64 << 10;
/// Bytes given to a socket at a time: what a slow peer must take within [`SEND_TIME`].
pub const SEND_BYTES: usize = 1 << 20;
/// How long a peer may refuse to take what was given to its socket.
pub const SEND_TIME: Duration = Duration::from_secs(30);
/// How long the last words of a connection may take.
pub const LINGER: Duration = Duration::from_secs(5);
/// Seconds after which an initiator may come back to a target that stops. The default of DefaultTime2Wait (RFC 7143 section
/// 13.15), so that nobody comes later for being told: who came at once would find a target that restarts still closed, and
/// open-iscsi's next attempt is 3 s later.
pub const STOPPED_WAIT: u16 = 2;
/// How often limits on time are looked at.
pub const TICK: Duration = Duration::from_secs(1);
/// Bytes of one step of a long verify or WRITE SAME.
pub const CHUNK: usize = 1 << 20;
/// ROD tokens that live at a time, in all: as many as one list tells.
pub const TOKENS: usize = umbra_scsi::limits::TOKENS_LISTED;
/// ROD tokens of one host: each may keep a copy of a unit alive. A copy engine has a few under way, and those that it
/// has used make room.
pub const TOKENS_PER_HOST: usize = 64;
/// ROD tokens that have ended and are remembered, so that who presents one hears why.
pub const TOKENS_ENDED: usize = 1024;
/// Bytes of one step of a WRITE USING TOKEN: after each it is asked whether to go on.
pub const TOKEN_STEP: u64 = 64 << 20;
