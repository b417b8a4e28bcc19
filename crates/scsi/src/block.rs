//! Commands that move or check blocks: SBC-3 section 5.

use crate::cdb::Cdb;
use crate::limits::{COMPARE_BLOCKS, TRANSFER_BLOCKS};
use crate::plan::{Compare, Durability, Extent, Plan};
use crate::sense::Sense;
use crate::unit::{Unit, WriteCache};

const FUA: u8 = 0x08;
/// RDPROTECT, WRPROTECT, VRPROTECT: no unit is formatted with protection information.
const PROTECT: u8 = 0xe0;

/// Where LBA and length stand in CDBs of each size.
fn fields10(cdb: &Cdb<'_>) -> (u64, u64) {
    (u64::from(cdb.u32(2)), u64::from(cdb.u16(7)))
}
fn fields12(cdb: &Cdb<'_>) -> (u64, u64) {
    (u64::from(cdb.u32(2)), u64::from(cdb.u32(6)))
}
fn fields16(cdb: &Cdb<'_>) -> (u64, u64) {
    (cdb.u64(2), u64::from(cdb.u32(10)))
}
/// A length of 0 means 256 blocks there (SBC-2, READ (6)).
fn fields6(cdb: &Cdb<'_>) -> (u64, u64) {
    let blocks = if cdb.u8(4) == 0 { 256 } else { u64::from(cdb.u8(4)) };
    (u64::from(cdb.u24(1) & 0x1f_ffff), blocks)
}

/// The blocks, if all of them exist.
pub(crate) fn extent((lba, blocks): (u64, u64), unit: &Unit<'_>) -> Result<Extent, Sense> {
    match lba.checked_add(blocks) {
        Some(end) if end <= unit.blocks() => Ok(Extent { lba, blocks }),
        _ => Err(Sense::LBA_OUT_OF_RANGE),
    }
}

/// The blocks of a transfer: as many as the block limits page allows.
fn transfer(fields: (u64, u64), unit: &Unit<'_>) -> Result<Extent, Sense> {
    let extent = extent(fields, unit)?;
    if extent.blocks > u64::from(TRANSFER_BLOCKS) {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    }
    Ok(extent)
}

fn durability(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Durability {
    match unit.cache {
        WriteCache::Back if !cdb.has(1, FUA) => Durability::Cached,
        _ => Durability::BeforeStatus,
    }
}

fn read(cdb: &Cdb<'_>, unit: &Unit<'_>, fields: (u64, u64)) -> Result<Plan, Sense> {
    cdb.refuse(1, PROTECT)?;
    let extent = transfer(fields, unit)?;
    // SBC-3 section 5.10 (FUA): what a volatile cache holds newer than the medium is on the medium first. That this initiator
    // has no such cache (WCE) says nothing of others that write to the unit.
    Ok(if cdb.has(1, FUA) { Plan::ReadMedium(extent) } else { Plan::Read(extent) })
}

fn write(cdb: &Cdb<'_>, unit: &Unit<'_>, fields: (u64, u64)) -> Result<Plan, Sense> {
    cdb.refuse(1, PROTECT)?;
    Ok(Plan::Write { extent: transfer(fields, unit)?, durability: durability(cdb, unit) })
}

/// BYTCHK (SBC-3 section 5.29).
fn compare(cdb: &Cdb<'_>) -> Result<Compare, Sense> {
    match cdb.u8(1) >> 1 & 0x03 {
        0 => Ok(Compare::Medium),
        1 => Ok(Compare::Data),
        3 => Ok(Compare::OneBlock),
        _ => Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1)),
    }
}

fn verify(cdb: &Cdb<'_>, unit: &Unit<'_>, fields: (u64, u64)) -> Result<Plan, Sense> {
    cdb.refuse(1, PROTECT)?;
    Ok(Plan::Verify { compare: compare(cdb)?, extent: transfer(fields, unit)? })
}

fn write_verify(cdb: &Cdb<'_>, unit: &Unit<'_>, fields: (u64, u64)) -> Result<Plan, Sense> {
    cdb.refuse(1, PROTECT)?;
    match compare(cdb)? {
        Compare::OneBlock => Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1)),
        compare => Ok(Plan::WriteVerify { compare, extent: transfer(fields, unit)? }),
    }
}

pub(crate) fn read6(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    Ok(Plan::Read(transfer(fields6(cdb), unit)?))
}

pub(crate) fn write6(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    let durability = match unit.cache {
        WriteCache::Back => Durability::Cached,
        WriteCache::Through => Durability::BeforeStatus,
    };
    Ok(Plan::Write { extent: transfer(fields6(cdb), unit)?, durability })
}

