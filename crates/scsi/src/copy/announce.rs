//! What the copy manager can do: RECEIVE COPY OPERATING PARAMETERS (SPC-4 section 6.23) and the third-party copy page
//! (8Fh, SPC-4 section 7.8.17).
//!
//! What always holds: both say what the parsers hold to; of a feature that is off nothing is said.

use super::segment::{BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_WITH_OFFSET};
use super::token::{RodType, ZERO_ROD};
use crate::bytes::{counted, put};
use crate::cdb::Cdb;
use crate::features::Feature;
use crate::limits::{
    BLOCK, COPY_LIST_BYTES, COPY_RESULTS, COPY_SEGMENT_BYTES, COPY_SEGMENTS, COPY_TARGETS,
    DEFAULT_TOKEN_SECONDS, OPTIMAL_TOKEN_BLOCKS, TOKEN_BLOCKS, TOKEN_RANGES, TOKEN_SECONDS,
};
use crate::plan::Plan;
use crate::sense::Sense;
use crate::table;
use crate::unit::Unit;

/// Descriptor types: two segments and the identification descriptor, ascending.
const DESCRIPTORS: [u8; 3] = [BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_WITH_OFFSET, 0xe4];
/// Smallest piece of data, as a power of two: a block.
const GRANULARITY: u8 = BLOCK.trailing_zeros() as u8;

pub(crate) fn operating_parameters(cdb: &Cdb<'_>, _unit: &Unit<'_>) -> Result<Plan, Sense> {
    /// Copies without a list identifier are taken.
    const SNLID: u8 = 0x01;
    let mut bytes = vec![0; 44];
    bytes[4] = SNLID;
    put(&mut bytes, 8, &(COPY_TARGETS as u16).to_be_bytes());
    put(&mut bytes, 10, &(COPY_SEGMENTS as u16).to_be_bytes());
    put(&mut bytes, 12, &(COPY_LIST_BYTES as u32).to_be_bytes());
    put(&mut bytes, 16, &(COPY_SEGMENT_BYTES as u32).to_be_bytes());
    put(&mut bytes, 34, &(COPY_RESULTS as u16).to_be_bytes());
    (bytes[36], bytes[37]) = (COPY_RESULTS as u8, GRANULARITY);
    bytes[43] = DESCRIPTORS.len() as u8;
    bytes.extend_from_slice(&DESCRIPTORS);
    Ok(Plan::Reply(counted(bytes, cdb.u32(10) as usize)))
}

/// The body of the page: third-party copy descriptors, ascending by type.
pub(crate) fn third_party_page(unit: &Unit<'_>) -> Vec<u8> {
    let (copies, tokens) = (unit.features.has(Feature::ExtendedCopy), unit.features.has(Feature::RodTokens));
    let mut page = Vec::new();
    if tokens {
        descriptor(&mut page, 0x0000, &token_limits());
    }
    descriptor(&mut page, 0x0001, &supported_commands(unit));
    if copies {
        descriptor(&mut page, 0x0004, &parameter_data());
        descriptor(&mut page, 0x0008, &listed(&DESCRIPTORS));
        descriptor(&mut page, 0x000c, &[0, 2, 0xff, 0xff]);
    }
    if tokens {
        descriptor(&mut page, 0x0106, &token_features());
        descriptor(&mut page, 0x0108, &token_types());
    }
    descriptor(&mut page, 0x8001, &general());
    page
}

/// A descriptor, filled up to a multiple of four.
fn descriptor(page: &mut Vec<u8>, kind: u16, body: &[u8]) {
    let length = body.len().next_multiple_of(4);
    page.extend_from_slice(&kind.to_be_bytes());
    page.extend_from_slice(&(length as u16).to_be_bytes());
    page.extend_from_slice(body);
    page.resize(page.len() + length - body.len(), 0);
}

/// A list that begins with its length.
fn listed(list: &[u8]) -> Vec<u8> {
    [&[list.len() as u8][..], list].concat()
}

