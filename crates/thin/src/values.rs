//! The values that the trees hold (dm-thin format section 6): mappings, device details, index entries, and which tree
//! holds what.

use crate::{
    limits::{ENTRIES_PER_BITMAP, TIME_MAX},
    page::{get_u32, get_u64, put_u32, put_u64},
};

/// One of the five kinds of tree. The kind says how wide a leaf's values are and what they point to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Device id -> root of its mapping tree.
    Top,
    /// Virtual block -> [`BlockTime`].
    Mapping,
    /// Device id -> [`Details`].
    Details,
    /// Bitmap number -> [`IndexEntry`], of the data space map.
    Index,
    /// Block -> exact count, for counts of 3 and more.
    Overflow,
}

impl Tree {
    /// Bytes of a value in a leaf.
    pub(crate) const fn value_size(self) -> usize {
        match self {
            Tree::Top | Tree::Mapping => 8,
            Tree::Details => Details::SIZE,
            Tree::Index => IndexEntry::SIZE,
            Tree::Overflow => 4,
        }
    }
}

/// A mapping: the data block and the snapshot time in which it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockTime {
    /// Data block, 40 bits.
    pub block: u64,
    /// Time, 24 bits.
    pub time: u32,
}

impl BlockTime {
    /// `block << 24 | time`.
    pub fn pack(self) -> u64 {
        debug_assert!(self.time <= TIME_MAX);
        self.block << 24 | u64::from(self.time)
    }

    /// The parts of a mapping value.
    pub fn unpack(value: u64) -> Self {
        BlockTime { block: value >> 24, time: (value & u64::from(TIME_MAX)) as u32 }
    }
}

/// What the pool knows of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Details {
    /// Entries in its mapping tree, exact.
    pub mapped_blocks: u64,
    /// The superblock's trans_id when it was created.
    pub transaction_id: u64,
    /// The time when it was created; for a snapshot the time after the increment.
    pub creation_time: u32,
    /// The time of the last snapshot in which it took part, on either side.
    pub snapshotted_time: u32,
}

impl Details {
    pub(crate) const SIZE: usize = 24;

    pub(crate) fn pack(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put_u64(&mut bytes, 0, self.mapped_blocks);
        put_u64(&mut bytes, 8, self.transaction_id);
        put_u32(&mut bytes, 16, self.creation_time);
        put_u32(&mut bytes, 20, self.snapshotted_time);
        bytes
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Self {
        Details {
            mapped_blocks: get_u64(bytes, 0),
            transaction_id: get_u64(bytes, 8),
            creation_time: get_u32(bytes, 16),
            snapshotted_time: get_u32(bytes, 20),
        }
    }
}

/// Where a bitmap is, and two hints about it (section 7.3). We never believe the hints, and always write them exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct IndexEntry {
    pub(crate) block: u64,
    pub(crate) nr_free: u32,
    pub(crate) none_free_before: u32,
}

impl IndexEntry {
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn pack(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put_u64(&mut bytes, 0, self.block);
        put_u32(&mut bytes, 8, self.nr_free);
        put_u32(&mut bytes, 12, self.none_free_before);
        bytes
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Self {
        IndexEntry {
            block: get_u64(bytes, 0),
            nr_free: get_u32(bytes, 8),
            none_free_before: get_u32(bytes, 12),
        }
    }
}

/// Bitmaps that a map of `nr_blocks` blocks has.
pub(crate) fn bitmaps_for(nr_blocks: u64) -> u64 {
    nr_blocks.div_ceil(ENTRIES_PER_BITMAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_packs_as_in_the_reference() {
        let mapping = BlockTime { block: 12345, time: 7 };
        assert_eq!(mapping.pack(), 0x0000_0030_3900_0007);
        assert_eq!(BlockTime::unpack(mapping.pack()), mapping);
    }

    #[test]
    fn details_and_index_entries_read_back() {
        let details =
            Details { mapped_blocks: 1 << 33, transaction_id: 5, creation_time: 6, snapshotted_time: 7 };
        assert_eq!(Details::unpack(&details.pack()), details);
        let entry = IndexEntry { block: 7, nr_free: 16311, none_free_before: 9 };
        assert_eq!(IndexEntry::unpack(&entry.pack()), entry);
    }
}
