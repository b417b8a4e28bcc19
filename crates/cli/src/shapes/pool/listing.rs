//! The pieces of `umbra pool dump` and `umbra pool delta` in JSON.

use serde::Serialize;
use std::path::Path;
use umbra_thin_check::{Difference, Listed, Run, Superblock};

#[derive(Debug, Serialize)]
pub struct DumpPool {
    pub metadata_file: String,
    pub metadata_snapshot: bool,
    pub transaction_id: u64,
    pub time: u32,
    pub flags: u32,
    pub version: u32,
    pub block_bytes: u64,
    /// `null` for a metadata snapshot, which does not say.
    pub data_blocks: Option<u64>,
}

impl DumpPool {
    pub fn new(metadata: &Path, held: bool, superblock: &Superblock) -> Self {
        DumpPool {
            metadata_file: metadata.display().to_string(),
            metadata_snapshot: held,
            transaction_id: superblock.transaction_id,
            time: superblock.time,
            flags: superblock.flags,
            version: superblock.version,
            block_bytes: u64::from(superblock.data_block_sectors) * 512,
            data_blocks: (!held).then_some(superblock.data_map.blocks),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct DumpDevice {
    pub device: u64,
    pub mapped_blocks: u64,
    pub transaction_id: u64,
    pub creation_time: u32,
    pub snapshotted_time: u32,
}

impl From<&Listed> for DumpDevice {
    fn from(listed: &Listed) -> Self {
        DumpDevice {
            device: listed.id,
            mapped_blocks: listed.details.mapped_blocks,
            transaction_id: listed.details.transaction_id,
            creation_time: listed.details.creation_time,
            snapshotted_time: listed.details.snapshotted_time,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct DumpMapping {
    pub virtual_block: u64,
    pub data_block: u64,
    pub length: u64,
    pub time: u32,
}

impl From<Run> for DumpMapping {
    fn from(run: Run) -> Self {
        let Run { virtual_block, data_block, length, time } = run;
        DumpMapping { virtual_block, data_block, length, time }
    }
}

#[derive(Debug, Serialize)]
pub struct PoolDifference {
    /// `same`, `different`, `left_only` or `right_only`.
    pub kind: String,
    pub virtual_block: u64,
    pub length: u64,
    pub left_data_block: Option<u64>,
    pub right_data_block: Option<u64>,
}

impl From<Difference> for PoolDifference {
    fn from(run: Difference) -> Self {
        PoolDifference {
            kind: run.comparison.to_string(),
            virtual_block: run.virtual_block,
            length: run.length,
            left_data_block: run.left,
            right_data_block: run.right,
        }
    }
}
