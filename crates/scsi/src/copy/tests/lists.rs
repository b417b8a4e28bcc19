//! EXTENDED COPY: parameter lists and their segments.

use super::*;
use crate::Extent;
use crate::limits::*;

const LIST: Sense = Sense::INVALID_FIELD_IN_PARAMETER_LIST;

fn one_segment() -> Vec<u8> {
    lid1(7, 0, &[naa()], &[segment(0, 0, 8, 16, 32)])
}

#[test]
fn a_copy_names_units_and_blocks() {
    let request = parse(Form::Lid1, &one_segment()).unwrap();
    assert_eq!((request.id, request.keep), (Some(ListId(7)), Keep::UntilAsked));
    assert!(request.targets[0].names(&identity()));
    let segment = request.segments[0];
    assert_eq!((segment.source, segment.destination), (Place::Listed(0), Place::Listed(0)));
    let moved = segment.locate(0, Some(BLOCKS), Some(BLOCKS));
    let extent = |lba| Extent { lba, blocks: 8 };
    assert_eq!(moved, Ok(Move { from: extent(16), to: extent(32) }));
}

#[test]
fn the_long_form_says_the_same() {
    let short = one_segment();
    let mut list = vec![0; 48];
    (list[0], list[3]) = (1, 0x20);
    list[20..24].copy_from_slice(&0x1234_5678u32.to_be_bytes());
    (list[43], list[45]) = (32, 28);
    list.extend_from_slice(&short[16..]);
    let request = parse(Form::Lid4, &list).unwrap();
    assert_eq!(request, Request { id: Some(ListId(0x1234_5678)), ..parse(Form::Lid1, &short).unwrap() });
    list[0] = 0;
    assert_eq!(parse(Form::Lid4, &list), Err(LIST.in_list(0)), "another format");
}

#[test]
fn list_identifiers_may_be_used_kept_or_left_out() {
    let parse = |id, usage| parse(Form::Lid1, &lid1(id, usage, &[naa()], &[])).map(|one| (one.id, one.keep));
    assert_eq!(parse(7, 0b00), Ok((Some(ListId(7)), Keep::UntilAsked)));
    assert_eq!(parse(7, 0b10), Ok((Some(ListId(7)), Keep::WhileRunning)));
    assert_eq!(parse(0, 0b11), Ok((None, Keep::WhileRunning)));
    for (id, usage) in [(7, 0b11), (7, 0b01)] {
        assert_eq!(parse(id, usage), Err(LIST.in_list(1).in_bit(4)));
    }
}

#[test]
fn units_are_named_by_naa_or_uuid() {
    let uuid = [&[0x10, 0][..], &identity().uuid].concat();
    let names = |descriptor| {
        let request = parse(Form::Lid1, &lid1(0, 0, &[descriptor], &[])).unwrap();
        request.targets[0].names(&identity())
    };
    assert!(names(naa()));
    assert!(names(target(0xa, &uuid)));
    assert!(!names(target(0xa, &uuid[..17])));
    assert!(!names(target(3, &[0x31; 8])), "another unit");
    assert!(!names(target(0x13, &identity().naa.to_be_bytes())), "a port's designator");
    assert!(!names(target(1, b"UMBRA   LUN-SER12345")), "a vendor's designator, as long as can be");
    let mut with_lu_id_type = naa();
    with_lu_id_type[1] = 0xc0;
    assert!(names(with_lu_id_type), "LU ID TYPE is ignored");
}

#[test]
fn the_unit_itself_needs_no_descriptor() {
    let request = parse(Form::Lid1, &lid1(0, 0, &[], &[segment(0xffff, 3, 1, 0, 1)])).unwrap();
    let segment = request.segments[0];
    assert_eq!((segment.source, segment.destination), (Place::Here, Place::Listed(3)));
    assert_eq!((request.target(Place::Here), request.target(Place::Listed(3))), (Some(None), None));
}

#[test]
fn bytes_are_counted_in_whole_blocks() {
    let parse = |segment: Vec<u8>| parse(Form::Lid1, &lid1(0, 0, &[naa()], &[segment]));
    let request = parse(with_offset(4096, 1, 2)).unwrap();
    let moved = request.segments[0].locate(0, Some(BLOCKS), Some(BLOCKS)).unwrap();
    assert_eq!((moved.from, moved.to), (Extent { lba: 1, blocks: 8 }, Extent { lba: 2, blocks: 8 }));
    let at = 16 + 32;
    assert_eq!(parse(with_offset(100, 0, 0)), Err(LIST.in_list(at + 8)));
    assert_eq!(parse(with_offset(COPY_SEGMENT_BYTES as u32 + 512, 0, 0)), Err(LIST.in_list(at + 8)));
    assert!(parse(with_offset(COPY_SEGMENT_BYTES as u32, 0, 0)).is_ok());
    for byte in [28, 30] {
        let mut segment = with_offset(512, 0, 0);
        segment[byte + 1] = 1;
        assert_eq!(parse(segment), Err(LIST.in_list(at + byte)), "an offset inside a block");
    }
}

