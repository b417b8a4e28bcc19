//! Framing: a byte stream cut into PDUs, and PDUs written to one, with the optional CRC32C digests (RFC 7143
//! section 13.1) and padding to four bytes.
//!
//! ```text
//!   | header 48 | AHS 0..1020 | [header digest 4] | data 0..max | pad 0..3 | [data digest 4] |
//! ```
//! What always holds: the buffer never grows beyond one PDU of the agreed bound plus [`RECV_BUFFER`]; a length above the
//! bound is refused when the header is seen, before any of its data is kept.

use super::bhs::Bhs;
use crate::limits::RECV_BUFFER;

/// Which digests stand on a connection; chosen at login, in force after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digests {
    pub header: bool,
    pub data: bool,
}

/// Why a byte stream cannot be cut into PDUs. After any of these the stream is out of step and must end
/// (ErrorRecoveryLevel 0).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("data segment of {len} bytes in a PDU with opcode {opcode:#04x}, at most {max} are allowed")]
    DataTooLong { opcode: u8, len: usize, max: usize },
    #[error("header digest {found:#010x}, computed {computed:#010x}")]
    HeaderDigest { found: u32, computed: u32 },
    #[error("data digest {found:#010x}, computed {computed:#010x}, in a PDU with opcode {opcode:#04x}")]
    DataDigest { opcode: u8, found: u32, computed: u32 },
}

/// One PDU in the reader's buffer.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub header: Bhs,
    pub ahs: &'a [u8],
    pub data: &'a [u8],
}

/// Collects bytes and yields PDUs.
#[derive(Debug)]
pub struct FrameReader {
    buf: Vec<u8>,
    /// First byte not yet yielded, and one past the last received.
    start: usize,
    end: usize,
    digests: Digests,
    max_data: usize,
}

/// Where the parts of a PDU lie, from its first byte.
pub(super) struct Layout {
    pub header_end: usize,
    pub data_start: usize,
    pub data_end: usize,
    pad_end: usize,
    pub total: usize,
}

impl Layout {
    pub fn of(header: &Bhs, digests: Digests) -> Layout {
        let header_end = Bhs::LEN + header.ahs_len();
        let data_start = header_end + if digests.header { 4 } else { 0 };
        let data_end = data_start + header.data_len();
        let pad_end = data_start + header.data_len().next_multiple_of(4);
        let digest = if digests.data && header.data_len() > 0 { 4 } else { 0 };
        Layout { header_end, data_start, data_end, pad_end, total: pad_end + digest }
    }
}

impl FrameReader {
    /// A reader without digests that takes data segments of up to `max_data` bytes.
    pub fn new(max_data: usize) -> Self {
        FrameReader { buf: Vec::new(), start: 0, end: 0, digests: Digests::default(), max_data }
    }

    /// From the next PDU on: these digests, this bound on data segments.
    pub fn set_mode(&mut self, digests: Digests, max_data: usize) {
        self.digests = digests;
        self.max_data = max_data;
    }

    /// Adds received bytes.
    pub fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.filled(n);
            bytes = &bytes[n..];
        }
    }

    /// Room to receive into, never empty; say with [`FrameReader::filled`] how much was used.
    pub fn space(&mut self) -> &mut [u8] {
        let need = self.missing().max(1);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buf.len() - self.end < need {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let size = (self.end + need).max(RECV_BUFFER);
            if self.buf.len() < size {
                self.buf.resize(size, 0);
            }
        }
        &mut self.buf[self.end..]
    }

    /// The first `n` bytes of the last [`FrameReader::space`] hold received bytes now.
    pub fn filled(&mut self, n: usize) {
        self.end += n;
        debug_assert!(self.end <= self.buf.len());
    }

    /// Bytes received and not yet yielded.
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Bytes that the PDU at the front still lacks, as far as can be told; of one whose data is too long, only its header
    /// is wanted.
    fn missing(&self) -> usize {
        let needed = match self.header().map(|header| (header.data_len(), Layout::of(&header, self.digests)))
        {
            Some((len, at)) if len <= self.max_data => at.total,
            Some((_, at)) => at.data_start,
            None => Bhs::LEN,
        };
        needed.saturating_sub(self.pending())
    }

    fn header(&self) -> Option<Bhs> {
        let bytes = self.buf.get(self.start..self.end)?.first_chunk()?;
        Some(Bhs(*bytes))
    }

    /// The next whole PDU, if it is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some(header) = self.header() else { return Ok(None) };
        let at = Layout::of(&header, self.digests);
        if self.pending() < at.data_start {
            return Ok(None);
        }
        let bytes = &self.buf[self.start..self.end];
        check_header(&header, bytes, &at, self.digests, self.max_data)?;
        if bytes.len() < at.total {
            return Ok(None);
        }
        check_data(&header, bytes, &at, self.digests)?;
        self.start += at.total;
        let ahs = &bytes[Bhs::LEN..at.header_end];
        Ok(Some(Frame { header, ahs, data: &bytes[at.data_start..at.data_end] }))
    }
}

/// A header segment, all of it: its digest first, because a length that cannot be trusted is no reason to name.
pub(super) fn check_header(
    header: &Bhs,
    bytes: &[u8],
    at: &Layout,
    digests: Digests,
    max: usize,
) -> Result<(), FrameError> {
    if digests.header {
        let (found, computed) = (digest_at(bytes, at.header_end), crc32c::crc32c(&bytes[..at.header_end]));
        if found != computed {
            return Err(FrameError::HeaderDigest { found, computed });
        }
    }
    let (opcode, len) = (header.opcode(), header.data_len());
    if len > max { Err(FrameError::DataTooLong { opcode, len, max }) } else { Ok(()) }
}

fn check_data(header: &Bhs, bytes: &[u8], at: &Layout, digests: Digests) -> Result<(), FrameError> {
    if digests.data && header.data_len() > 0 {
        let computed = crc32c::crc32c(&bytes[at.data_start..at.pad_end]);
        let found = digest_at(bytes, at.pad_end);
        if found != computed {
            return Err(FrameError::DataDigest { opcode: header.opcode(), found, computed });
        }
    }
    Ok(())
}

/// Digests travel with their least significant byte first (RFC 7143 section 13.1, by the example in appendix A).
pub(super) fn digest_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// Appends the PDU to `out`: header with its data length set, digests, data, padding. `data` is below 2^24 bytes.
pub fn write_pdu(out: &mut Vec<u8>, mut header: Bhs, data: &[u8], digests: Digests) {
    header.set_data_len(data.len());
    out.reserve(Bhs::LEN + data.len() + 12);
    write_header(out, &header, digests);
    out.extend_from_slice(data);
    write_trailer(out, data, digests);
}

/// Appends a header whose data length is set, and its digest.
pub(crate) fn write_header(out: &mut Vec<u8>, header: &Bhs, digests: Digests) {
    out.extend_from_slice(&header.0);
    if digests.header {
        out.extend_from_slice(&crc32c::crc32c(&header.0).to_le_bytes());
    }
}

/// Appends what comes after `data`: padding and digest.
pub(crate) fn write_trailer(out: &mut Vec<u8>, data: &[u8], digests: Digests) {
    let padding = &[0; 3][..data.len().next_multiple_of(4) - data.len()];
    out.extend_from_slice(padding);
    if digests.data && !data.is_empty() {
        let digest = crc32c::crc32c_append(crc32c::crc32c(data), padding);
        out.extend_from_slice(&digest.to_le_bytes());
    }
}
