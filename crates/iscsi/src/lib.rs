//! iSCSI (RFC 7143) as pure logic: bytes in, bytes out. No socket, clock, thread or random number is touched here;
//! drivers (`umbra-target`, `umbra-host`) hand in bytes, instants and challenges, and carry out what comes back.
//!
//! ```text
//!   bytes -> pdu::FrameReader -> Frame { header, ahs, data } -> Request / Response (typed headers)
//!   typed header + data -> pdu::write_pdu -> bytes
//!   pdu::text: key=value lists of login and text PDUs        limits: every bound, by name
//! ```

#![forbid(unsafe_code)]

pub mod chap;
pub mod initiator;
pub mod limits;
pub mod pdu;
pub mod target;
