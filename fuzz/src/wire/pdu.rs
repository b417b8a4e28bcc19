//! Bytes of a connection, cut into PDUs in any portions, and everything that is read out of headers and texts.
//!
//! What always holds: where one cut differs from another, or our two cutters from each other, only in how many bytes they
//! were given at a time, nothing else differs; what was read and is written again is read as the same.

use arbitrary::Arbitrary;
use umbra_iscsi::chap;
use umbra_iscsi::limits::{AHS_BYTES, TEXT_PAIRS};
use umbra_iscsi::pdu::{
    Additional, Bhs, Digests, Expects, FrameError, FrameReader, HeaderStep, Lun, Receiver, Request, Response,
    TextList, write_pdu,
};

/// What is read.
#[derive(Debug, Arbitrary)]
pub enum Input<'a> {
    /// Any bytes as a stream.
    Stream { how: Cut, bytes: &'a [u8] },
    /// PDUs as a peer writes them, then a byte changed.
    Pdus { how: Cut, pdus: Vec<Pdu<'a>>, damage: Option<(u16, u8)> },
    /// A header, both ways.
    Header([u8; Bhs::LEN]),
    /// Additional header segments.
    Additional(&'a [u8]),
    /// The text of a login or text request.
    Text(&'a [u8]),
    /// A binary value in a text.
    Binary { text: &'a str, most: u16 },
}

/// How a stream is cut and judged.
#[derive(Debug, Arbitrary)]
pub struct Cut {
    header_digest: bool,
    data_digest: bool,
    /// Bound on data segments.
    most: u16,
    /// Bytes given at a time, in turn; 0 is all that is wanted.
    portions: Vec<u8>,
}

#[derive(Debug, Arbitrary)]
pub struct Pdu<'a> {
    header: [u8; Bhs::LEN],
    data: &'a [u8],
}

/// Reads.
pub fn run(input: Input<'_>) {
    match input {
        Input::Stream { how, bytes } => how.check(bytes),
        Input::Pdus { how, pdus, damage } => how.check(&how.stream(&pdus, damage)),
        Input::Header(bytes) => header(&Bhs(bytes)),
        Input::Additional(bytes) => drop(Additional::parse(bytes)),
        Input::Text(bytes) => text(bytes),
        Input::Binary { text, most } => binary(text, most.into()),
    }
}

/// A PDU, as it came off a stream.
#[derive(Debug, PartialEq, Eq)]
struct Cutting {
    header: Bhs,
    ahs: Vec<u8>,
    data: Vec<u8>,
}

/// What was cut off a stream, and why it ended, if it was not for want of bytes.
#[derive(Debug, PartialEq, Eq)]
struct Cuttings(Vec<Cutting>, Option<FrameError>);

impl Cut {
    fn digests(&self) -> Digests {
        Digests { header: self.header_digest, data: self.data_digest }
    }

    fn stream(&self, pdus: &[Pdu<'_>], damage: Option<(u16, u8)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for pdu in pdus {
            let mut header = Bhs(pdu.header);
            header.0[4] = 0;
            write_pdu(&mut bytes, header, pdu.data, self.digests());
        }
        if let Some((at, change)) = damage
            && !bytes.is_empty()
        {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= change;
        }
        bytes
    }

    fn check(&self, bytes: &[u8]) {
        let whole = self.receiver(bytes, &[]);
        assert_eq!(self.receiver(bytes, &self.portions), whole, "in other portions");
        assert_eq!(self.frames(bytes), whole, "by the reader with a buffer");
        whole.0.iter().for_each(|pdu| header(&pdu.header));
    }

    /// By the receiver without a buffer. A wrong data digest ends the stream here as it does for the other one.
    fn receiver(&self, bytes: &[u8], portions: &[u8]) -> Cuttings {
        let mut receiver = Receiver::new(self.most.into());
        receiver.set_mode(self.digests(), self.most.into());
        let mut stream = Portions { bytes, sizes: portions, turn: 0 };
        let mut cuttings: Vec<Cutting> = Vec::new();
        let mut data_is_whole = true;
        loop {
            let step = match receiver.expects() {
                Expects::Header { len } => match stream.peek(len) {
                    Some(bytes) => match receiver.header(bytes) {
                        Ok(HeaderStep::Longer) => {
                            let Expects::Header { len: longer } = receiver.expects() else { panic!() };
                            assert!(longer > len && longer <= Bhs::LEN + AHS_BYTES + 4);
                            continue;
                        }
                        Ok(HeaderStep::Whole { bhs: header, ahs }) => {
                            let ahs = ahs.to_vec();
                            cuttings.push(Cutting { header, ahs, data: Vec::new() });
                            stream.skip(len);
                            data_is_whole = header.data_len() == 0;
                            Ok(())
                        }
                        Err(error) => Err(error),
                    },
                    None => break,
                },
                Expects::Data { left } => match stream.take(left) {
                    [] => break,
                    portion => {
                        receiver.data(portion);
                        cuttings.last_mut().expect("its header came").data.extend_from_slice(portion);
                        Ok(())
                    }
                },
                Expects::Trailer { len } => match stream.peek(len) {
                    Some(bytes) => {
                        let sum = receiver.trailer(bytes);
                        stream.skip(len);
                        sum
                    }
                    None => break,
                },
            };
            data_is_whole |= matches!(receiver.expects(), Expects::Header { .. });
            if let Err(error) = step {
                if matches!(error, FrameError::DataDigest { .. }) {
                    cuttings.pop();
                }
                return Cuttings(cuttings, Some(error));
            }
        }
        if !data_is_whole {
            cuttings.pop();
        }
        Cuttings(cuttings, None)
    }

    /// By the reader that keeps the bytes.
    fn frames(&self, bytes: &[u8]) -> Cuttings {
        let mut reader = FrameReader::new(self.most.into());
        reader.set_mode(self.digests(), self.most.into());
        let mut cuttings = Vec::new();
        let mut stream = Portions { bytes, sizes: &self.portions, turn: 0 };
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => cuttings.push(Cutting {
                    header: frame.header,
                    ahs: frame.ahs.to_vec(),
                    data: frame.data.to_vec(),
                }),
                Err(error) => return Cuttings(cuttings, Some(error)),
                Ok(None) => match stream.take(usize::MAX) {
                    [] => return Cuttings(cuttings, None),
                    portion => reader.receive(portion),
                },
            }
        }
    }
}

/// A stream that is given out in portions of these sizes, in turn.
struct Portions<'a> {
    bytes: &'a [u8],
    sizes: &'a [u8],
    turn: usize,
}

