//! The acknowledged-write log as bytes: what changed in memory since the last commit, so that the death of the process
//! loses nothing that was acknowledged (design A2).
//!
//! ```text
//! file:     three segments, used in turn; each commit starts the next one
//! segment:  header (64 bytes) | record | record | ... | stale bytes
//! header:   magic u64 | version u32 | crc u32 | pool identity 16 | boot identity 16 | base trans_id u64 | 0 u64
//! record:   crc u32 | kind u32 | sequence u64 | device u32 | 0 u32 | virtual block u64 | data block u64 | length u64
//! ```
//!
//! A segment holds the changes that follow the commit with its *base* trans_id. It is worth something only while the
//! kernel that took the writes runs: after the loss of the machine the data blocks that it names may hold anything, so
//! a segment with another boot identity is dropped. At opening, the segment whose base is the superblock's trans_id
//! is entered, then the one whose base is the next (the process died while that commit was being written).
//!
//! What always holds: records are numbered from 0; a record's checksum covers the base, so that the stale rest of an
//! earlier use is never taken for a record, and a torn one ends the segment. Cuts, creations and deletions are never
//! logged: they do not exist before their commit is durable.

use crate::{
    ThinId,
    page::{get_u32, get_u64, put_u32, put_u64},
};
use std::ops::Range;

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 48;

const MAGIC: u64 = u64::from_le_bytes(*b"umbralog");
const VERSION: u32 = 1;
const KIND_MAP: u32 = 1;
const KIND_UNMAP: u32 = 2;

/// What a segment belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The pool's identity (its superblock's uuid).
    pub pool: [u8; 16],
    /// The running kernel's boot id.
    pub boot: [u8; 16],
    /// trans_id of the commit that its records follow.
    pub base: u64,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put_u64(&mut bytes, 0, MAGIC);
        put_u32(&mut bytes, 8, VERSION);
        bytes[16..32].copy_from_slice(&self.pool);
        bytes[32..48].copy_from_slice(&self.boot);
        put_u64(&mut bytes, 48, self.base);
        let crc = crc32c::crc32c(&bytes);
        put_u32(&mut bytes, 12, crc);
        bytes
    }

    /// Reads a header; `None` if it is none (never written, torn, of another version).
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let mut bytes: [u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let crc = get_u32(&bytes, 12);
        put_u32(&mut bytes, 12, 0);
        if get_u64(&bytes, 0) != MAGIC || get_u32(&bytes, 8) != VERSION || crc != crc32c::crc32c(&bytes) {
            return None;
        }
        let mut header = Header { pool: [0; 16], boot: [0; 16], base: get_u64(&bytes, 48) };
        header.pool.copy_from_slice(&bytes[16..32]);
        header.boot.copy_from_slice(&bytes[32..48]);
        Some(header)
    }
}

/// One change of a device's mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Virtual blocks now at consecutive data blocks.
    Map { device: ThinId, vblock: u64, block: u64, len: u64 },
    /// Virtual blocks no longer mapped.
    Unmap { device: ThinId, vblock: u64, len: u64 },
}

impl Change {
    /// Whether it changes nothing, such as what fills up a page of the log.
    pub fn is_nothing(&self) -> bool {
        let (Change::Map { len, .. } | Change::Unmap { len, .. }) = self;
        *len == 0
    }

    /// Whose mappings changed.
    pub fn device(&self) -> ThinId {
        match *self {
            Change::Map { device, .. } | Change::Unmap { device, .. } => device,
        }
    }
}

/// A change and its number in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// 0, 1, 2, ...
    pub sequence: u64,
    /// What changed.
    pub change: Change,
}

impl Record {
    /// The record's bytes in a segment with this base.
    pub fn encode(&self, base: u64) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let (kind, vblock, block, len) = match self.change {
            Change::Map { vblock, block, len, .. } => (KIND_MAP, vblock, block, len),
            Change::Unmap { vblock, len, .. } => (KIND_UNMAP, vblock, 0, len),
        };
        put_u32(&mut bytes, 4, kind);
        put_u64(&mut bytes, 8, self.sequence);
        put_u32(&mut bytes, 16, self.change.device().0);
        put_u64(&mut bytes, 24, vblock);
        put_u64(&mut bytes, 32, block);
        put_u64(&mut bytes, 40, len);
        let crc = checksum(&bytes, base);
        put_u32(&mut bytes, 0, crc);
        bytes
    }

    fn decode(bytes: &[u8], base: u64, sequence: u64) -> Option<Record> {
        let good = get_u32(bytes, 0) == checksum(bytes, base) && get_u64(bytes, 8) == sequence;
        let device = ThinId(get_u32(bytes, 16));
        let (vblock, block, len) = (get_u64(bytes, 24), get_u64(bytes, 32), get_u64(bytes, 40));
        vblock.checked_add(len)?;
        block.checked_add(len)?;
        let change = match get_u32(bytes, 4) {
            KIND_MAP if good => Change::Map { device, vblock, block, len },
            KIND_UNMAP if good => Change::Unmap { device, vblock, len },
            _ => return None,
        };
        Some(Record { sequence, change })
    }
}

