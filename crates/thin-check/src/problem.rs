//! Everything that can be wrong with a pool's metadata, and how bad each is.
//!
//! What always holds: a problem in the trees is an error, since nothing but them says what a volume contains; a
//! problem in the two space maps alone is repairable, since they can be rebuilt from the trees, unless it makes a used
//! block look free: the next write would then destroy data.

use crate::layout::BlockKind;
use std::fmt;
use thiserror::Error;

/// How bad a finding is, or how good a whole pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Legal, or nothing that anybody looks at.
    Ok,
    /// Wrong in hints or by leaked blocks only: safe to rebuild from the trees.
    Repairable,
    /// The pool must not be opened for writing.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Ok => "ok",
            Severity::Repairable => "repairable",
            Severity::Error => "error",
        })
    }
}

/// Which of the two space maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    /// Counts references to data blocks.
    Data,
    /// Counts references to metadata blocks.
    Metadata,
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Map::Data => "data",
            Map::Metadata => "metadata",
        })
    }
}

/// What a metadata block is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Nothing points to it.
    Free,
    /// Block 0.
    Superblock,
    /// The frozen superblock of a metadata snapshot.
    HeldRoot,
    /// Node of the top-level tree.
    TopLevel,
    /// Node of some device's mapping tree.
    Mapping,
    /// Node of the details tree.
    Details,
    /// Node of the data space map's index tree.
    DataIndex,
    /// Node of a space map's overflow tree.
    Overflow(Map),
    /// Bitmap of a space map.
    Bitmap(Map),
    /// The metadata space map's index block.
    IndexBlock,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Free => f.write_str("free"),
            Use::Superblock => f.write_str("superblock"),
            Use::HeldRoot => f.write_str("held root"),
            Use::TopLevel => f.write_str("top-level tree"),
            Use::Mapping => f.write_str("mapping tree"),
            Use::Details => f.write_str("details tree"),
            Use::DataIndex => f.write_str("data index tree"),
            Use::Overflow(map) => write!(f, "{map} overflow tree"),
            Use::Bitmap(map) => write!(f, "{map} bitmap"),
            Use::IndexBlock => f.write_str("metadata index block"),
        }
    }
}

/// One kind of problem with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the sentences say what each is
pub enum Problem {
    // Blocks of any kind.
    #[error("block cannot be read: {cause}")]
    Unreadable { cause: String },
    #[error("pointer to block {to}, but the metadata ends at {blocks}")]
    PointerOutOfRange { to: u64, blocks: u64 },
    #[error("checksum is not that of a {expected}{}", found_text(*found))]
    BadChecksum { expected: BlockKind, found: Option<BlockKind> },
    #[error("block says that it is block {stored}")]
    WrongBlockNumber { stored: u64 },
    #[error("block is in use as {first} and again as {second}")]
    TwoUses { first: Use, second: Use },

    // The superblock.
    #[error("the device is not formatted: its first block is all zero")]
    Unformatted,
    #[error("magic number is {magic}, not that of a thin pool")]
    BadMagic { magic: u64 },
    #[error("version {version} is neither 1 nor 2")]
    UnknownVersion { version: u32 },
    #[error("the pool is marked as needing a check")]
    NeedsCheck,
    #[error("unknown features {flags:#x} forbid any use")]
    IncompatibleFeatures { flags: u32 },
    #[error("unknown features {flags:#x} forbid writing")]
    ReadOnlyFeatures { flags: u32 },
    #[error("metadata block size is {sectors} sectors, not 8")]
    MetadataBlockSize { sectors: u32 },
    #[error("data block size of {sectors} sectors is no multiple of 128 from 128 to 2097152")]
    DataBlockSize { sectors: u32 },
    #[error("time {time} does not fit 24 bits")]
    TimeTooLarge { time: u32 },
    #[error("the metadata has {blocks} blocks where its space map counts {needed}")]
    MetadataTooShort { blocks: u64, needed: u64 },
    #[error("the data device has {blocks} blocks where the space map counts {needed}")]
    DataTooShort { blocks: u64, needed: u64 },
    #[error("the {map} space map counts {blocks} blocks, more than the {limit} it could describe here")]
    MapTooLarge { map: Map, blocks: u64, limit: u64 },
    #[error("held root is of time {held}, the pool only of time {time}")]
    HeldInFuture { held: u32, time: u32 },

