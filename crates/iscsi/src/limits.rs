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
