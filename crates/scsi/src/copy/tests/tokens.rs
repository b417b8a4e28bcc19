//! POPULATE TOKEN and WRITE USING TOKEN.

use super::*;
use crate::limits::*;
use crate::{Extent, Unit};

const LIST: Sense = Sense::INVALID_FIELD_IN_PARAMETER_LIST;

fn ranges(ranges: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (lba, blocks) in ranges {
        bytes.extend_from_slice(&lba.to_be_bytes());
        bytes.extend_from_slice(&blocks.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
    }
    bytes
}

fn with_header(mut header: Vec<u8>, wanted: &[(u64, u32)]) -> Vec<u8> {
    let ranges = ranges(wanted);
    let length = header.len();
    header[..2].copy_from_slice(&((length + ranges.len() - 2) as u16).to_be_bytes());
    header[length - 2..].copy_from_slice(&(ranges.len() as u16).to_be_bytes());
    [header, ranges].concat()
}

fn populate(wanted: &[(u64, u32)]) -> Vec<u8> {
    with_header(vec![0; 16], wanted)
}

fn parse_it(list: &[u8]) -> Result<Populate, Sense> {
    with_unit(everything, |unit| parse_populate(list, unit))
}

fn token() -> Token {
    with_unit(everything, |unit| Token::new(unit, RodType::ChangeVulnerable, 0x1234, 9, [0xa5; 32]))
}

fn use_of(token: &[u8; 512], wanted: &[(u64, u32)]) -> Vec<u8> {
    let mut header = vec![0; 536];
    header[16..528].copy_from_slice(token);
    with_header(header, wanted)
}

fn parse_the_use(list: &[u8]) -> Result<Use, Sense> {
    with_unit(everything, |unit| parse_use(list, unit))
}

#[test]
fn the_commands_name_their_copy_and_the_length_of_their_list() {
    let command = |action, list: u16| {
        let [high, low] = list.to_be_bytes();
        decode_all(&[0x83, action, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, high, low, 0, 0])
    };
    let id = ListId(0x0102_0304);
    assert_eq!(command(0x10, 32), Ok(Plan::PopulateToken { id, list: 32 }));
    assert_eq!(command(0x11, 552), Ok(Plan::WriteUsingToken { id, list: 552 }));
    assert_eq!(command(0x11, 552).unwrap().data_out(), 552);
    assert_eq!(command(0x10, 0), Ok(Plan::Good));
    assert_eq!(command(0x10, 0x2000), Err(Sense::PARAMETER_LIST_LENGTH_ERROR.in_byte(10)));
}

#[test]
fn blocks_for_a_token_are_named_by_ranges() {
    let request = parse_it(&populate(&[(0, 8), (100, 4)])).unwrap();
    assert_eq!(request.ranges, [Extent { lba: 0, blocks: 8 }, Extent { lba: 100, blocks: 4 }]);
    assert_eq!((request.blocks(), request.seconds, request.kind), (12, DEFAULT_TOKEN_SECONDS, None));
}

#[test]
fn time_and_type_are_what_was_asked_for_or_refused() {
    let with = |flags: u8, seconds: u32, kind: u32| {
        let mut list = populate(&[(0, 8)]);
        list[2] = flags;
        list[4..8].copy_from_slice(&seconds.to_be_bytes());
        list[8..12].copy_from_slice(&kind.to_be_bytes());
        parse_it(&list).map(|request| (request.seconds, request.kind))
    };
    assert_eq!(with(0, TOKEN_SECONDS, 0x1234), Ok((TOKEN_SECONDS, None)), "RTV is zero");
    assert_eq!(with(1, 1, 0x1234), Ok((1, None)), "IMMED says nothing of types");
    assert_eq!(with(0, TOKEN_SECONDS + 1, 0), Err(LIST.in_list(4)));
    assert_eq!(with(2, 1, 0x0080_0000), Ok((1, Some(RodType::PointInTime))));
    assert_eq!(with(2, 1, 0x0080_0001), Ok((1, Some(RodType::ChangeVulnerable))));
    assert_eq!(with(2, 1, 0x0080_ffff), Ok((1, None)), "any point in time");
    for kind in [0x0001_0000, 0x0080_0002, 0xffff_0001] {
        assert_eq!(with(2, 1, kind), Err(LIST.in_list(8)), "{kind:#x}");
    }
}

#[test]
fn ranges_lie_inside_apart_and_below_the_limit() {
    let parse = |wanted: &[(u64, u32)]| parse_it(&populate(wanted)).map(|request| request.ranges.len());
    assert_eq!(parse(&[(BLOCKS - 8, 8)]), Ok(1));
    assert_eq!(parse(&[(BLOCKS - 7, 8)]), Err(Sense::LBA_OUT_OF_RANGE));
    assert_eq!(parse(&[(u64::MAX, 8)]), Err(Sense::LBA_OUT_OF_RANGE));
    assert_eq!(parse(&[(8, 8), (0, 9)]), Err(LIST.in_list(16)), "they overlap");
    assert_eq!(parse(&[(8, 8), (0, 8), (9, 0)]), Ok(3), "an empty one overlaps nothing");
    assert_eq!(parse(&[]), Err(LIST.in_list(14)));
    let many: Vec<_> = (0..=TOKEN_RANGES as u64).map(|at| (at, 1)).collect();
    assert_eq!(parse(&many[1..]), Ok(TOKEN_RANGES));
    assert_eq!(parse(&many), Err(Sense::TOO_MANY_SEGMENT_DESCRIPTORS));
    let large = |unit: &mut Unit<'_>| {
        everything(unit);
        unit.size_bytes = 1 << 50;
    };
    let limit = |blocks| with_unit(large, |unit| parse_populate(&populate(&[(0, blocks)]), unit).is_ok());
    assert!(limit(TOKEN_BLOCKS as u32) && !limit(TOKEN_BLOCKS as u32 + 1));
}

