//! Bounds that we announce (block limits page) and hold to.

/// Bytes of a logical block.
pub const BLOCK: u64 = 512;
/// Logical blocks per physical block, as a power of two: 4096 bytes.
pub const PHYSICAL_EXPONENT: u8 = 3;
/// Blocks of one read, write or verify: 4 MiB.
pub const TRANSFER_BLOCKS: u32 = 8_192;
/// Blocks of a transfer that suits us best: 1 MiB.
pub const OPTIMAL_TRANSFER_BLOCKS: u32 = 2_048;
/// Blocks of one COMPARE AND WRITE.
pub const COMPARE_BLOCKS: u8 = 255;
/// Blocks that one UNMAP names in all: 512 MiB.
pub const UNMAP_BLOCKS: u64 = 1 << 20;
/// Descriptors of one UNMAP.
pub const UNMAP_DESCRIPTORS: usize = 256;
/// Blocks of one WRITE SAME: all that the ten-byte form can say, 32 MiB.
pub const WRITE_SAME_BLOCKS: u64 = 65_535;
/// Blocks that one GET LBA STATUS looks at: 4 GiB.
pub const STATUS_BLOCKS: u64 = 8 << 20;
/// Descriptors that one GET LBA STATUS returns.
pub const STATUS_DESCRIPTORS: usize = 512;
/// Bytes of a MODE SELECT parameter list.
pub const MODE_LIST_BYTES: usize = 512;
