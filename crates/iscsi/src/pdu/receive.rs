//! Framing without a buffer: says what the next bytes of a stream are, so that whoever reads the socket can put each where
//! it belongs (RFC 7143 sections 11.2 and 13.1).
//!
//! ```text
//!   Header (48, then AHS and digest) --Whole--> Data (any portions) --> Trailer (padding, digest) --> Header ...
//!                                      \-- no data segment: Header at once
//! ```
//! What always holds: nothing is kept but lengths and a running checksum; a length above the bound is refused with the
//! header; after a wrong data digest the stream is still in step, after any other error it is not.

use super::bhs::Bhs;
use super::frame::{Digests, FrameError, Layout, check_header, digest_at};

/// What the next bytes of the stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    /// A header segment: `len` bytes in all, as far as is known by now (48 first).
    Header { len: usize },
    /// `left` bytes of the data segment.
    Data { left: usize },
    /// Padding and data digest: `len` bytes, 1 to 7.
    Trailer { len: usize },
}

/// What a header segment turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderStep<'a> {
    /// It is longer: ask [`Receiver::expects`] again.
    Longer,
    /// All of it, its digest right.
    Whole { bhs: Bhs, ahs: &'a [u8] },
}

/// Where a byte stream stands within its PDUs.
#[derive(Debug)]
pub struct Receiver {
    /// For the PDU under way, and for those after it.
    current: Mode,
    next: Mode,
    expects: Expects,
    opcode: u8,
    trailer: usize,
    /// CRC32C of the data segment so far.
    sum: u32,
}

#[derive(Debug, Clone, Copy)]
struct Mode {
    digests: Digests,
    max_data: usize,
}

const FIRST: Expects = Expects::Header { len: Bhs::LEN };

impl Receiver {
    /// At the start of a stream: no digests, data segments of up to `max_data` bytes.
    pub fn new(max_data: usize) -> Self {
        let mode = Mode { digests: Digests::default(), max_data };
        Receiver { current: mode, next: mode, expects: FIRST, opcode: 0, trailer: 0, sum: 0 }
    }

    /// From the next PDU on: these digests, this bound on data segments.
    pub fn set_mode(&mut self, digests: Digests, max_data: usize) {
        self.next = Mode { digests, max_data };
    }

    /// What the next bytes are.
    pub fn expects(&self) -> Expects {
        self.expects
    }