#[test]
fn lists_that_are_cut_off_are_refused() {
    let list = populate(&[(0, 8), (100, 4)]);
    for length in 0..list.len() {
        assert_eq!(parse_it(&list[..length]), Err(Sense::PARAMETER_LIST_LENGTH_ERROR), "{length}");
    }
    let mut short = list;
    short[1] = 45;
    assert_eq!(parse_it(&short), Err(LIST.in_list(0)), "the count does not reach the ranges' end");
    assert_eq!(parse_the_use(&[0; 535]), Err(Sense::PARAMETER_LIST_LENGTH_ERROR));
}

#[test]
fn a_token_says_what_it_is_and_of_whom() {
    let token = token();
    let bytes = token.bytes();
    assert_eq!(bytes[..16], [0, 0x80, 0, 1, 0, 0, 0x01, 0xf8, 0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(bytes[16..24], [0xe4, 0, 0, 0, 1, 3, 0, 8]);
    assert_eq!(bytes[24..32], identity().naa.to_be_bytes());
    assert_eq!(bytes[48..64], (0x1234u128 * 512).to_be_bytes());
    assert_eq!((&bytes[96..102], &bytes[480..]), (&[0, 0, 2, 0, 0, 3][..], &[0xa5; 32][..]));
}

#[test]
fn only_what_is_public_of_tokens_is_listed() {
    let tokens = [token(), token()];
    let bytes = report_tokens(&tokens, 1 << 20);
    assert_eq!((bytes.len(), &bytes[..8]), (8 + 2 * 96, &[0, 0, 0, 196, 0, 0, 0, 0][..]));
    assert_eq!(bytes[8..104], token().bytes()[..96]);
    assert_eq!(report_tokens(&tokens, 4), [0, 0, 0, 196]);
    let many = vec![token(); TOKENS_LISTED + 1];
    assert_eq!(report_tokens(&many, usize::MAX).len(), 8 + TOKENS_LISTED * 96);
    let plan = decode_all(&[0x84, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(plan, Ok(Plan::ReportTokens { allocation: 256 }));
}

#[test]
fn a_token_comes_back_as_it_was_given_out() {
    let mut list = use_of(token().bytes(), &[(16, 8)]);
    list[15] = 5;
    list[2] = 0x02;
    let request = parse_the_use(&list).unwrap();
    assert_eq!(request.token, Named::Token(token()));
    let ranges = vec![Extent { lba: 16, blocks: 8 }];
    assert_eq!((request.offset, request.ranges, request.delete), (5, ranges, true));
}

#[test]
fn zeroes_need_no_token_of_ours_and_others_are_refused() {
    let named = |kind: u32, length: u16| {
        let mut token = [0; 512];
        token[..4].copy_from_slice(&kind.to_be_bytes());
        token[6..8].copy_from_slice(&length.to_be_bytes());
        parse_the_use(&use_of(&token, &[(0, 1)])).map(|request| request.token)
    };
    assert_eq!(named(0xffff_0001, 0x01f8), Ok(Named::Zeroes));
    assert_eq!(named(0x0001_0000, 0x01f8), Err(Sense::UNSUPPORTED_TOKEN_TYPE));
    assert_eq!(named(0x0080_0000, 0x01f0), Err(Sense::INVALID_TOKEN_LENGTH));
}

#[test]
fn pieces_go_through_both_lists_side_by_side() {
    let extent = |lba, blocks| Extent { lba, blocks };
    let piece = |from, blocks, to| Piece { from: extent(from, blocks), to };
    let source = [extent(100, 10), extent(50, 0), extent(200, 10)];
    let laid = |offset, destination: &[Extent]| lay_out(&source, offset, destination);
    assert_eq!(laid(0, &[extent(0, 20)]), Ok(vec![piece(100, 10, 0), piece(200, 10, 10)]));
    assert_eq!(
        laid(3, &[extent(0, 4), extent(1000, 8)]),
        Ok(vec![piece(103, 4, 0), piece(107, 3, 1000), piece(200, 5, 1003)])
    );
    assert_eq!(laid(10, &[extent(7, 10)]), Ok(vec![piece(200, 10, 7)]));
    assert_eq!(laid(20, &[extent(0, 0)]), Ok(vec![]));
    assert_eq!(laid(11, &[extent(0, 10)]), Err(LIST.in_list(8)), "more than is left");
    assert_eq!(laid(21, &[extent(0, 0)]), Err(LIST.in_list(8)), "beyond the end");
}
