//! The floor's protocol: a header that says which bytes, and the bytes. No sessions, no windows, no status but the answer.
//!
//! ```text
//!   request   | 1 byte: 0 read, 1 write | 3 free | slot 4 | offset 8 | length 4 | free | data of a write
//!   answer    | 1 byte: the same        | 3 free | slot 4 |  free  8 | length 4 | free | data of a read
//! ```
//! Numbers are in the network's order. Headers have 48 bytes, so that as many bytes move as in iSCSI.

use crate::wire::{Answer, Header, Wanted, Way, Wire, set_word, word};
use anyhow::{Result, bail};

const SLOT: usize = 4;
const OFFSET: usize = 8;
const LENGTH: usize = 16;

/// The initiator's side.
#[derive(Debug)]
pub struct Floor;

impl Wire for Floor {
    fn template(&self, way: Way, slot: usize, len: usize) -> (Header, usize) {
        let header = Request { way, slot: slot as u32, offset: 0, len: len as u32 }.encode();
        (header, if way == Way::Write { len } else { 0 })
    }

    fn request(&mut self, header: &mut Header, offset: u64) {
        header[OFFSET..OFFSET + 8].copy_from_slice(&offset.to_be_bytes());
    }

    fn data_out(&self, _: &Wanted, _: u32, _: usize, _: usize, _: bool) -> Header {
        [0; 48] // Nothing is ever asked for.
    }

    fn segment(&self) -> usize {
        usize::MAX
    }

    fn answer(&mut self, header: &Header) -> Result<Answer> {
        match Request::decode(header) {
            Some(Request { way: Way::Read, slot, len, .. }) => {
                Ok(Answer::Data { slot: slot as usize, at: 0, len: len as usize, last: true })
            }
            Some(Request { way: Way::Write, slot, .. }) => Ok(Answer::Done { slot: slot as usize }),
            None => bail!("the floor answered {header:02x?}"),
        }
    }
}

/// A request, or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Reading or writing.
    pub way: Way,
    /// The initiator's name for it.
    pub slot: u32,
    /// Byte of the file.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
}

impl Request {
    /// As it stands on the wire.
    pub fn encode(&self) -> Header {
        let mut header = [0; 48];
        header[0] = u8::from(self.way == Way::Write);
        set_word(&mut header, SLOT, self.slot);
        header[OFFSET..OFFSET + 8].copy_from_slice(&self.offset.to_be_bytes());
        set_word(&mut header, LENGTH, self.len);
        header
    }

    /// From the wire.
    pub fn decode(header: &Header) -> Option<Request> {
        let way = match header[0] {
            0 => Way::Read,
            1 => Way::Write,
            _ => return None,
        };
        let offset = u64::from(word(header, OFFSET)) << 32 | u64::from(word(header, OFFSET + 4));
        Some(Request { way, slot: word(header, SLOT), offset, len: word(header, LENGTH) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_as_it_was_written() {
        let request = Request { way: Way::Write, slot: 7, offset: 5 << 33 | 1, len: 1 << 20 };
        assert_eq!(Request::decode(&request.encode()), Some(request));
        assert_eq!(Request::decode(&[9; 48]), None);
    }
}