/// Block device ROD token limits (SBC-3 section 6.6.6).
fn token_limits() -> [u8; 32] {
    let mut body = [0; 32];
    put(&mut body, 6, &(TOKEN_RANGES as u16).to_be_bytes());
    put(&mut body, 8, &TOKEN_SECONDS.to_be_bytes());
    put(&mut body, 12, &DEFAULT_TOKEN_SECONDS.to_be_bytes());
    put(&mut body, 16, &TOKEN_BLOCKS.to_be_bytes());
    put(&mut body, 24, &OPTIMAL_TOKEN_BLOCKS.to_be_bytes());
    body
}

/// The service actions of THIRD-PARTY COPY OUT and IN, as the command table has them.
fn supported_commands(unit: &Unit<'_>) -> Vec<u8> {
    let mut list = Vec::new();
    for opcode in [0x83, 0x84] {
        let rows = table::offered(unit.features).filter(|row| row.opcode == opcode);
        let actions: Vec<u8> = rows.filter_map(|row| row.service_action).collect();
        list.push(opcode);
        list.extend_from_slice(&listed(&actions));
    }
    listed(&list)
}

fn parameter_data() -> [u8; 28] {
    let mut body = [0; 28];
    put(&mut body, 4, &(COPY_TARGETS as u16).to_be_bytes());
    put(&mut body, 6, &(COPY_SEGMENTS as u16).to_be_bytes());
    put(&mut body, 8, &(COPY_LIST_BYTES as u32).to_be_bytes());
    body
}

/// Tokens are for this target only (REMOTE TOKENS 0).
fn token_features() -> [u8; 92] {
    const LONGEST_LIFE: u32 = u32::MAX;
    let mut body = [0; 92];
    put(&mut body, 12, &1u32.to_be_bytes());
    put(&mut body, 16, &LONGEST_LIFE.to_be_bytes());
    put(&mut body, 20, &TOKEN_SECONDS.to_be_bytes());
    let of_blocks = block_features();
    put(&mut body, 42, &(of_blocks.len() as u16).to_be_bytes());
    put(&mut body, 44, &of_blocks);
    body
}

/// Block ROD device type specific features.
fn block_features() -> [u8; 48] {
    let (most, best) = (TOKEN_BLOCKS * BLOCK, OPTIMAL_TOKEN_BLOCKS * BLOCK);
    let mut body = [0; 48];
    body[3] = 44;
    put(&mut body, 8, &most.to_be_bytes());
    put(&mut body, 16, &best.to_be_bytes());
    put(&mut body, 24, &best.to_be_bytes());
    put(&mut body, 32, &best.to_be_bytes());
    body
}

/// Two types of our own that go out and come in, and zeroes, which only come in.
fn token_types() -> Vec<u8> {
    const TOKEN_OUT: u8 = 0x01;
    const TOKEN_IN: u8 = 0x02;
    let types = [
        (RodType::PointInTime as u32, TOKEN_IN | TOKEN_OUT),
        (RodType::ChangeVulnerable as u32, TOKEN_IN | TOKEN_OUT),
        (ZERO_ROD, TOKEN_IN),
    ];
    const DESCRIPTOR: usize = 64;
    let mut body = vec![0; 4 + types.len() * DESCRIPTOR];
    put(&mut body, 2, &((types.len() * DESCRIPTOR) as u16).to_be_bytes());
    for (index, (code, flags)) in types.into_iter().enumerate() {
        let at = 4 + index * DESCRIPTOR;
        put(&mut body, at, &code.to_be_bytes());
        body[at + 4] = flags;
    }
    body
}

fn general() -> [u8; 32] {
    let mut body = [0; 32];
    put(&mut body, 0, &(COPY_RESULTS as u32).to_be_bytes());
    put(&mut body, 4, &(COPY_RESULTS as u32).to_be_bytes());
    put(&mut body, 8, &(COPY_SEGMENT_BYTES as u32).to_be_bytes());
    body[12] = GRANULARITY;
    body
}