#[test]
fn what_is_not_there_is_told_with_its_segment_and_field() {
    let moved = |from, to, source, destination| {
        let request = parse(Form::Lid1, &lid1(0, 0, &[], &[segment(0, 1, 8, from, to)])).unwrap();
        request.segments[0].locate(5, source, destination)
    };
    let (full, unreachable) = (Some(BLOCKS), Sense::UNREACHABLE_COPY_TARGET);
    assert_eq!(moved(0, 0, None, full), Err(unreachable.in_segment(5).in_segment_byte(4)));
    assert_eq!(moved(0, 0, full, None), Err(unreachable.in_segment(5).in_segment_byte(6)));
    let failed = Sense::COPY_FAILED.in_segment(5);
    assert_eq!(moved(BLOCKS - 7, 0, full, full), Err(failed.in_segment_byte(12)));
    assert_eq!(moved(0, BLOCKS - 7, full, full), Err(failed.in_segment_byte(20)));
    assert_eq!(moved(0, u64::MAX, full, full), Err(failed.in_segment_byte(20)));
    assert!(moved(BLOCKS - 8, BLOCKS - 8, full, full).is_ok());
}

#[test]
fn lists_that_are_cut_off_are_refused() {
    let list = one_segment();
    for length in 0..list.len() {
        let refused = parse(Form::Lid1, &list[..length]);
        assert_eq!(refused, Err(Sense::PARAMETER_LIST_LENGTH_ERROR), "{length}");
    }
    let mut cut = list;
    cut[11] = 27;
    assert_eq!(parse(Form::Lid1, &cut), Err(Sense::PARAMETER_LIST_LENGTH_ERROR), "inside a segment");
}

#[test]
fn too_many_descriptors_are_told_by_their_kind() {
    let many = |targets, segments| {
        let list = lid1(0, 0, &vec![naa(); targets], &vec![segment(0, 0, 1, 0, 1); segments]);
        parse(Form::Lid1, &list).map(|_| ())
    };
    assert_eq!(many(COPY_TARGETS, COPY_SEGMENTS), Ok(()));
    assert_eq!(many(COPY_TARGETS + 1, 1), Err(Sense::TOO_MANY_TARGET_DESCRIPTORS));
    assert_eq!(many(1, COPY_SEGMENTS + 1), Err(Sense::TOO_MANY_SEGMENT_DESCRIPTORS));
    assert_eq!(many(COPY_TARGETS + 1, 200), Err(Sense::PARAMETER_LIST_LENGTH_ERROR), "longer than any");
}

#[test]
fn other_kinds_of_descriptors_are_refused() {
    let parse = |targets: &[[u8; 32]], segments: &[Vec<u8>]| {
        parse(Form::Lid1, &lid1(0, 0, targets, segments)).map(|_| ())
    };
    let mut fibre_channel = naa();
    fibre_channel[0] = 0xe0;
    assert_eq!(parse(&[fibre_channel], &[]), Err(Sense::UNSUPPORTED_TARGET_DESCRIPTOR.in_list(16)));
    let mut stream = segment(0, 0, 1, 0, 1);
    stream[0] = 0x03;
    assert_eq!(parse(&[naa()], &[stream]), Err(Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR.in_list(48)));
    let field = |byte, to| {
        let mut descriptor = naa();
        descriptor[byte] = to;
        parse(&[naa(), descriptor], &[])
    };
    assert_eq!(field(1, 0x01), Err(LIST.in_list(48 + 1)), "a tape");
    assert_eq!(field(7, 21), Err(LIST.in_list(48 + 7)), "a designator that is too long");
    assert_eq!(field(30, 0x10), Err(LIST.in_list(48 + 29)), "blocks of 4096 bytes");
    assert_eq!(field(30, 0), Ok(()), "blocks of whatever size they have");
    let mut wrong = segment(0, 0, 1, 0, 1);
    wrong[3] = 28;
    assert_eq!(parse(&[naa()], &[wrong]), Err(LIST.in_list(50)));
}

#[test]
fn inline_data_and_odd_lengths_are_refused() {
    let mut list = one_segment();
    list[15] = 1;
    assert_eq!(parse(Form::Lid1, &list), Err(Sense::INLINE_DATA_LENGTH_EXCEEDED));
    let mut list = one_segment();
    list[3] = 31;
    assert_eq!(parse(Form::Lid1, &list), Err(LIST.in_list(2)));
}

#[test]
fn the_command_says_the_form_and_the_length() {
    let command = |action: u8, list: u32| {
        let [a, b, c, d] = list.to_be_bytes();
        decode_all(&[0x83, action, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, 0, 0])
    };
    assert_eq!(command(0, 76), Ok(Plan::ExtendedCopy { form: Form::Lid1, list: 76 }));
    assert_eq!(command(1, 76), Ok(Plan::ExtendedCopy { form: Form::Lid4, list: 76 }));
    assert_eq!(command(0, 76).unwrap().data_out(), 76);
    assert_eq!(command(0, 0), Ok(Plan::Good), "nothing to copy");
    let most = 16 + COPY_LIST_BYTES as u32;
    assert!(command(0, most).is_ok());
    assert_eq!(command(0, most + 1), Err(Sense::PARAMETER_LIST_LENGTH_ERROR.in_byte(10)));
}