    // Nodes.
    #[error("node flags are {flags:#x}, neither internal (1) nor leaf (2)")]
    NodeFlags { flags: u32 },
    #[error("value size is {found}, not {expected}")]
    NodeValueSize { found: u32, expected: usize },
    #[error("max_entries is {found}, not {expected}")]
    NodeMaxEntries { found: u32, expected: usize },
    #[error("{entries} entries in a node of {capacity}")]
    NodeEntries { entries: u32, capacity: usize },
    #[error("key {index} is not above the one before it")]
    KeyOrder { index: usize },
    #[error("keys {first}..={last} lie outside of {low}..={high}, which the parent leaves for them")]
    KeysOutsideParent { first: u64, last: u64, low: u64, high: u64 },
    #[error("leaves are not all at the same depth")]
    UnevenDepth,
    #[error("{entries} entries where a node below the root needs {minimum}")]
    Underfull { entries: usize, minimum: usize },
    #[error("the tree loops back to this block")]
    Loop,
    #[error("the tree is more than {levels} levels deep")]
    TooDeep { levels: usize },

    // Devices and mappings.
    #[error("device id {device} does not fit 24 bits")]
    DeviceIdTooLarge { device: u64 },
    #[error("device {device} has mappings but no details")]
    NoDetails { device: u64 },
    #[error("device {device} has details but no mapping tree")]
    NoMappingTree { device: u64 },
    #[error("device {device} says that it maps {stored} blocks, and maps {counted}")]
    MappedBlocks { device: u64, stored: u64, counted: u64 },
    #[error("device {device} has {what} {stored}, later than the pool's time {time}")]
    DeviceInFuture { device: u64, what: &'static str, stored: u32, time: u32 },
    #[error("virtual block {virtual_block} maps to data block {data_block}, but there are only {blocks}")]
    DataBlockOutOfRange { virtual_block: u64, data_block: u64, blocks: u64 },
    #[error("virtual block {virtual_block} was mapped at time {stored}, later than the pool's time {time}")]
    MappingInFuture { virtual_block: u64, stored: u32, time: u32 },
    #[error(
        "virtual block {virtual_block} (data block {data_block}, time {stored}) looks private since the snapshot at \
         time {snapshotted}, but {owners}"
    )]
    PrivateButShared { virtual_block: u64, data_block: u64, stored: u32, snapshotted: u32, owners: Owners },

    // Space maps.
    #[error("index has no entry for bitmap {bitmap}")]
    BitmapMissing { bitmap: u64 },
    #[error("index has an entry for bitmap {bitmap}, but only {bitmaps} are needed")]
    BitmapBeyondEnd { bitmap: u64, bitmaps: u64 },
    #[error("entry {block} of the {map} map is set beyond its {blocks} blocks")]
    BitsBeyondEnd { map: Map, block: u64, blocks: u64 },
    #[error("{map} block {block} is marked as counted in the overflow tree, and is not there")]
    OverflowMissing { map: Map, block: u64 },
    #[error("overflow record of {map} block {block} (count {count}) is not called for by the bitmap")]
    OverflowStray { map: Map, block: u64, count: u32 },
    #[error("overflow record of {map} block {block} holds {count}, which the bitmap could hold")]
    OverflowSmall { map: Map, block: u64, count: u32 },
    #[error("{map} blocks {first}..={last} are counted {stored} times, and referenced {found} times")]
    CountTooLow { map: Map, first: u64, last: u64, stored: u32, found: u32 },
    #[error("{map} blocks {first}..={last} are counted {stored} times, but referenced only {found} times")]
    CountTooHigh { map: Map, first: u64, last: u64, stored: u32, found: u32 },
    #[error("nr_free of {map} bitmap {bitmap} is {stored}, and should be {counted}")]
    FreeHint { map: Map, bitmap: u64, stored: u32, counted: u32 },
    #[error(
        "nr_free of {map} bitmap {bitmap} stops at the end of the map ({stored}), and should not ({counted})"
    )]
    FreeHintClipped { map: Map, bitmap: u64, stored: u32, counted: u32 },
    #[error("none_free_before of {map} bitmap {bitmap} is {stored}, above the first free entry {first_free}")]
    SearchHint { map: Map, bitmap: u64, stored: u32, first_free: u32 },
    #[error("the {map} map says that {stored} blocks are allocated, and {counted} are")]
    Allocated { map: Map, stored: u64, counted: u64 },
}

/// Who else can see a data block that looks private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Several devices share the leaf.
    Devices(u32),
    /// Several leaf entries name the block.
    Mappings(u32),
}

impl fmt::Display for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owners::Devices(devices) => write!(f, "{devices} devices share its leaf"),
            Owners::Mappings(mappings) => write!(f, "{mappings} mappings name the block"),
        }
    }
}

fn found_text(found: Option<BlockKind>) -> String {
    found.map_or_else(String::new, |kind| format!(" but that of a {kind}"))
}

impl Problem {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        use Problem::*;
        match self {
            UnknownVersion { .. } | NeedsCheck | FreeHintClipped { .. } => Severity::Ok,
            MetadataBlockSize { .. }
            | OverflowStray { .. }
            | OverflowSmall { .. }
            | CountTooHigh { .. }
            | FreeHint { .. }
            | SearchHint { .. }
            | Allocated { .. } => Severity::Repairable,
            _ => Severity::Error,
        }
    }
}
