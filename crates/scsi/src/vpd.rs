//! Vital product data pages: SPC-4 section 7.8, SBC-3 section 6.6.

use crate::inquiry::padded;
use crate::limits::{
    BLOCK, COMPARE_BLOCKS, OPTIMAL_TRANSFER_BLOCKS, PHYSICAL_EXPONENT, TRANSFER_BLOCKS, UNMAP_BLOCKS,
    UNMAP_DESCRIPTORS, WRITE_SAME_BLOCKS,
};
use crate::unit::Unit;

type Page = (u8, fn(&Unit<'_>) -> Vec<u8>);

/// Every page, in ascending order.
const PAGES: [Page; 6] = [
    (0x00, supported),
    (0x80, serial_number),
    (0x83, identification),
    (0xb0, block_limits),
    (0xb1, characteristics),
    (0xb2, provisioning),
];

/// The whole page, header included.
pub(crate) fn page(code: u8, unit: &Unit<'_>) -> Option<Vec<u8>> {
    let (_, body) = PAGES.iter().find(|(known, _)| *known == code)?;
    let body = body(unit);
    let mut bytes = vec![0, code];
    bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}

fn supported(_unit: &Unit<'_>) -> Vec<u8> {
    PAGES.iter().map(|(code, _)| *code).collect()
}

fn serial_number(unit: &Unit<'_>) -> Vec<u8> {
    ascii(&unit.identity.serial)
}

/// At most 64 characters: room in every page and every database of serial numbers.
fn ascii(text: &str) -> Vec<u8> {
    let bytes = padded::<64>(text);
    bytes[..text.chars().count().min(64)].to_vec()
}

/// Designators of the unit: locally assigned NAA, T10 vendor id, UUID (section 7.8.6).
fn identification(unit: &Unit<'_>) -> Vec<u8> {
    const BINARY: u8 = 1;
    const ASCII: u8 = 2;
    let mut bytes = Vec::new();
    designator(&mut bytes, BINARY, 0x3, &unit.identity.naa.to_be_bytes());
    let mut vendor = padded::<8>(unit.vendor).to_vec();
    vendor.extend_from_slice(&padded::<16>(&unit.identity.product));
    vendor.extend_from_slice(&ascii(&unit.identity.serial));
    designator(&mut bytes, ASCII, 0x1, &vendor);
    let mut uuid = vec![0x10, 0];
    uuid.extend_from_slice(&unit.identity.uuid);
    designator(&mut bytes, BINARY, 0xa, &uuid);
    bytes
}

fn designator(bytes: &mut Vec<u8>, code_set: u8, kind: u8, designator: &[u8]) {
    bytes.extend_from_slice(&[code_set, kind, 0, designator.len() as u8]);
    bytes.extend_from_slice(designator);
}

/// SBC-3 section 6.6.4.
fn block_limits(unit: &Unit<'_>) -> Vec<u8> {
    const WSNZ: u8 = 0x01;
    const UGAVALID: u8 = 0x80;
    let granularity = (u64::from(unit.allocation) / BLOCK).max(1) as u32;
    let mut page = vec![0; 64];
    page[4] = WSNZ;
    page[5] = COMPARE_BLOCKS;
    put(&mut page, 6, &(1u16 << PHYSICAL_EXPONENT).to_be_bytes());
    put(&mut page, 8, &TRANSFER_BLOCKS.to_be_bytes());
    put(&mut page, 12, &OPTIMAL_TRANSFER_BLOCKS.to_be_bytes());
    put(&mut page, 20, &(UNMAP_BLOCKS as u32).to_be_bytes());
    put(&mut page, 24, &(UNMAP_DESCRIPTORS as u32).to_be_bytes());
    put(&mut page, 28, &granularity.to_be_bytes());
    page[32] = UGAVALID;
    put(&mut page, 36, &WRITE_SAME_BLOCKS.to_be_bytes());
    page.split_off(4)
}

/// SBC-3 section 6.6.2: not a rotating medium.
fn characteristics(_unit: &Unit<'_>) -> Vec<u8> {
    let mut body = vec![0; 60];
    body[1] = 1;
    body
}

/// SBC-3 section 6.6.5: thin; UNMAP and both WRITE SAME release; released blocks read as zeroes.
fn provisioning(_unit: &Unit<'_>) -> Vec<u8> {
    const LBPU: u8 = 0x80;
    const LBPWS: u8 = 0x40;
    const LBPWS10: u8 = 0x20;
    const LBPRZ: u8 = 0x04;
    const THIN: u8 = 0x02;
    vec![0, LBPU | LBPWS | LBPWS10 | LBPRZ, THIN, 0]
}

fn put(page: &mut [u8], at: usize, value: &[u8]) {
    page[at..at + value.len()].copy_from_slice(value);
}