impl<'a> Portions<'a> {
    /// So many bytes, if there are as many; they stay.
    fn peek(&self, len: usize) -> Option<&'a [u8]> {
        self.bytes.get(..len)
    }

    fn skip(&mut self, len: usize) {
        self.bytes = &self.bytes[len..];
    }

    /// The next portion, at most so many bytes.
    fn take(&mut self, most: usize) -> &'a [u8] {
        let size = self.sizes.get(self.turn % self.sizes.len().max(1)).map_or(0, |size| usize::from(*size));
        self.turn += 1;
        let len = if size == 0 { most } else { size.min(most) };
        let (portion, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        portion
    }
}

fn header(bhs: &Bhs) {
    if let Some(request) = Request::parse(bhs) {
        assert_eq!(Request::parse(&request.build()), Some(request));
    }
    if let Some(response) = Response::parse(bhs) {
        assert_eq!(Response::parse(&response.build()), Some(response));
    }
    let field: [u8; 8] = bhs.0[8..16].try_into().expect("eight bytes");
    if let Some(number) = Lun(u64::from_be_bytes(field)).number() {
        assert_eq!(Lun::from_number(number).and_then(|lun| lun.number()), Some(number));
    }
}

fn text(bytes: &[u8]) {
    let Ok(list) = TextList::parse(bytes) else { return };
    assert!(list.len() <= TEXT_PAIRS);
    assert_eq!(TextList::parse(&list.encode()).as_ref(), Ok(&list));
    for (key, _) in list.iter() {
        assert!(list.get(key).is_some());
    }
    let mut keys: Vec<&str> = list.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(list.has_duplicates(), keys.len() < list.len());
}

fn binary(text: &str, most: usize) {
    if let Some(bytes) = chap::decode_binary(text, most) {
        assert!(bytes.len() <= most);
        assert_eq!(chap::decode_binary(&chap::encode_binary(&bytes), most), Some(bytes));
    }
}
