//! Copies as they are asked for over the wire.

mod announcing;
mod any;
mod lists;
mod results;
mod tokens;

use super::*;
use crate::tests::{BLOCKS, decode_all, everything, identity, reply_all, with_unit};

/// An identification descriptor.
fn target(kind: u8, designator: &[u8]) -> [u8; 32] {
    let mut descriptor = [0; 32];
    (descriptor[0], descriptor[4], descriptor[5], descriptor[7]) = (0xe4, 1, kind, designator.len() as u8);
    descriptor[8..8 + designator.len()].copy_from_slice(designator);
    descriptor[30] = 2;
    descriptor
}

fn naa() -> [u8; 32] {
    target(3, &identity().naa.to_be_bytes())
}

/// A segment from block device to block device.
fn segment(source: u16, destination: u16, blocks: u16, from: u64, to: u64) -> Vec<u8> {
    let mut descriptor = vec![0x02, 0, 0, 24];
    for value in [source, destination, 0, blocks] {
        descriptor.extend_from_slice(&value.to_be_bytes());
    }
    descriptor.extend_from_slice(&from.to_be_bytes());
    descriptor.extend_from_slice(&to.to_be_bytes());
    descriptor
}

/// The same with a count of bytes.
fn with_offset(bytes: u32, from: u64, to: u64) -> Vec<u8> {
    let mut descriptor = vec![0x0a, 0, 0, 28, 0, 0, 0, 0];
    descriptor.extend_from_slice(&bytes.to_be_bytes());
    descriptor.extend_from_slice(&from.to_be_bytes());
    descriptor.extend_from_slice(&to.to_be_bytes());
    descriptor.extend_from_slice(&[0; 4]);
    descriptor
}

/// A parameter list of the short form.
fn lid1(id: u8, usage: u8, targets: &[[u8; 32]], segments: &[Vec<u8>]) -> Vec<u8> {
    let (targets, segments) = (targets.concat(), segments.concat());
    let mut list = vec![id, usage << 3];
    list.extend_from_slice(&(targets.len() as u16).to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    list.extend_from_slice(&(segments.len() as u32).to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    [list, targets, segments].concat()
}
