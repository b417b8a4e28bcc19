//! Single blocks and records, changed in any bytes, through the decoders of engine and checker.
//!
//! The input's bytes lie over a sound block as differences, so that magic numbers need not be guessed. What always
//! holds: what is read and written again is the same; what a decoder refuses, it refuses with an error.

use crate::{damage::Seal, seeds::seed};
use arbitrary::Arbitrary;
use umbra_thin::{
    Page, Pool, Superblock, ThinId,
    log::{Change, HEADER_BYTES, Header, RECORD_BYTES, Record, records},
};
use umbra_thin_check::BlockKind;

/// What is decoded.
#[derive(Debug, Arbitrary)]
pub enum Input<'a> {
    /// Block 0.
    Superblock { seal: Seal, bytes: &'a [u8] },
    /// Header of a segment of the log, with its checksum made right or not.
    Header { sealed: bool, bytes: &'a [u8] },
    /// Records, of which these (one bit each) get a right checksum.
    Records { base: u64, first: u32, sealed: u64, bytes: &'a [u8] },
    /// A block of a pool: node, bitmap, index.
    Block { number: u8, seal: Seal, bytes: &'a [u8] },
}

/// Decodes.
pub fn run(input: Input<'_>) {
    match input {
        Input::Superblock { seal, bytes } => superblock(seal, bytes),
        Input::Header { sealed, bytes } => header(sealed, bytes),
        Input::Records { base, first, sealed, bytes } => log_records(base, first.into(), sealed, bytes),
        Input::Block { number, seal, bytes } => block(number, seal, bytes),
    }
}

/// Changes `sound` where `bytes` are not zero.
fn overlay(sound: &mut [u8], bytes: &[u8]) {
    sound.iter_mut().zip(bytes).for_each(|(to, change)| *to ^= change);
}

fn superblock(seal: Seal, bytes: &[u8]) {
    let mut page = seed(0).disk().page(0);
    overlay(&mut page, bytes);
    seal.carry_out(&mut page, Some(BlockKind::Superblock), 0);
    if let Ok(superblock) = Superblock::decode(&page, 0) {
        let again = superblock.encode();
        assert_eq!(Superblock::decode(&again, 0).expect("written by us"), superblock);
    }
}

fn header(sealed: bool, bytes: &[u8]) {
    const CHECKSUM: std::ops::Range<usize> = 12..16;
    let mut header = Header { pool: [1; 16], boot: [2; 16], base: 3 }.encode();
    overlay(&mut header, bytes);
    if sealed {
        header[CHECKSUM].fill(0);
        let crc = crc32c::crc32c(&header);
        header[CHECKSUM].copy_from_slice(&crc.to_le_bytes());
    }
    if let Some(decoded) = Header::decode(&header) {
        assert_eq!(decoded.encode()[16..56], header[16..56]);
    }
    assert_eq!(Header::decode(&header[..bytes.len().min(HEADER_BYTES - 1)]), None);
}

/// Mappings of one block each, with the numbers that are expected, before they are changed.
fn log_records(base: u64, first: u64, sealed: u64, bytes: &[u8]) {
    let mut segment = Vec::new();
    for (i, change) in bytes.chunks(RECORD_BYTES).enumerate() {
        let block = i as u64;
        let map = Change::Map { device: ThinId(1), vblock: block, block, len: 1 };
        let mut record = Record { sequence: first + block, change: map }.encode(base);
        overlay(&mut record, change);
        if sealed >> (i % 64) & 1 == 1 {
            seal_record(base, &mut record);
        }
        segment.extend(record);
    }
    for (record, bytes) in records(base, first, &segment).zip(segment.chunks_exact(RECORD_BYTES)) {
        assert_eq!(records(base, record.sequence, &record.encode(base)).next(), Some(record));
        assert_eq!(record.sequence.to_le_bytes(), bytes[8..16]);
    }
}

/// Gives a record the checksum of its segment (the layout is in `umbra_thin::log`).
fn seal_record(base: u64, record: &mut [u8]) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&base.to_le_bytes()), &record[4..]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
}

fn block(number: u8, seal: Seal, bytes: &[u8]) {
    let seed = seed(0);
    let (disk, block) = (seed.disk(), seed.used[usize::from(number) % seed.used.len()]);
    let mut page: Page = disk.page(block);
    let kind = BlockKind::of(&page);
    overlay(&mut page, bytes);
    seal.carry_out(&mut page, kind, block as u64);
    disk.write(block as u64, &page);
    drop(disk.check());
    let Ok(mut pool) = Pool::open(disk) else { return };
    let ids: Vec<ThinId> = pool.device_ids().collect();
    for id in ids {
        drop(pool.lookup(id, 0..1 << 20));
        drop(pool.mappings(id, u64::MAX - 10..u64::MAX));
    }
}
