//! Thin provisioning: UNMAP, WRITE SAME, GET LBA STATUS (SBC-3 sections 4.7, 5.4, 5.28, 5.43, 5.44).

use crate::block::extent;
use crate::bytes::{be16, be32, be64};
use crate::cdb::Cdb;
use crate::limits::{
    BLOCK, STATUS_BLOCKS, STATUS_DESCRIPTORS, UNMAP_BLOCKS, UNMAP_DESCRIPTORS, WRITE_SAME_BLOCKS,
};
use crate::plan::{Extent, Pattern, Plan, Release};
use crate::sense::Sense;
use crate::unit::Unit;

/// ANCHOR: blocks are mapped or not, nothing between.
const ANCHOR_UNMAP: u8 = 0x01;

pub(crate) fn unmap(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    cdb.refuse(1, ANCHOR_UNMAP)?;
    Ok(Plan::Unmap { list: usize::from(cdb.u16(7)) })
}

/// Blocks that one UNMAP names in all: twice the unit of allocation if that is more, so that one of any alignment covers it.
pub fn unmap_blocks(unit: &Unit<'_>) -> u64 {
    UNMAP_BLOCKS.max(2 * u64::from(unit.allocation) / BLOCK)
}

/// The extents of an UNMAP parameter list, all inside the unit. An empty list is legal.
pub fn parse_unmap(list: &[u8], unit: &Unit<'_>) -> Result<Vec<Extent>, Sense> {
    const HEADER: usize = 8;
    const DESCRIPTOR: usize = 16;
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let Some((header, rest)) = list.split_at_checked(HEADER) else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    };
    let announced = usize::from(be16(header, 2));
    let descriptors = rest[..announced.min(rest.len())].chunks_exact(DESCRIPTOR);
    if descriptors.len() > UNMAP_DESCRIPTORS {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST);
    }
    let mut total = 0;
    let mut extents = Vec::with_capacity(descriptors.len());
    for descriptor in descriptors {
        let (lba, blocks) = (be64(descriptor, 0), u64::from(be32(descriptor, 8)));
        total += blocks;
        if total > unmap_blocks(unit) {
            return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST);
        }
        extents.push(extent((lba, blocks), unit)?);
    }
    Ok(extents)
}

pub(crate) fn write_same10(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    write_same(cdb, unit, (u64::from(cdb.u32(2)), u64::from(cdb.u16(7))), Pattern::Sent)
}

pub(crate) fn write_same16(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    const NDOB: u8 = 0x01;
    let pattern = if cdb.has(1, NDOB) { Pattern::Zeroes } else { Pattern::Sent };
    write_same(cdb, unit, (cdb.u64(2), u64::from(cdb.u32(10))), pattern)
}

/// A count of zero is refused, as WSNZ announces.
fn write_same(cdb: &Cdb<'_>, unit: &Unit<'_>, fields: (u64, u64), pattern: Pattern) -> Result<Plan, Sense> {
    const PROTECT: u8 = 0xe0;
    const ANCHOR: u8 = 0x10;
    const UNMAP: u8 = 0x08;
    /// Obsolete PBDATA and LBDATA.
    const OBSOLETE: u8 = 0x06;
    cdb.refuse(1, PROTECT | ANCHOR | OBSOLETE)?;
    let extent = extent(fields, unit)?;
    if extent.blocks == 0 || extent.blocks > WRITE_SAME_BLOCKS {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    }
    let release = if cdb.has(1, UNMAP) { Release::Allowed } else { Release::No };
    Ok(Plan::WriteSame { extent, pattern, release })
}

/// From the starting LBA to the end of the unit, at most [`STATUS_BLOCKS`].
pub(crate) fn get_lba_status(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    let lba = cdb.u64(2);
    if lba >= unit.blocks() {
        return Err(Sense::LBA_OUT_OF_RANGE);
    }
    let blocks = (unit.blocks() - lba).min(STATUS_BLOCKS);
    Ok(Plan::LbaStatus { extent: Extent { lba, blocks }, allocation: cdb.u32(10) as usize })
}

/// Blocks with one provisioning status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRun {
    pub offset: u64,
    pub len: u64,
    pub status: Provisioning,
}

/// Provisioning status (SBC-3 table 42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provisioning {
    Mapped = 0,
    Deallocated = 1,
}

/// The parameter data of GET LBA STATUS; runs of equal status that touch become one descriptor. All is in logical
/// blocks, and the first descriptor begins with the block that was asked for, inside a physical block or not (SBC-3
/// section 5.4).
pub fn lba_status(runs: &[StatusRun], allocation: usize) -> Vec<u8> {
    let mut merged: Vec<StatusRun> = Vec::new();
    for run in runs.iter().filter(|run| run.len > 0) {
        let full = merged.len() == STATUS_DESCRIPTORS;
        match merged.last_mut() {
            Some(last) if last.status == run.status && last.offset + last.len == run.offset => {
                last.len += run.len;
            }
            _ if full => break,
            _ => merged.push(*run),
        }
    }
    let mut bytes = vec![0; 8];
    bytes[..4].copy_from_slice(&((4 + merged.len() * 16) as u32).to_be_bytes());
    for run in merged {
        let blocks = u32::try_from(run.len / BLOCK).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&(run.offset / BLOCK).to_be_bytes());
        bytes.extend_from_slice(&blocks.to_be_bytes());
        bytes.extend_from_slice(&[run.status as u8, 0, 0, 0]);
    }
    bytes.truncate(allocation);
    bytes
}