macro_rules! sizes {
    ($($name:ident = $of:ident($fields:ident);)*) => {$(
        pub(crate) fn $name(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
            $of(cdb, unit, $fields(cdb))
        }
    )*};
}

sizes! {
    read10 = read(fields10);
    read12 = read(fields12);
    read16 = read(fields16);
    write10 = write(fields10);
    write12 = write(fields12);
    write16 = write(fields16);
    verify10 = verify(fields10);
    verify12 = verify(fields12);
    verify16 = verify(fields16);
    write_verify10 = write_verify(fields10);
    write_verify12 = write_verify(fields12);
    write_verify16 = write_verify(fields16);
    synchronize10 = synchronize(fields10);
    synchronize16 = synchronize(fields16);
    prefetch10 = prefetch(fields10);
    prefetch16 = prefetch(fields16);
}

/// A count of zero is "to the end"; all of the unit is flushed, whatever the range, before status (IMMED as well: the
/// standard allows to be late, not early).
fn synchronize(_cdb: &Cdb<'_>, unit: &Unit<'_>, fields: (u64, u64)) -> Result<Plan, Sense> {
    extent(fields, unit)?;
    Ok(Plan::Flush)
}

/// SBC-3 section 5.2: one byte of length, twice the data.
pub(crate) fn compare_and_write(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    const _: () = assert!(COMPARE_BLOCKS == u8::MAX, "every length that the CDB can say is allowed");
    cdb.refuse(1, PROTECT)?;
    let extent = extent((cdb.u64(2), u64::from(cdb.u8(13))), unit)?;
    Ok(Plan::CompareAndWrite { extent, durability: durability(cdb, unit) })
}

/// SBC-3 section 5.5: the same fields as a write.
pub(crate) fn or_write(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    cdb.refuse(1, PROTECT)?;
    Ok(Plan::OrWrite { extent: transfer(fields16(cdb), unit)?, durability: durability(cdb, unit) })
}

/// SBC-4, WRITE ATOMIC (16): no longer than announced, aligned, and whole. Atomic boundaries are not offered.
pub(crate) fn write_atomic(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    cdb.refuse(1, PROTECT)?;
    let limits = unit.atomic;
    let extent = extent((cdb.u64(2), u64::from(cdb.u16(12))), unit)?;
    if cdb.u16(10) != 0 {
        return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(10));
    }
    let fits = |value: u64, step: u32| value.is_multiple_of(u64::from(step.max(1)));
    if !fits(extent.lba, limits.alignment) {
        return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2));
    }
    if extent.blocks > u64::from(limits.blocks) || !fits(extent.blocks, limits.granularity) {
        return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(12));
    }
    Ok(Plan::WriteAtomic { extent, durability: durability(cdb, unit) })
}

/// A count of zero is "to the end" (SBC-3 sections 5.8 and 5.9).
fn prefetch(_cdb: &Cdb<'_>, unit: &Unit<'_>, fields: (u64, u64)) -> Result<Plan, Sense> {
    let asked = extent(fields, unit)?;
    let blocks = if asked.blocks == 0 { unit.blocks() - asked.lba } else { asked.blocks };
    Ok(Plan::Prefetch(Extent { blocks, ..asked }))
}

/// The default self-test, which finds a unit that answers in order; no diagnostic pages (SPC-4 section 6.42).
pub(crate) fn send_diagnostic(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    const SELF_TEST: u8 = 0x04;
    cdb.refuse(1, !SELF_TEST)?;
    match (cdb.has(1, SELF_TEST), cdb.u16(3)) {
        (_, 0) => Ok(Plan::Good),
        _ => Err(Sense::INVALID_FIELD_IN_CDB.in_byte(3)),
    }
}

pub(crate) fn test_unit_ready(_cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    Ok(Plan::Good)
}

/// Our units are always active: a start changes nothing, a stop flushes. Power conditions and loading are not offered
/// (SBC-3 section 5.25).
pub(crate) fn start_stop(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    const LOAD_EJECT: u8 = 0x02;
    const POWER_CONDITION: u8 = 0xf0;
    cdb.refuse(4, LOAD_EJECT | POWER_CONDITION)?;
    const START: u8 = 0x01;
    Ok(if cdb.has(4, START) { Plan::Good } else { Plan::Flush })
}

/// The medium cannot be removed anyway.
pub(crate) fn prevent_allow(_cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    Ok(Plan::Good)
}