    /// Takes the first bytes of the header segment, as many as [`Receiver::expects`] asked for.
    pub fn header<'a>(&mut self, bytes: &'a [u8]) -> Result<HeaderStep<'a>, FrameError> {
        let (Expects::Header { len }, Some(bhs)) = (self.expects, bytes.first_chunk()) else {
            debug_assert!(false, "a header where {:?} was expected", self.expects);
            return Ok(HeaderStep::Longer);
        };
        let bhs = Bhs(*bhs);
        if len == Bhs::LEN {
            self.current = self.next;
        }
        let Mode { digests, max_data } = self.current;
        let layout = Layout::of(&bhs, digests);
        if bytes.len() < layout.data_start {
            self.expects = Expects::Header { len: layout.data_start };
            return Ok(HeaderStep::Longer);
        }
        check_header(&bhs, bytes, &layout, digests, max_data)?;
        (self.opcode, self.sum) = (bhs.opcode(), 0);
        self.trailer = layout.total - layout.data_end;
        self.expects = if bhs.data_len() > 0 { Expects::Data { left: bhs.data_len() } } else { FIRST };
        Ok(HeaderStep::Whole { bhs, ahs: &bytes[Bhs::LEN..layout.header_end] })
    }

    /// Takes the next bytes of the data segment, in any portions.
    pub fn data(&mut self, bytes: &[u8]) {
        let Expects::Data { left } = self.expects else {
            debug_assert!(bytes.is_empty(), "data where {:?} was expected", self.expects);
            return;
        };
        debug_assert!(bytes.len() <= left, "{} bytes where {left} were left", bytes.len());
        if self.current.digests.data {
            self.sum = crc32c::crc32c_append(self.sum, bytes);
        }
        self.expects = match (left.saturating_sub(bytes.len()), self.trailer) {
            (0, 0) => FIRST,
            (0, len) => Expects::Trailer { len },
            (left, _) => Expects::Data { left },
        };
    }

    /// Takes padding and digest, all of it.
    pub fn trailer(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        let Expects::Trailer { len } = self.expects else { return Ok(()) };
        debug_assert_eq!(bytes.len(), len);
        self.expects = FIRST;
        if !self.current.digests.data {
            return Ok(());
        }
        let (padding, _) = bytes.split_at(bytes.len().saturating_sub(4));
        let computed = crc32c::crc32c_append(self.sum, padding);
        let found = digest_at(bytes, padding.len());
        if found == computed {
            return Ok(());
        }
        Err(FrameError::DataDigest { opcode: self.opcode, found, computed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::write_pdu;

    const DIGESTS: Digests = Digests { header: true, data: true };

    /// Header, data and digests of all PDUs, the stream cut into portions of `step` bytes.
    fn receive(bytes: &[u8], digests: Digests, step: usize) -> Vec<(Bhs, Vec<u8>, Result<(), FrameError>)> {
        let mut receiver = Receiver::new(4096);
        receiver.set_mode(digests, 4096);
        let (mut list, mut held) = (Vec::new(), Vec::new());
        for portion in bytes.chunks(step) {
            let mut rest = portion;
            while !rest.is_empty() {
                let (Expects::Header { len } | Expects::Trailer { len } | Expects::Data { left: len }) =
                    receiver.expects();
                let held_now =
                    if matches!(receiver.expects(), Expects::Data { .. }) { 0 } else { held.len() };
                let (taken, after) = rest.split_at(rest.len().min(len - held_now));
                rest = after;
                if let Expects::Data { .. } = receiver.expects() {
                    receiver.data(taken);
                    let (_, data, _): &mut (Bhs, Vec<u8>, _) = list.last_mut().unwrap();
                    data.extend_from_slice(taken);
                    continue;
                }
                held.extend_from_slice(taken);
                if held.len() < len {
                    continue;
                }
                match receiver.expects() {
                    Expects::Header { .. } => match receiver.header(&held).unwrap() {
                        HeaderStep::Longer => continue,
                        HeaderStep::Whole { bhs, .. } => list.push((bhs, Vec::new(), Ok(()))),
                    },
                    _ => list.last_mut().unwrap().2 = receiver.trailer(&held),
                }
                held.clear();
            }
        }
        list
    }

    fn stream(digests: Digests) -> (Vec<u8>, Vec<usize>) {
        let sizes = vec![0, 1, 3, 4, 512, 4095, 4096, 0];
        let mut bytes = Vec::new();
        for (i, len) in sizes.iter().enumerate() {
            write_pdu(&mut bytes, Bhs::new(i as u8), &vec![i as u8; *len], digests);
        }
        (bytes, sizes)
    }

    #[test]
    fn any_portions_yield_the_same_pdus() {
        for digests in [Digests::default(), DIGESTS, Digests { header: true, data: false }] {
            let (bytes, sizes) = stream(digests);
            for step in [1, 7, 48, 49, 1000, bytes.len()] {
                let received = receive(&bytes, digests, step);
                assert_eq!(received.len(), sizes.len(), "{digests:?} {step}");
                for (i, (bhs, data, whole)) in received.iter().enumerate() {
                    assert_eq!((bhs.opcode(), data.len()), (i as u8, sizes[i]));
                    assert!(data.iter().all(|byte| *byte == i as u8));
                    assert_eq!(*whole, Ok(()), "{digests:?} {step} {i}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_data_digest_leaves_the_stream_in_step() {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, Bhs::new(5), &[1; 10], DIGESTS);
        bytes[55] ^= 1;
        write_pdu(&mut bytes, Bhs::new(6), &[2; 10], DIGESTS);
        let received = receive(&bytes, DIGESTS, 1);
        assert!(matches!(received[0].2, Err(FrameError::DataDigest { opcode: 5, .. })));
        assert_eq!((received[1].0.opcode(), &received[1].2), (6, &Ok(())));
    }

    #[test]
    fn padding_belongs_to_the_digest() {
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, Bhs::new(5), &[1; 10], DIGESTS);
        bytes[63] = 1;
        assert!(receive(&bytes, DIGESTS, 64)[0].2.is_err());
    }

    #[test]
    fn a_wrong_header_digest_and_too_much_data_end_the_stream() {
        let mut receiver = Receiver::new(512);
        let mut bhs = Bhs::new(5);
        bhs.set_data_len(513);
        assert!(matches!(receiver.header(&bhs.0), Err(FrameError::DataTooLong { len: 513, max: 512, .. })));
        receiver.set_mode(DIGESTS, 512);
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, Bhs::new(5), &[], DIGESTS);
        bytes[20] ^= 1;
        assert_eq!(receiver.header(&bytes[..48]), Ok(HeaderStep::Longer));
        assert_eq!(receiver.expects(), Expects::Header { len: 52 });
        assert!(matches!(receiver.header(&bytes), Err(FrameError::HeaderDigest { .. })));
    }

    #[test]
    fn additional_header_segments_come_with_their_header() {
        let mut receiver = Receiver::new(512);
        let mut bytes = [0; 56];
        bytes[4] = 2;
        bytes[48..].copy_from_slice(&[0, 5, 2, 0, 9, 9, 9, 9]);
        assert_eq!(receiver.header(&bytes[..48]), Ok(HeaderStep::Longer));
        assert_eq!(receiver.expects(), Expects::Header { len: 56 });
        let Ok(HeaderStep::Whole { ahs, .. }) = receiver.header(&bytes) else { panic!("not whole") };
        assert_eq!(ahs, &bytes[48..]);
    }

    #[test]
    fn a_new_mode_waits_for_the_next_pdu() {
        let mut receiver = Receiver::new(512);
        let mut bhs = Bhs::new(1);
        bhs.set_data_len(4);
        receiver.header(&bhs.0).unwrap();
        receiver.set_mode(DIGESTS, 512);
        receiver.data(&[1; 4]);
        assert_eq!(receiver.expects(), FIRST, "no digest after this one");
        assert_eq!(receiver.header(&bhs.0), Ok(HeaderStep::Longer));
        // A header that has begun keeps its digest.
        receiver.set_mode(Digests::default(), 512);
        let bytes = [bhs.0.as_slice(), &[0; 4]].concat();
        assert!(matches!(receiver.header(&bytes), Err(FrameError::HeaderDigest { .. })));
    }
}
