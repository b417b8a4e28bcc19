//! What `umbra pool usage` prints: what each device maps, alone and shared, and how full the pool is.

use super::check::{METADATA_BLOCK, Space};
use crate::{output::Shape, table::table};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::Path,
};
use umbra_base::size::format_size;
use umbra_thin_check::{Device, Summary};

#[derive(Debug, Serialize)]
pub struct Usage {
    pub metadata_file: String,
    pub block_bytes: u64,
    pub transaction_id: u64,
    pub time: u32,
    pub devices: Vec<DeviceUsage>,
    pub data: Space,
    /// Data blocks that one device alone maps.
    pub exclusive_blocks: u64,
    /// Data blocks that several mappings or a metadata snapshot name.
    pub shared_blocks: u64,
    pub metadata: Space,
    #[serde(skip)]
    in_blocks: bool,
}

#[derive(Debug, Serialize)]
pub struct DeviceUsage {
    pub device: u64,
    pub mapped_blocks: u64,
    pub mapped_bytes: u64,
    pub exclusive_blocks: u64,
    pub exclusive_bytes: u64,
    pub shared_blocks: u64,
    pub shared_bytes: u64,
    pub transaction_id: u64,
    pub creation_time: u32,
    pub snapshotted_time: u32,
}

impl Usage {
    /// The usage of a pool that was found sound.
    pub fn new(metadata: &Path, summary: &Summary, in_blocks: bool) -> Self {
        let block_bytes = u64::from(summary.superblock.data_block_sectors) * 512;
        let device = |(id, device): (&u64, &Device)| DeviceUsage::new(*id, device, block_bytes);
        let devices: Vec<DeviceUsage> = summary.devices.iter().map(device).collect();
        let named: u64 = summary.data.reference_counts.values().sum();
        let exclusive_blocks = devices.iter().map(|device| device.exclusive_blocks).sum();
        Usage {
            metadata_file: metadata.display().to_string(),
            block_bytes,
            transaction_id: summary.superblock.transaction_id,
            time: summary.superblock.time,
            devices,
            data: Space::from(&summary.data),
            exclusive_blocks,
            shared_blocks: named.saturating_sub(exclusive_blocks),
            metadata: Space::from(&summary.metadata),
            in_blocks,
        }
    }
}

impl DeviceUsage {
    fn new(id: u64, device: &Device, block_bytes: u64) -> Self {
        // A sound pool has all of them.
        let mapped_blocks = device.mapped_blocks.unwrap_or(0);
        let exclusive_blocks = device.exclusive_blocks.unwrap_or(0);
        let shared_blocks = mapped_blocks.saturating_sub(exclusive_blocks);
        let bytes = |blocks: u64| blocks.saturating_mul(block_bytes);
        DeviceUsage {
            device: id,
            mapped_blocks,
            mapped_bytes: bytes(mapped_blocks),
            exclusive_blocks,
            exclusive_bytes: bytes(exclusive_blocks),
            shared_blocks,
            shared_bytes: bytes(shared_blocks),
            transaction_id: device.details.map_or(0, |details| details.transaction_id),
            creation_time: device.details.map_or(0, |details| details.creation_time),
            snapshotted_time: device.details.map_or(0, |details| details.snapshotted_time),
        }
    }

    fn row(&self, in_blocks: bool) -> [String; 7] {
        let amount =
            |blocks: u64, bytes: u64| if in_blocks { blocks.to_string() } else { format_size(bytes) };
        [
            self.device.to_string(),
            amount(self.mapped_blocks, self.mapped_bytes),
            amount(self.exclusive_blocks, self.exclusive_bytes),
            amount(self.shared_blocks, self.shared_bytes),
            self.transaction_id.to_string(),
            self.creation_time.to_string(),
            self.snapshotted_time.to_string(),
        ]
    }
}

impl Shape for Usage {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let heads = ["DEVICE", "MAPPED", "EXCLUSIVE", "SHARED", "TRANSACTION", "CREATED", "SNAPPED"];
        let rows: Vec<[String; 7]> = self.devices.iter().map(|device| device.row(self.in_blocks)).collect();
        table(out, heads, &rows)?;
        writeln!(out)?;
        let size = |blocks: u64| format_size(blocks.saturating_mul(self.block_bytes));
        writeln!(
            out,
            "data      {}: {} exclusive, {} shared; blocks of {}",
            self.data.text(self.block_bytes),
            size(self.exclusive_blocks),
            size(self.shared_blocks),
            format_size(self.block_bytes)
        )?;
        writeln!(out, "metadata  {}", self.metadata.text(METADATA_BLOCK))
    }
}