fn checksum(record: &[u8], base: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&base.to_le_bytes()), &record[4..RECORD_BYTES])
}

/// Whether what may be a record says that it has this number in its segment.
pub fn numbered(record: &[u8], sequence: u64) -> bool {
    record.len() >= RECORD_BYTES && get_u64(record, 8) == sequence
}

/// The records of a part of a segment that starts with record `first`, in order, up to the first that is not one: the
/// end, torn, or left from an earlier use.
pub fn records(base: u64, first: u64, bytes: &[u8]) -> impl Iterator<Item = Record> + '_ {
    let chunks = bytes.chunks_exact(RECORD_BYTES).zip(first..);
    chunks.map_while(move |(bytes, sequence)| Record::decode(bytes, base, sequence))
}

/// Puts changes of consecutive blocks together: `pairs` of virtual and data block in ascending order.
pub fn map_changes(device: ThinId, pairs: impl IntoIterator<Item = (u64, u64)>) -> Vec<Change> {
    let mut runs: Vec<(Range<u64>, u64)> = Vec::new();
    for (vblock, at) in pairs {
        match runs.last_mut() {
            Some((run, first)) if run.end == vblock && *first + (run.end - run.start) == at => run.end += 1,
            _ => runs.push((vblock..vblock + 1, at)),
        }
    }
    let change = |(run, block): (Range<u64>, u64)| Change::Map {
        device,
        vblock: run.start,
        block,
        len: run.end - run.start,
    };
    runs.into_iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: u64, count: u64) -> Vec<u8> {
        let change = |i| Change::Map { device: ThinId(3), vblock: i * 10, block: i * 7, len: 2 };
        (0..count).flat_map(|i| Record { sequence: i, change: change(i) }.encode(base)).collect()
    }

    #[test]
    fn records_read_back_in_order() {
        let mut bytes = segment(5, 3);
        let unmap = Change::Unmap { device: ThinId(1), vblock: 9, len: 1 << 40 };
        bytes.extend(Record { sequence: 3, change: unmap }.encode(5));
        bytes.extend([0; 100]);
        let read: Vec<_> = records(5, 0, &bytes).collect();
        assert_eq!(read.len(), 4);
        assert_eq!(read[3].change, unmap);
        assert_eq!(read[1].change, Change::Map { device: ThinId(3), vblock: 10, block: 7, len: 2 });
    }

    #[test]
    fn a_torn_record_ends_the_segment() {
        let whole = segment(5, 3);
        for cut in 0..RECORD_BYTES {
            assert_eq!(records(5, 0, &whole[..2 * RECORD_BYTES + cut]).count(), 2);
        }
        for at in 0..RECORD_BYTES {
            let mut bytes = whole.clone();
            bytes[RECORD_BYTES + at] ^= 1;
            // Bytes 20..24 are padding, but the checksum covers them as well.
            assert_eq!(records(5, 0, &bytes).count(), 1, "byte {at}");
        }
    }

    #[test]
    fn the_stale_rest_of_an_earlier_use_is_no_record() {
        let mut bytes = segment(5, 4);
        bytes[..2 * RECORD_BYTES].copy_from_slice(&segment(7, 2));
        assert_eq!(records(7, 0, &bytes).count(), 2);
        assert_eq!(records(5, 0, &bytes).count(), 0);
    }

    #[test]
    fn a_header_reads_back_and_a_damaged_one_is_none() {
        let header = Header { pool: [7; 16], boot: [9; 16], base: 1 << 50 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for at in 0..HEADER_BYTES {
            let mut bad = bytes;
            bad[at] ^= 4;
            assert_eq!(Header::decode(&bad), None, "byte {at}");
        }
        assert_eq!(Header::decode(&[0; HEADER_BYTES]), None);
    }

    #[test]
    fn consecutive_blocks_become_one_change() {
        let changes = map_changes(ThinId(1), [(5, 50), (6, 51), (7, 60), (9, 61)]);
        assert_eq!(changes.len(), 3);
        assert_eq!(changes[0], Change::Map { device: ThinId(1), vblock: 5, block: 50, len: 2 });
    }
}
