//! Block 0 and its frozen copy: the fields, and which of them forbid what.

use crate::{
    core::{Core, Trail},
    layout::{Block, MAGIC, u32_at, u64_at},
    limits,
    problem::Problem,
};

const NEEDS_CHECK: u32 = 1;
/// The incompatible feature by which an array says that acknowledged writes may stand in a log beside the pool. It
/// keeps others off; to those who know it, it is no damage.
pub const LOG_FEATURE: u32 = 1 << 31;
const METADATA_BLOCK_SECTORS: u32 = 8;
const DATA_BLOCK_SECTORS: std::ops::RangeInclusive<u32> = 128..=2_097_152;

/// Root of a space map, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MapRoot {
    /// Blocks that the map counts.
    pub blocks: u64,
    /// How many of them it says are in use.
    pub allocated: u64,
    /// Index tree (data) or index block (metadata).
    pub index_root: u64,
    /// Overflow tree.
    pub overflow_root: u64,
}

/// The fields of a superblock, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Superblock {
    /// Bit 0: needs check.
    pub flags: u32,
    /// Format version, 1 or 2.
    pub version: u32,
    /// Snapshot time.
    pub time: u32,
    /// The volume manager's transaction id.
    pub transaction_id: u64,
    /// Block of the metadata snapshot, or 0.
    pub held_root: u64,
    /// Data space map.
    pub data_map: MapRoot,
    /// Metadata space map.
    pub metadata_map: MapRoot,
    /// Root of the top-level tree.
    pub mapping_root: u64,
    /// Root of the details tree.
    pub details_root: u64,
    /// Data block size in sectors.
    pub data_block_sectors: u32,
    /// Metadata blocks when the pool was made; not kept up to date.
    pub metadata_blocks_at_format: u64,
    /// Features that forbid writing to those who do not know them.
    pub compat_ro_flags: u32,
    /// Features that forbid any use to those who do not know them.
    pub incompat_flags: u32,
    magic: u64,
    metadata_block_sectors: u32,
}

impl Superblock {
    pub(crate) fn parse(block: &Block) -> Superblock {
        Superblock {
            flags: u32_at(block, 4),
            version: u32_at(block, 40),
            time: u32_at(block, 44),
            transaction_id: u64_at(block, 48),
            held_root: u64_at(block, 56),
            data_map: map_root(block, 64),
            metadata_map: map_root(block, 192),
            mapping_root: u64_at(block, 320),
            details_root: u64_at(block, 328),
            data_block_sectors: u32_at(block, 336),
            metadata_blocks_at_format: u64_at(block, 344),
            compat_ro_flags: u32_at(block, 356),
            incompat_flags: u32_at(block, 360),
            magic: u64_at(block, 32),
            metadata_block_sectors: u32_at(block, 340),
        }
    }

    /// Whether it is a thin pool's at all.
    pub(crate) fn has_magic(&self) -> bool {
        self.magic == MAGIC
    }

    /// Whether the pool is marked as needing a check.
    pub fn needs_check(&self) -> bool {
        self.flags & NEEDS_CHECK != 0
    }

    /// Whether a log beside the pool may hold writes that its metadata does not show yet ([`LOG_FEATURE`]).
    pub fn behind_log(&self) -> bool {
        self.incompat_flags & LOG_FEATURE != 0
    }

    /// Every problem that the fields have by themselves; `known_features` are incompatible ones that the caller's
    /// pool may carry.
    pub(crate) fn problems(&self, known_features: u32) -> Vec<Problem> {
        let unknown = self.incompat_flags & !known_features;
        let size = self.data_block_sectors;
        let checks = [
            (!self.has_magic(), Problem::BadMagic { magic: self.magic }),
            (!matches!(self.version, 1 | 2), Problem::UnknownVersion { version: self.version }),
            (self.needs_check(), Problem::NeedsCheck),
            (unknown != 0, Problem::IncompatibleFeatures { flags: unknown }),
            (self.compat_ro_flags != 0, Problem::ReadOnlyFeatures { flags: self.compat_ro_flags }),
            (
                self.metadata_block_sectors != METADATA_BLOCK_SECTORS,
                Problem::MetadataBlockSize { sectors: self.metadata_block_sectors },
            ),
            (
                !DATA_BLOCK_SECTORS.contains(&size) || !size.is_multiple_of(128),
                Problem::DataBlockSize { sectors: size },
            ),
            (self.time >= limits::TIMES, Problem::TimeTooLarge { time: self.time }),
        ];
        checks.into_iter().filter_map(|(wrong, problem)| wrong.then_some(problem)).collect()
    }

    /// Verifies the sizes of both maps against what the devices can hold.
    pub(crate) fn check_sizes(&self, core: &mut Core<'_>, image_blocks: u64, data_blocks: Option<u64>) {
        let at = Trail::block(0);
        let needed = self.metadata_map.blocks;
        if needed > limits::METADATA_BLOCKS {
            let (map, limit) = (crate::Map::Metadata, limits::METADATA_BLOCKS);
            core.report(&at, Problem::MapTooLarge { map, blocks: needed, limit }, None);
        }
        if needed > image_blocks {
            core.report(&at, Problem::MetadataTooShort { blocks: image_blocks, needed }, None);
        }
        if let Some(blocks) = data_blocks.filter(|blocks| *blocks < self.data_map.blocks) {
            core.report(&at, Problem::DataTooShort { blocks, needed: self.data_map.blocks }, None);
        }
    }
}

fn map_root(block: &Block, at: usize) -> MapRoot {
    let field = |index: usize| u64_at(block, at + 8 * index);
    MapRoot { blocks: field(0), allocated: field(1), index_root: field(2), overflow_root: field(3) }
}
