//! What a unit can do: block limits (B0h), block device characteristics (B1h), logical block provisioning (B2h).

use crate::bytes::put;
use crate::features::Feature;
use crate::limits::{
    BLOCK, COMPARE_BLOCKS, OPTIMAL_TRANSFER_BLOCKS, THRESHOLD_EXPONENT, TRANSFER_BLOCKS, UNMAP_DESCRIPTORS,
    WRITE_SAME_BLOCKS,
};
use crate::provision::unmap_blocks;
use crate::unit::Unit;

/// SBC-3 section 6.6.3; the atomic fields are SBC-4's. No atomic boundary is offered.
pub(super) fn block_limits(unit: &Unit<'_>) -> Vec<u8> {
    const WSNZ: u8 = 0x01;
    const UGAVALID: u8 = 0x80;
    let granularity = (u64::from(unit.allocation) / BLOCK).max(1) as u32;
    let mut page = vec![0; 64];
    page[4] = WSNZ;
    page[5] = COMPARE_BLOCKS;
    put(&mut page, 6, &(1u16 << (unit.physical_exponent & 0x0f)).to_be_bytes());
    put(&mut page, 8, &TRANSFER_BLOCKS.to_be_bytes());
    put(&mut page, 12, &OPTIMAL_TRANSFER_BLOCKS.to_be_bytes());
    put(&mut page, 20, &(unmap_blocks(unit) as u32).to_be_bytes());
    put(&mut page, 24, &(UNMAP_DESCRIPTORS as u32).to_be_bytes());
    put(&mut page, 28, &granularity.to_be_bytes());
    page[32] = UGAVALID;
    put(&mut page, 36, &WRITE_SAME_BLOCKS.to_be_bytes());
    if unit.features.has(Feature::AtomicWrites) {
        put(&mut page, 44, &unit.atomic.blocks.to_be_bytes());
        put(&mut page, 48, &unit.atomic.alignment.to_be_bytes());
        put(&mut page, 52, &unit.atomic.granularity.to_be_bytes());
    }
    page.split_off(4)
}

/// SBC-3 section 6.6.2: not a rotating medium.
pub(super) fn characteristics(_unit: &Unit<'_>) -> Vec<u8> {
    let mut body = vec![0; 60];
    body[1] = 1;
    body
}

/// SBC-3 section 6.6.4: thin; UNMAP and both WRITE SAME release; released blocks read as zeroes.
pub(super) fn provisioning(unit: &Unit<'_>) -> Vec<u8> {
    const LBPU: u8 = 0x80;
    const LBPWS: u8 = 0x40;
    const LBPWS10: u8 = 0x20;
    const LBPRZ: u8 = 0x04;
    const THIN: u8 = 0x02;
    let exponent = if unit.features.has(Feature::Thresholds) { THRESHOLD_EXPONENT } else { 0 };
    vec![exponent, LBPU | LBPWS | LBPWS10 | LBPRZ, THIN, 0]
}
