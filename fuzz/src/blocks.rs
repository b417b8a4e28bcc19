//! Single blocks and records of any bytes, through the decoders of engine and checker.
//!
//! What always holds: what is read and written again is the same; what a decoder refuses, it refuses with an error.

use crate::{damage::Seal, seeds::seed};
use arbitrary::Arbitrary;
use umbra_thin::{
    Page, Pool, Superblock, ThinId,
    log::{HEADER_BYTES, Header, RECORD_BYTES, records},
};
use umbra_thin_check::BlockKind;

/// What is decoded.
#[derive(Debug, Arbitrary)]
pub enum Input<'a> {
    /// Block 0.
    Superblock { seal: Seal, bytes: &'a [u8] },
    /// Header of a segment of the log.
    Header { bytes: &'a [u8] },
    /// Records, of which these (one bit each) get a right checksum.
    Records { base: u64, first: u32, sealed: u64, bytes: &'a [u8] },
    /// A block in the place of one of a pool's: node, bitmap, index.
    Block { number: u8, seal: Seal, bytes: &'a [u8] },
}

/// Decodes.
pub fn run(input: Input<'_>) {
    match input {
        Input::Superblock { seal, bytes } => superblock(seal, bytes),
        Input::Header { bytes } => header(bytes),
        Input::Records { base, first, sealed, bytes } => log_records(base, first, sealed, bytes),
        Input::Block { number, seal, bytes } => block(number, seal, bytes),
    }
}

/// A page with these bytes, and zeroes where there are no more.
fn page(bytes: &[u8], seal: Seal, kind: Option<BlockKind>, block: u64) -> Page {
    let mut page = [0; 4096];
    page.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    seal.carry_out(&mut page, kind, block);
    page
}

fn superblock(seal: Seal, bytes: &[u8]) {
    let page = page(bytes, seal, Some(BlockKind::Superblock), 0);
    if let Ok(superblock) = Superblock::decode(&page, 0) {
        let again = superblock.encode();
        assert_eq!(Superblock::decode(&again, 0).expect("written by us"), superblock);
    }
}

fn header(bytes: &[u8]) {
    if let Some(header) = Header::decode(bytes) {
        assert_eq!(header.encode()[16..], bytes[16..HEADER_BYTES]);
    }
}

fn log_records(base: u64, first: u32, sealed: u64, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    for (i, record) in bytes.chunks_exact_mut(RECORD_BYTES).enumerate() {
        if sealed >> (i % 64) & 1 == 1 {
            seal_record(base, record);
        }
    }
    for (record, bytes) in records(base, first.into(), &bytes).zip(bytes.chunks_exact(RECORD_BYTES)) {
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
    let kind = BlockKind::of(&disk.page(block));
    disk.write(block as u64, &page(bytes, seal, kind, block as u64));
    drop(disk.check());
    let Ok(mut pool) = Pool::open(disk) else { return };
    let ids: Vec<ThinId> = pool.device_ids().collect();
    for id in ids {
        drop(pool.lookup(id, 0..1 << 20));
        drop(pool.mappings(id, u64::MAX - 10..u64::MAX));
    }
}
