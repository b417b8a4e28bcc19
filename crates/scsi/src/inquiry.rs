//! INQUIRY: SPC-4 section 6.6.

use crate::cdb::{Cdb, truncated};
use crate::plan::Plan;
use crate::sense::Sense;
use crate::unit::Unit;
use crate::vpd;

/// Version descriptors: SAM-5, SPC-4, SBC-3, iSCSI (SPC-4 table 143).
const VERSIONS: [u16; 4] = [0x00a0, 0x0460, 0x04c0, 0x0960];
/// Bytes of our standard INQUIRY data: all that the standard defines.
pub(crate) const STANDARD_BYTES: usize = 96;

pub(crate) fn inquiry(cdb: &Cdb<'_>, unit: &Unit<'_>) -> Result<Plan, Sense> {
    const EVPD: u8 = 0x01;
    let allocation = usize::from(cdb.u16(3));
    let bytes = match (cdb.has(1, EVPD), cdb.u8(2)) {
        (true, page) => vpd::page(page, unit).ok_or(Sense::INVALID_FIELD_IN_CDB.in_byte(2))?,
        (false, 0) => standard(unit),
        (false, _) => return Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2)),
    };
    Ok(Plan::Reply(truncated(bytes, allocation)))
}

fn standard(unit: &Unit<'_>) -> Vec<u8> {
    let mut bytes = vec![0; STANDARD_BYTES];
    const SPC_4: u8 = 0x06;
    const HISUP_AND_FORMAT: u8 = 0x12;
    const CMDQUE: u8 = 0x02;
    bytes[2] = SPC_4;
    bytes[3] = HISUP_AND_FORMAT;
    bytes[4] = (STANDARD_BYTES - 5) as u8;
    bytes[7] = CMDQUE;
    bytes[8..16].copy_from_slice(&padded::<8>(unit.vendor));
    bytes[16..32].copy_from_slice(&padded::<16>(&unit.identity.product));
    bytes[32..36].copy_from_slice(&padded::<4>(unit.revision));
    for (at, version) in (58..).step_by(2).zip(VERSIONS) {
        bytes[at..at + 2].copy_from_slice(&version.to_be_bytes());
    }
    bytes
}

/// Left-aligned ASCII, filled with spaces; other characters become `?` (SPC-4 section 4.4.1).
pub(crate) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [b' '; N];
    for (byte, c) in bytes.iter_mut().zip(text.chars()) {
        *byte = if (' '..='~').contains(&c) { c as u8 } else { b'?' };
    }
    bytes
}
