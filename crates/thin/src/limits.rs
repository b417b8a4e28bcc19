//! Bounds and constants of the format (dm-thin format section 2), and of this engine.

/// Bytes of a metadata block; the only size ever used.
pub const META_BLOCK_BYTES: usize = 4096;
/// Counts in one bitmap block.
pub const ENTRIES_PER_BITMAP: u64 = 16_320;
/// Bitmaps that the metadata space map's index block has room for.
pub const META_BITMAPS: usize = 255;
/// Metadata blocks that a pool can manage; a larger device is legal, the rest unused.
pub const META_BLOCKS_MAX: u64 = META_BITMAPS as u64 * ENTRIES_PER_BITMAP;
/// The least metadata blocks that we format: a commit needs room beside the state that it replaces, and a reserve.
pub const META_BLOCKS_MIN: u64 = 96;
/// Smallest data block, in sectors: 64 KiB. Every data block size is a multiple of it.
pub const DATA_BLOCK_SECTORS_MIN: u32 = 128;
/// Largest data block, in sectors: 1 GiB.
pub const DATA_BLOCK_SECTORS_MAX: u32 = 2_097_152;
/// Data blocks: what 40 bits can name.
pub const DATA_BLOCKS_MAX: u64 = 1 << 40;
/// The largest time that a mapping can carry; a snapshot that would pass it is refused.
pub const TIME_MAX: u32 = (1 << 24) - 1;
/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Depth of any tree that fits the format: 84^9 is above 2^57. A deeper path is a loop.
pub const DEPTH_MAX: u32 = 10;
/// Metadata blocks that are kept free so that a commit can always be written (section 8.5), as the kernel does.
pub const META_RESERVE_MAX: u64 = 4096;
/// Pages that the node cache holds before it drops clean ones, unless set otherwise: 64 MiB.
pub const CACHE_PAGES: usize = 16_384;
/// Pairs of one group snapshot: 256 LUNs, each pristine and working, and room.
pub const PAIRS_MAX: usize = 1024;
/// Mappings that one call may look up or plan: bounds the answer and the time under the engine's lock.
pub const BLOCKS_PER_CALL: u64 = 1 << 20;
/// Blocks that one call may share: bounds what its commit may take.
pub const SHARE_MAX: u64 = 1 << 12;
/// Errors that opening a damaged pool tells.
pub const DAMAGE_MAX: usize = 1000;
/// Changed overflow records that a commit may find, of both maps: it writes them while everybody waits.
pub(crate) const COUNTS_FOR_COMMIT: usize = 128;
/// About so many are written at a time before; it takes some 100 us if each is in a leaf of its own and
/// that is in memory.
pub(crate) const COUNTS_PER_STEP: usize = 64;
/// Changes write records themselves while so many wait: what commits that come seldom may leave to the last moment.
pub(crate) const COUNTS_WAITING: usize = 1 << 14;
