//! Who a unit is: unit serial number (80h), device identification (83h), SCSI ports (88h).
//!
//! What always holds: designators of the unit come first, then those of the port that the command came through, then
//! that of the target.

use crate::features::Feature;
use crate::inquiry::padded;
use crate::topology::{Port, Topology};
use crate::unit::Unit;

const BINARY: u8 = 1;
const ASCII: u8 = 2;
const UTF8: u8 = 3;
/// ASSOCIATION, in its place in the designator's second byte.
const OF_UNIT: u8 = 0x00;
const OF_PORT: u8 = 0x10;
const OF_TARGET: u8 = 0x20;

pub(super) fn serial_number(unit: &Unit<'_>) -> Vec<u8> {
    ascii(&unit.identity.serial)
}

/// At most 64 characters: room in every page and every database of serial numbers.
fn ascii(text: &str) -> Vec<u8> {
    let bytes = padded::<64>(text);
    bytes[..text.chars().count().min(64)].to_vec()
}

/// SPC-4 section 7.8.6. Of the unit: locally assigned NAA, T10 vendor id, UUID; where ports are offered, those of the
/// port and the target.
pub(super) fn identification(unit: &Unit<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    designator(&mut bytes, BINARY, OF_UNIT | 0x3, &unit.identity.naa.to_be_bytes());
    let mut vendor = padded::<8>(unit.vendor).to_vec();
    vendor.extend_from_slice(&padded::<16>(&unit.identity.product));
    vendor.extend_from_slice(&ascii(&unit.identity.serial));
    designator(&mut bytes, ASCII, OF_UNIT | 0x1, &vendor);
    designator(&mut bytes, BINARY, OF_UNIT | 0xa, &uuid(&unit.identity.uuid));
    if let Some(topology) = unit.topology.filter(|_| unit.features.has(Feature::PortGroups)) {
        port_and_target(&mut bytes, &topology);
    }
    bytes
}

/// The UUID designator's contents (SPC-5 section 7.7.6): type 1, a reserved byte, the UUID.
pub(crate) fn uuid(uuid: &[u8; 16]) -> Vec<u8> {
    [&[0x10, 0][..], uuid].concat()
}

fn port_and_target(bytes: &mut Vec<u8>, topology: &Topology<'_>) {
    if let Some((group, port)) = topology.here() {
        iscsi_designator(bytes, OF_PORT | 0x4, &relative(port.relative));
        iscsi_designator(bytes, OF_PORT | 0x5, &relative(group.number));
        name(bytes, OF_PORT, &topology.port_name(port));
    }
    name(bytes, OF_TARGET, topology.target);
}

/// A 16-bit identifier in a designator of four bytes.
fn relative(number: u16) -> [u8; 4] {
    u32::from(number).to_be_bytes()
}

fn designator(bytes: &mut Vec<u8>, code_set: u8, kind: u8, designator: &[u8]) {
    bytes.extend_from_slice(&[code_set, kind, 0, designator.len() as u8]);
    bytes.extend_from_slice(designator);
}

/// PIV, and the protocol where the code set is.
const PIV: u8 = 0x80;
const ISCSI: u8 = 0x50;

fn iscsi_designator(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) {
    designator(bytes, ISCSI | BINARY, PIV | kind, value);
}

/// A SCSI name string: UTF-8 with a NUL, filled up to a multiple of four, at most 252 bytes.
fn name(bytes: &mut Vec<u8>, association: u8, text: &str) {
    const NAME_STRING: u8 = 0x8;
    const MOST: usize = 252;
    let mut value = text.as_bytes()[..text.len().min(MOST - 1)].to_vec();
    value.resize((value.len() + 1).next_multiple_of(4), 0);
    designator(bytes, ISCSI | UTF8, PIV | association | NAME_STRING, &value);
}

/// SPC-4 section 7.8.14: every target port by its name; of initiator ports there are none.
pub(super) fn ports(unit: &Unit<'_>) -> Vec<u8> {
    let Some(topology) = unit.topology else { return Vec::new() };
    topology.ports().flat_map(|(_, port)| port_descriptor(&topology, port)).collect()
}

fn port_descriptor(topology: &Topology<'_>, port: &Port) -> Vec<u8> {
    let mut designators = Vec::new();
    name(&mut designators, OF_PORT, &topology.port_name(port));
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&port.relative.to_be_bytes());
    bytes.extend_from_slice(&[0; 6]);
    bytes.extend_from_slice(&(designators.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&designators);
    bytes
}
