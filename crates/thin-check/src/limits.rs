//! Bounds of the checker: what keeps memory and time in proportion to the image, however hostile it is.

/// Findings kept word for word; more are only counted. A broken pool has a handful, and nobody reads a thousand.
pub const FINDINGS: usize = 1000;

/// Devices named in one finding: what is shared by more is not told better by a longer list.
pub const DEVICES_NAMED: usize = 64;

/// Findings remembered with each damaged node, for naming the devices that share it.
pub const FINDINGS_OF_A_NODE: usize = 64;

/// Levels of a tree. Every node but a root is at least a third full (84 children), so that 4 161 600 blocks make six
/// levels at most; twice that leaves room for a checker that reads on past an under-full node.
pub const TREE_LEVELS: usize = 12;

/// Blocks that a metadata space map can manage: 255 bitmaps of 16 320 entries (dm-thin format, constants).
pub const METADATA_BLOCKS: u64 = 255 * 16_320;

/// Device ids have 24 bits (dm-thin format, constants).
pub const DEVICE_IDS: u64 = 1 << 24;

/// Times have 24 bits in mappings.
pub const TIMES: u32 = 1 << 24;
