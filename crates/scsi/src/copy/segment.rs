//! Segment descriptors from block device to block device: SPC-4 section 6.5.6.
//!
//! What always holds: a segment copies at most 64 MiB, all of it whole blocks of ours.

use crate::bytes::{be16, be32, be64};
use crate::limits::{BLOCK, COPY_SEGMENT_BYTES};
use crate::plan::Extent;
use crate::sense::Sense;

/// The types that we know, as RECEIVE COPY OPERATING PARAMETERS lists them.
pub(super) const BLOCK_TO_BLOCK: u8 = 0x02;
pub(super) const BLOCK_TO_BLOCK_WITH_OFFSET: u8 = 0x0a;

/// A segment, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub source: Place,
    pub destination: Place,
    from: u64,
    to: u64,
    blocks: u64,
}

/// A unit, as a segment names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The unit that the command was sent to.
    Here,
    /// A target descriptor, by its index, which may be too high.
    Listed(usize),
}

/// Blocks that are to be copied, inside both units. Where both are the same unit and the ranges overlap, the
/// destination gets what the source held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub from: Extent,
    pub to: Extent,
}

/// The segment at the beginning of `list`, which begins at `at` in the parameter list, and its length.
pub(super) fn parse(list: &[u8], at: usize) -> Result<(Segment, usize), Sense> {
    const HEADER: usize = 4;
    let length = HEADER + usize::from(be16(list, 2));
    let expected = match list.first() {
        Some(&BLOCK_TO_BLOCK) => 28,
        Some(&BLOCK_TO_BLOCK_WITH_OFFSET) => 32,
        _ => return Err(Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR.in_list(at)),
    };
    if list.len() < expected {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    if length != expected {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(at + 2));
    }
    let segment = Segment {
        source: place(be16(list, 4)),
        destination: place(be16(list, 6)),
        from: be64(list, 12),
        to: be64(list, 20),
        blocks: blocks(list, at)?,
    };
    Ok((segment, length))
}

/// FFFFh names the unit that has the copy manager.
fn place(index: u16) -> Place {
    match index {
        0xffff => Place::Here,
        index => Place::Listed(usize::from(index)),
    }
}

/// Blocks of the source and of the destination (DC) are the same here. With a count of bytes, both ends must be whole
/// blocks.
fn blocks(list: &[u8], at: usize) -> Result<u64, Sense> {
    let wrong = |byte: usize| Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(at + byte));
    if list[0] == BLOCK_TO_BLOCK {
        return Ok(u64::from(be16(list, 10)));
    }
    let bytes = u64::from(be32(list, 8));
    match (be16(list, 28), be16(list, 30)) {
        (0, 0) if bytes.is_multiple_of(BLOCK) && bytes <= COPY_SEGMENT_BYTES => Ok(bytes / BLOCK),
        (0, 0) => wrong(8),
        (0, _) => wrong(30),
        _ => wrong(28),
    }
}

impl Segment {
    /// The blocks to copy, given the capacities (in blocks) of both units; a unit that was not found has none. `index` is
    /// the segment's number, for the sense.
    pub fn locate(&self, index: usize, source: Option<u64>, destination: Option<u64>) -> Result<Move, Sense> {
        const SOURCE: (u16, u16) = (4, 12);
        const DESTINATION: (u16, u16) = (6, 20);
        let from = inside(self.from, self.blocks, source, SOURCE);
        let to = inside(self.to, self.blocks, destination, DESTINATION);
        match (from, to) {
            (Ok(from), Ok(to)) => Ok(Move { from, to }),
            (Err(sense), _) | (_, Err(sense)) => Err(sense.in_segment(index)),
        }
    }
}

/// `fields`: where in the descriptor the unit's index and the first block stand.
fn inside(lba: u64, blocks: u64, capacity: Option<u64>, fields: (u16, u16)) -> Result<Extent, Sense> {
    let capacity = capacity.ok_or(Sense::UNREACHABLE_COPY_TARGET.in_segment_byte(fields.0))?;
    match lba.checked_add(blocks) {
        Some(end) if end <= capacity => Ok(Extent { lba, blocks }),
        _ => Err(Sense::COPY_FAILED.in_segment_byte(fields.1)),
    }
}
