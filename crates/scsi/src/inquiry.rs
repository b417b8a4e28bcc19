//! INQUIRY: SPC-4 section 6.6.

use crate::cdb::{Cdb, truncated};
use crate::features::Feature;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::unit::Unit;
use crate::vpd;

/// Version descriptors: SAM-5, SPC-4, SBC-3, iSCSI (SPC-4 section 6.6.2).
const VERSIONS: [u16; 4] = [0x00a0, 0x0460, 0x04c0, 0x0960];
/// SBC-4, where WRITE ATOMIC comes from.
const SBC_4: u16 = 0x0600;
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
    bytes[5] = third_party_and_ports(unit);
    bytes[6] = several_ports(unit);
    bytes[7] = CMDQUE;
    bytes[8..16].copy_from_slice(&padded::<8>(unit.vendor));
    bytes[16..32].copy_from_slice(&padded::<16>(&unit.identity.product));
    bytes[32..36].copy_from_slice(&padded::<4>(unit.revision));
    let newer = unit.features.has(Feature::AtomicWrites).then_some(SBC_4);
    for (at, version) in (58..).step_by(2).zip(VERSIONS.into_iter().chain(newer)) {
        bytes[at..at + 2].copy_from_slice(&version.to_be_bytes());
    }
    bytes
}

/// 3PC, and TPGS: access states change without being asked to, if ever (implicit).
fn third_party_and_ports(unit: &Unit<'_>) -> u8 {
    const THIRD_PARTY_COPY: u8 = 0x08;
    const IMPLICIT: u8 = 0x10;
    let copies = if unit.features.copies() { THIRD_PARTY_COPY } else { 0 };
    let groups = if unit.features.has(Feature::PortGroups) { IMPLICIT } else { 0 };
    copies | groups
}

/// MULTIP: the unit is reached through more than one port.
fn several_ports(unit: &Unit<'_>) -> u8 {
    const MULTIP: u8 = 0x10;
    let topology = unit.topology.filter(|_| unit.features.has(Feature::PortGroups));
    if topology.is_some_and(|topology| topology.ports().count() > 1) { MULTIP } else { 0 }
}

/// Left-aligned ASCII, filled with spaces; other characters become `?` (SPC-4 section 4.4.1).
pub(crate) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [b' '; N];
    for (byte, c) in bytes.iter_mut().zip(text.chars()) {
        *byte = if (' '..='~').contains(&c) { c as u8 } else { b'?' };
    }
    bytes
}
