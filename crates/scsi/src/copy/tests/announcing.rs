//! What the copy manager says it can do.

use super::*;
use crate::limits::*;
use crate::{Feature, Features, Unit, plan};

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn operating_parameters_are_the_parsers_limits() {
    let bytes = reply_all(&[0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!((bytes.len(), be32(&bytes, 0)), (47, 43));
    assert_eq!((bytes[4], bytes[9], bytes[11]), (1, COPY_TARGETS as u8, COPY_SEGMENTS as u8));
    assert_eq!((be32(&bytes, 12), be32(&bytes, 16)), (COPY_LIST_BYTES as u32, COPY_SEGMENT_BYTES as u32));
    assert_eq!((be32(&bytes, 20), be32(&bytes, 24)), (0, 0), "no inline data, none held");
    assert_eq!(bytes[32..37], [0, 0, 0, COPY_RESULTS as u8, COPY_RESULTS as u8]);
    assert_eq!((bytes[37], &bytes[43..]), (9, &[3, 0x02, 0x0a, 0xe4][..]));
    let too_many =
        32 * (COPY_TARGETS + 1) + 28 <= COPY_LIST_BYTES && 32 + 32 * (COPY_SEGMENTS + 1) <= COPY_LIST_BYTES;
    assert!(too_many, "one too many of each kind is told as such");
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The third-party copy descriptors by their types.
fn descriptors(features: Features) -> Vec<(u16, Vec<u8>)> {
    let set_up = |unit: &mut Unit<'_>| unit.features = features;
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&[0x12, 1, 0x8f, 0xff, 0xff, 0]);
    let Ok(Plan::Reply(page)) = with_unit(set_up, |unit| plan(&bytes, unit)) else { return Vec::new() };
    let mut rest = &page[4..];
    let mut found = Vec::new();
    while let [kind_high, kind_low, high, low, left @ ..] = rest {
        let (body, left) = left.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        assert_eq!(body.len() % 4, 0);
        found.push((u16::from_be_bytes([*kind_high, *kind_low]), body.to_vec()));
        rest = left;
    }
    found
}

#[test]
fn the_page_says_what_is_switched_on() {
    let kinds = |features| descriptors(features).iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
    let copies = Features::NONE.with(Feature::ExtendedCopy);
    let tokens = Features::NONE.with(Feature::RodTokens);
    assert_eq!(kinds(Features::NONE), []);
    assert_eq!(kinds(copies), [0x0001, 0x0004, 0x0008, 0x000c, 0x8001]);
    assert_eq!(kinds(tokens), [0x0000, 0x0001, 0x0106, 0x0108, 0x8001]);
    let all = [0x0000, 0x0001, 0x0004, 0x0008, 0x000c, 0x0106, 0x0108, 0x8001];
    assert_eq!(kinds(Features::ALL), all);
}

#[test]
fn supported_commands_are_those_of_the_table() {
    let commands = |features| descriptors(features).into_iter().find(|(kind, _)| *kind == 1).unwrap().1;
    let all = [15, 0x83, 5, 0, 1, 0x10, 0x11, 0x1c, 0x84, 6, 0, 3, 4, 5, 7, 8];
    assert_eq!(commands(Features::ALL), all);
    let tokens = [8, 0x83, 2, 0x10, 0x11, 0x84, 2, 7, 8, 0, 0, 0];
    assert_eq!(commands(Features::NONE.with(Feature::RodTokens)), tokens);
}

#[test]
fn the_limits_of_tokens_are_announced() {
    let found = descriptors(Features::ALL);
    let of = |kind| &found.iter().find(|(known, _)| *known == kind).unwrap().1;
    let limits = of(0x0000);
    assert_eq!((limits.len(), limits[7]), (32, TOKEN_RANGES as u8));
    assert_eq!((be32(limits, 8), be32(limits, 12)), (TOKEN_SECONDS, DEFAULT_TOKEN_SECONDS));
    assert_eq!((be64(limits, 16), be64(limits, 24)), (TOKEN_BLOCKS, OPTIMAL_TOKEN_BLOCKS));
    let features = of(0x0106);
    assert_eq!((features.len(), features[0]), (92, 0), "for this target only");
    assert_eq!([12, 16, 20].map(|at| be32(features, at)), [1, u32::MAX, TOKEN_SECONDS]);
    assert_eq!((features[43], features[47]), (48, 44), "lengths of what is for blocks");
    assert_eq!(be64(features, 52), TOKEN_BLOCKS * BLOCK);
    assert_eq!([60, 68, 76].map(|at| be64(features, at)), [OPTIMAL_TOKEN_BLOCKS * BLOCK; 3]);
    let types = of(0x0108);
    let listed: Vec<_> = types[4..].chunks(64).map(|one| (be32(one, 0), one[4])).collect();
    assert_eq!(listed, [(0x0080_0000, 3), (0x0080_0001, 3), (0xffff_0001, 2)]);
    assert_eq!(types[..4], [0, 0, 0, 192]);
}

#[test]
fn the_limits_of_copies_are_announced() {
    let found = descriptors(Features::ALL);
    let of = |kind| &found.iter().find(|(known, _)| *known == kind).unwrap().1;
    let (data, general) = (of(0x0004), of(0x8001));
    assert_eq!((data.len(), data[5], data[7]), (28, COPY_TARGETS as u8, COPY_SEGMENTS as u8));
    assert_eq!((be32(data, 8), be32(data, 12)), (COPY_LIST_BYTES as u32, 0));
    assert_eq!(of(0x0008)[..], [3, 0x02, 0x0a, 0xe4]);
    assert_eq!(of(0x000c)[..], [0, 2, 0xff, 0xff]);
    let most = COPY_RESULTS as u32;
    assert_eq!((general.len(), be32(general, 0), be32(general, 4)), (32, most, most));
    assert_eq!((u64::from(be32(general, 8)), general[12]), (COPY_SEGMENT_BYTES, 9));
}
