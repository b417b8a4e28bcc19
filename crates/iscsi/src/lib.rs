//! iSCSI (RFC 7143) as pure logic: bytes in, bytes out. No socket, clock, thread or random number is touched here;
//! drivers (`umbra-target`, `umbra-host`) hand in bytes, instants and challenges, and carry out what comes back.
//!
//! ```text
//!   target:     bytes -> pdu::Receiver -> target::Connection (headers, where payload goes) -> transmit: bytes, ranges of payload
//!   initiator:  bytes -> pdu::FrameReader -> initiator::Session -> bytes
//!   pdu: typed headers    pdu::text: key=value lists of login and text PDUs    limits: every bound, by name
//! ```

#![forbid(unsafe_code)]

pub mod chap;
pub mod initiator;
pub mod limits;
pub mod pdu;
pub mod target;
