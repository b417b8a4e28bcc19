//! Protocol data units: RFC 7143 section 11.
//!
//! A PDU is a basic header segment of 48 bytes, optional additional header segments, and a data segment. Here the
//! header is a typed value (one struct a PDU in [`request`] and [`response`], its layout written once as a table) and the
//! data segment is a slice beside it, so that data is never copied to be encoded or decoded.
//!
//! ```text
//!   byte 0: I bit, opcode    1-3: flags    4: AHS words    5-7: data length    8-15: LUN    16-19: task tag    20-47: by opcode
//! ```

mod ahs;
mod bhs;
mod frame;
mod lun;
mod receive;
pub mod request;
pub mod response;
#[cfg(test)]
mod tests;
pub mod text;

pub use ahs::Additional;
pub use bhs::{Bhs, RESERVED_TAG, opcode};
pub use frame::{Digests, Frame, FrameError, FrameReader, write_pdu};
pub(crate) use frame::{write_header, write_trailer};
pub use lun::Lun;
pub use receive::{Expects, HeaderStep, Receiver};
pub use request::Request;
pub use response::Response;
pub use text::{TextError, TextList};
