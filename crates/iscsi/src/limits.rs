//! Every bound on what a peer can make this crate hold, send or wait for.

use std::time::Duration;

/// Longest data segment before and during login: what RFC 7143 section 13.12 gives as the default.
pub const LOGIN_DATA_SEGMENT: usize = 8192;
/// Longest data segment that we declare to receive after login (MaxRecvDataSegmentLength).
pub const RECV_DATA_SEGMENT: usize = 256 << 10;
/// Longest data segment that a peer may make us send, whatever it declares.
pub const SEND_DATA_SEGMENT: usize = 256 << 10;
/// Room for additional header segments: what the one-byte TotalAHSLength can say, in bytes.
pub const AHS_BYTES: usize = 255 * 4;
/// Smallest receive buffer of a connection.
pub const RECV_BUFFER: usize = 64 << 10;
/// Bytes of a key name (RFC 7143 section 6.1: 63).
pub const TEXT_KEY_BYTES: usize = 63;
/// Bytes of a value: the longest legal is a large binary (CHAP response) in hex or base64.
pub const TEXT_VALUE_BYTES: usize = 8192;
/// Bytes of one request's text over all its PDUs (C bit).
pub const TEXT_BYTES: usize = 32 << 10;
/// Pairs in one request's text.
pub const TEXT_PAIRS: usize = 128;
/// Login, from the accepted connection to full feature phase.
pub const LOGIN_TIME: Duration = Duration::from_secs(15);

/// MaxBurstLength that we offer: data of one R2T or one Data-In sequence.
pub const MAX_BURST: u32 = 1 << 20;
/// FirstBurstLength that we offer: unsolicited data of one command, immediate data included.
pub const FIRST_BURST: u32 = 64 << 10;
/// R2Ts that one command may have open.
pub const OUTSTANDING_R2T: usize = 4;
/// Data of one write command.
pub const COMMAND_DATA: u32 = 8 << 20;
/// Immediate commands open beyond the command window.
pub const IMMEDIATE_COMMANDS: usize = 16;
/// Bytes of sense data (SPC-4 section 4.5).
pub const SENSE_BYTES: usize = 252;
/// Task management requests open.
pub const TASK_MANAGEMENT_REQUESTS: usize = 16;
/// PDUs of one connection that we reject before we end it.
pub const REJECTS: u32 = 64;
/// Keys of one login.
pub const LOGIN_KEYS: usize = 256;
/// PDUs of one login.
pub const LOGIN_PDUS: u32 = 64;
/// Silence after which the peer is pinged.
pub const PING_AFTER: Duration = Duration::from_secs(15);
/// Silence after the ping that ends the connection.
pub const PING_ANSWER: Duration = Duration::from_secs(15);
/// Time in which an initiator that owes data has to send some.
pub const DATA_TIME: Duration = Duration::from_secs(60);

/// Payload of one Data-In below which it is copied between its header and what follows, rather than named.
pub const COPIED_DATA: usize = 512;
/// Room for output that a connection keeps between transmissions.
pub const KEPT_OUTPUT: usize = 64 << 10;
