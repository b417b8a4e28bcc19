//! What a pool contains, for people who ask: devices, space, and how widely blocks are shared.

use crate::{
    devices::Device,
    superblock::{MapRoot, Superblock},
};
use std::collections::BTreeMap;

/// The contents of a pool as the check found them.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The superblock as stored.
    pub superblock: Superblock,
    /// Space on the data device.
    pub data: MapSummary,
    /// Space on the metadata device.
    pub metadata: MapSummary,
    /// Levels of the top-level tree, the details tree and the highest mapping tree.
    pub levels: [u32; 3],
    /// Every device.
    pub devices: BTreeMap<u64, Device>,
    /// Devices of which only details are left: their mappings cannot be found. Ascending.
    pub lost: Vec<u64>,
    /// Every device in the metadata snapshot, if there is one.
    pub held: Option<BTreeMap<u64, Device>>,
}

/// One space map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapSummary {
    /// Blocks that the map counts.
    pub blocks: u64,
    /// Blocks in use as the superblock says.
    pub allocated_stored: u64,
    /// Blocks in use as the bitmaps say.
    pub allocated: u64,
    /// Number of blocks with each reference count above zero, as found by following every pointer.
    pub reference_counts: BTreeMap<u32, u64>,
    /// Levels of the index tree (0: an index block) and of the overflow tree.
    pub levels: [u32; 2],
}

impl MapSummary {
    pub(crate) fn new(
        root: MapRoot,
        allocated: u64,
        reference_counts: BTreeMap<u32, u64>,
        levels: [u32; 2],
    ) -> MapSummary {
        MapSummary {
            blocks: root.blocks,
            allocated_stored: root.allocated,
            allocated,
            reference_counts,
            levels,
        }
    }
}
