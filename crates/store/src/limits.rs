//! Bounds of the store, and how they were chosen.

use std::time::Duration;

/// Smallest data block: 64 KiB, the format's.
pub const BLOCK_BYTES_MIN: u64 = 64 << 10;
/// Largest data block: 1 GiB, the format's. A first write to a shared block copies it whole while its writer waits, so
/// large blocks are for LUNs that are seldom copied.
pub const BLOCK_BYTES_MAX: u64 = 1 << 30;
/// Largest data file: 2^40 blocks would be more than any file system holds.
pub const DATA_BYTES_MAX: u64 = 1 << 50;
/// Bytes of one segment of the log: the hard limit, and room for writers that passed it just before. Three of these are
/// allocated in the backing for as long as the pool is open.
pub const LOG_SEGMENT_BYTES: u64 = 4 << 20;
/// Log bytes at which a commit is asked for: 21 000 records, over a GiB of new blocks.
pub const LOG_SOFT_BYTES: u64 = 1 << 20;
/// Log bytes at which the direct door hands out no new blocks any more: those that are out need room when they come back.
pub const LOG_DIRECT_BYTES: u64 = 2 << 20;
/// Log bytes at which a writer waits for that commit.
pub const LOG_HARD_BYTES: u64 = 3 << 20;
/// Longest time between a change and a commit that nobody asked for; the kernel's dm-thin does the same.
pub const COMMIT_PERIOD: Duration = Duration::from_secs(1);
/// Blocks that one step of a write plans at once: bounds the time under the engine's lock.
pub const BLOCKS_PER_STEP: u64 = 64;
/// Blocks that are looked up or unmapped under one taking of the engine's lock.
pub const BLOCKS_PER_LOOKUP: u64 = 1 << 16;
/// Bytes copied or zeroed at a time.
pub const COPY_BYTES: u64 = 1 << 20;
/// Bytes allocated in the backing at a time (A5): a system call per MiB instead of one per block.
pub const ALLOCATE_BYTES: u64 = 1 << 20;

/// Times that a change looks for room in a full pool at least, each after something was given back, before it may fail:
/// every round that fails had its room taken by somebody else.
pub const ROUNDS_FOR_ROOM: u32 = 64;
/// Memory for metadata unless another size is asked for: enough for 0.8 TiB at 64 KiB.
pub const CACHE_BYTES: u64 = 64 << 20;
/// The part of it, one in so many, that holds nodes of trees; the rest holds mappings, which nodes say less densely.
pub const NODES_OF_CACHE: u64 = 6;
/// Nodes in memory at least: several paths of every tree.
pub const NODES_MIN: u64 = 256;
/// How long a full pool queues writes before it fails them, unless the array says otherwise: well below the 30 s after
/// which initiators give a command up.
pub const FULL_WAIT: Duration = Duration::from_secs(5);
/// Leaves of a deleted device that are dropped under one taking of the engine's lock: 63 000 mappings at most, some
/// milliseconds.
pub const LEAVES_PER_STEP: u64 = 16;
/// Such steps between two commits in the background.
pub const STEPS_PER_COMMIT: u32 = 32;
/// Expendable things that one look at a critical pool gives up at most; the next look goes on.
pub const GIVEN_UP_AT_ONCE: u32 = 16;
/// Nodes that one step of a comparison of two devices reads at most.
pub const NODES_PER_STEP: u64 = 256;
/// Bytes that are shared under one hold.
pub const SHARED_AT_ONCE: u64 = 1 << 30;
/// Holes that are made in the data file after a commit at most, the longest first: the next commit waits for them.
pub const PUNCHES_PER_COMMIT: usize = 64;
/// Free blocks that are out of reach at a time while their space is given back to a full backing.
pub const BLOCKS_EMPTIED: u64 = 1 << 12;
/// Damaged metadata blocks that `pool status` names; of more it says how many.
pub const DAMAGE_NAMED: usize = 64;
/// Damaged metadata blocks that are kept in mind, with some 200 bytes of text each.
pub const DAMAGE_KEPT: usize = 4096;
