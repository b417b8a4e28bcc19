//! Bounds that we announce (block limits page, third-party copy page, operating parameters) and hold to.

/// Bytes of a logical block.
pub const BLOCK: u64 = 512;
/// Blocks of one read, write or verify: 4 MiB.
pub const TRANSFER_BLOCKS: u32 = 8_192;
/// Blocks of a transfer that suits us best: 1 MiB.
pub const OPTIMAL_TRANSFER_BLOCKS: u32 = 2_048;
/// Blocks of one COMPARE AND WRITE.
pub const COMPARE_BLOCKS: u8 = 255;
/// Blocks that one UNMAP names in all: 512 MiB, which libiscsi's test suite bounds it to; more where a unit of allocation
/// needs it.
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
/// Blocks of a threshold set, as a power of two: 1 MiB. Counts of 32 bits then reach 4 PiB.
pub const THRESHOLD_EXPONENT: u8 = 11;

/// Registrations of one unit. A cluster has a few paths for each of its hosts; 128 are more than Windows (64 nodes) or
/// ESXi (64 hosts) bring, and twice as many would double the state that is saved with each change.
pub const REGISTRANTS: usize = 128;
/// Bytes of an iSCSI name (RFC 7143 section 4.2.7.2).
pub const NAME_BYTES: usize = 223;
/// Bytes of a PERSISTENT RESERVE OUT parameter list: a TransportID for every registrant.
pub const RESERVE_LIST_BYTES: usize = 40 << 10;

/// Target descriptors of one EXTENDED COPY.
pub const COPY_TARGETS: usize = 16;
/// Segment descriptors of one EXTENDED COPY.
pub const COPY_SEGMENTS: usize = 64;
/// Bytes of all descriptors of one EXTENDED COPY: room for one too many of each kind, so that the refusal says which.
pub const COPY_LIST_BYTES: usize = 4_096;
/// Bytes of one segment: 64 MiB. A copy that takes longer than a host's patience is worse than several.
pub const COPY_SEGMENT_BYTES: u64 = 64 << 20;
/// Copies whose results are kept, for one nexus and unit.
pub const COPY_RESULTS: usize = 64;

/// Range descriptors of one POPULATE TOKEN or WRITE USING TOKEN.
pub const TOKEN_RANGES: usize = 64;
/// Blocks that one token stands for, and that one WRITE USING TOKEN writes: 1 GiB.
pub const TOKEN_BLOCKS: u64 = 2 << 20;
/// Blocks of a WRITE USING TOKEN that suits us best: 64 MiB.
pub const OPTIMAL_TOKEN_BLOCKS: u64 = 128 << 10;
/// Seconds that a token lives without being used: what is asked for at most, and what is taken when nothing is asked.
pub const TOKEN_SECONDS: u32 = 600;
pub const DEFAULT_TOKEN_SECONDS: u32 = 60;
/// Tokens that REPORT ALL ROD TOKENS lists.
pub const TOKENS_LISTED: usize = 512;
