//! The command table against what the standards say of each command: CDB in, plan or sense out.

use crate::limits::*;
use crate::mode::{self, Header, ModeState};
use crate::provision::{self, Provisioning, StatusRun};
use crate::*;
use proptest::prelude::*;

const BLOCKS: u64 = 2048;

fn identity() -> LunIdentity {
    LunIdentity {
        naa: 0x3123_4567_89ab_cdef,
        uuid: *b"0123456789abcdef",
        serial: "SER-1".to_owned(),
        product: "LUN".to_owned(),
    }
}

fn with_unit<T>(change: impl FnOnce(&mut Unit<'_>), check: impl FnOnce(&Unit<'_>) -> T) -> T {
    let identity = identity();
    let mut unit = Unit {
        vendor: "UMBRA",
        revision: "0001",
        identity: &identity,
        size_bytes: BLOCKS * BLOCK,
        access: Access::ReadWrite,
        cache: WriteCache::Back,
        mode: ModeState::default(),
        allocation: 65_536,
    };
    change(&mut unit);
    check(&unit)
}

fn cdb(bytes: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    cdb
}

fn decode(bytes: &[u8]) -> Result<Plan, Sense> {
    with_unit(|_| {}, |unit| plan(&cdb(bytes), unit))
}

fn reply(bytes: &[u8]) -> Vec<u8> {
    match decode(bytes) {
        Ok(Plan::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

/// Key, code, qualifier.
fn refusal(bytes: &[u8]) -> (u8, u8, u8) {
    let sense = decode(bytes).expect_err("it should be refused");
    (sense.key, sense.code, sense.qualifier)
}

const OUT_OF_RANGE: (u8, u8, u8) = (5, 0x21, 0);
const INVALID_FIELD: (u8, u8, u8) = (5, 0x24, 0);

#[test]
fn reads_and_writes_of_every_size_name_the_same_blocks() {
    let extent = Extent { lba: 0x123, blocks: 5 };
    for bytes in [
        &[0x08, 0, 0x01, 0x23, 5, 0][..],
        &[0x28, 0, 0, 0, 0x01, 0x23, 0, 0, 5, 0],
        &[0xa8, 0, 0, 0, 0x01, 0x23, 0, 0, 0, 5, 0, 0],
        &[0x88, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x23, 0, 0, 0, 5, 0, 0],
    ] {
        assert_eq!(decode(bytes), Ok(Plan::Read(extent)), "{bytes:x?}");
        let mut write = bytes.to_vec();
        write[0] += 2;
        assert_eq!(decode(&write), Ok(Plan::Write { extent, durability: Durability::Cached }), "{write:x?}");
        if write.len() > 6 {
            write[1] = 0x08;
            assert_eq!(decode(&write), Ok(Plan::Write { extent, durability: Durability::BeforeStatus }));
        }
    }
    assert_eq!(decode(&[0x08, 0, 0, 0, 0, 0]), Ok(Plan::Read(Extent { lba: 0, blocks: 256 })));
}

#[test]
fn without_a_write_cache_every_write_is_durable_before_its_status() {
    for bytes in [&[0x0a, 0, 0, 0, 1, 0][..], &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]] {
        let plan = with_unit(|unit| unit.cache = WriteCache::Through, |unit| plan(&cdb(bytes), unit));
        assert!(matches!(plan, Ok(Plan::Write { durability: Durability::BeforeStatus, .. })));
    }
}

#[test]
fn blocks_beyond_the_unit_are_refused_whatever_the_arithmetic() {
    let last = |blocks: u8| decode(&[0x28, 0, 0, 0, 0x07, 0xff, 0, 0, blocks, 0]);
    assert!(last(1).is_ok());
    assert_eq!(last(2), Err(Sense::LBA_OUT_OF_RANGE));
    assert_eq!(
        refusal(&[0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]),
        OUT_OF_RANGE
    );
    assert_eq!(
        refusal(&[0x93, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0]),
        OUT_OF_RANGE
    );
    assert_eq!(refusal(&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 24, 0, 0]), OUT_OF_RANGE);
    assert_eq!(refusal(&[0x35, 0, 0, 0, 0x08, 0, 0, 0, 1, 0]), OUT_OF_RANGE);
}

#[test]
fn a_transfer_longer_than_announced_is_refused() {
    let large = |unit: &mut Unit<'_>| unit.size_bytes = 1 << 40;
    let blocks = TRANSFER_BLOCKS + 1;
    let mut bytes = cdb(&[0x88]);
    bytes[10..14].copy_from_slice(&blocks.to_be_bytes());
    assert!(matches!(with_unit(large, |unit| plan(&bytes, unit)), Err(Sense { code: 0x24, .. })));
    bytes[10..14].copy_from_slice(&TRANSFER_BLOCKS.to_be_bytes());
    assert!(with_unit(large, |unit| plan(&bytes, unit)).is_ok());
}

#[test]
fn what_changes_the_medium_is_refused_on_protected_units() {
    let changing: [&[u8]; 10] = [
        &[0x0a, 0, 0, 0, 1, 0],
        &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0x2e, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0],
        &[0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
    ];
    for bytes in changing {
        assert!(decode(bytes).is_ok(), "{bytes:x?}");
        let read_only = with_unit(|unit| unit.access = Access::ReadOnly, |unit| plan(&cdb(bytes), unit));
        assert_eq!(read_only, Err(Sense::WRITE_PROTECTED), "{bytes:x?}");
        let swp = with_unit(|unit| unit.mode.software_write_protect = true, |unit| plan(&cdb(bytes), unit));
        assert_eq!(swp, Err(Sense::SOFTWARE_WRITE_PROTECTED), "{bytes:x?}");
    }
    let read = with_unit(
        |unit| unit.access = Access::ReadOnly,
        |unit| plan(&cdb(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]), unit),
    );
    assert!(read.is_ok());
}

#[test]
fn what_is_not_offered_is_refused() {
    assert_eq!(refusal(&[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0]), (5, 0x20, 0), "PERSISTENT RESERVE OUT");
    assert_eq!(refusal(&[0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0]), (5, 0x20, 0), "EXTENDED COPY");
    assert_eq!(refusal(&[0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0]), INVALID_FIELD, "unknown service action");
    assert_eq!(refusal(&[0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0]), INVALID_FIELD, "RDPROTECT");
    assert_eq!(refusal(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0x04]), INVALID_FIELD, "NACA");
    assert_eq!(refusal(&[0x2f, 0x04, 0, 0, 0, 0, 0, 0, 1, 0]), INVALID_FIELD, "BYTCHK 10b");
    assert_eq!(refusal(&[0x42, 0x01, 0, 0, 0, 0, 0, 0, 24, 0]), INVALID_FIELD, "ANCHOR");
    assert_eq!(refusal(&[0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0]), INVALID_FIELD, "WSNZ");
    assert_eq!(refusal(&[0x1a, 0, 0xc8, 0, 255, 0]), (5, 0x39, 0), "saved values");
    assert_eq!(refusal(&[0x12, 0, 0x80, 0, 255, 0]), INVALID_FIELD, "page code without EVPD");
    assert_eq!(refusal(&[0x12, 1, 0xb9, 0, 255, 0]), INVALID_FIELD, "unknown page");
    assert_eq!(refusal(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0]), INVALID_FIELD, "too short for a list");
}

#[test]
fn inquiry_names_the_unit() {
    let standard = reply(&[0x12, 0, 0, 0, 255, 0]);
    assert_eq!(standard.len(), 96);
    assert_eq!(standard[..8], [0, 0, 6, 0x12, 91, 0, 0, 2]);
    assert_eq!(&standard[8..36], b"UMBRA   LUN             0001");
    assert_eq!(reply(&[0x12, 0, 0, 0, 5, 0]).len(), 5, "cut to the allocation length");
    assert_eq!(reply(&[0x12, 1, 0, 0, 255, 0]), [0, 0, 0, 6, 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    assert_eq!(reply(&[0x12, 1, 0x80, 0, 255, 0]), b"\x00\x80\x00\x05SER-1");
}

#[test]
fn the_identification_page_has_naa_t10_and_uuid() {
    let page = reply(&[0x12, 1, 0x83, 0, 255, 0]);
    assert_eq!(page[4..16], [1, 3, 0, 8, 0x31, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    assert_eq!(page[16..20], [2, 1, 0, 29]);
    assert_eq!(&page[20..49], b"UMBRA   LUN             SER-1");
    assert_eq!(page[49..55], [1, 0x0a, 0, 18, 0x10, 0]);
    assert_eq!(&page[55..], b"0123456789abcdef");
    assert_eq!(usize::from(page[3]) + 4, page.len());
}

#[test]
fn limits_pages_say_what_the_decoder_holds_to() {
    let limits = reply(&[0x12, 1, 0xb0, 0, 255, 0]);
    let be32 = |at: usize| u32::from_be_bytes(limits[at..at + 4].try_into().unwrap());
    assert_eq!((limits.len(), limits[3]), (64, 60));
    assert_eq!((limits[4], limits[5], be32(8)), (1, COMPARE_BLOCKS, TRANSFER_BLOCKS));
    assert_eq!((u64::from(be32(20)), be32(24) as usize, be32(28)), (UNMAP_BLOCKS, UNMAP_DESCRIPTORS, 128));
    assert_eq!(reply(&[0x12, 1, 0xb1, 0, 255, 0])[..6], [0, 0xb1, 0, 60, 0, 1]);
    assert_eq!(reply(&[0x12, 1, 0xb2, 0, 255, 0]), [0, 0xb2, 0, 4, 0, 0xe4, 2, 0]);
}

#[test]
fn capacity_is_told_in_both_forms() {
    assert_eq!(reply(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]), [0, 0, 0x07, 0xff, 0, 0, 2, 0]);
    let long = reply(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
    assert_eq!(long[..16], [0, 0, 0, 0, 0, 0, 0x07, 0xff, 0, 0, 2, 0, 0, 3, 0xc0, 0]);
    let huge = with_unit(|unit| unit.size_bytes = 1 << 50, |unit| plan(&cdb(&[0x25]), unit));
    assert_eq!(huge, Ok(Plan::Reply(vec![0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0])));
}

#[test]
fn every_command_is_reported_as_the_table_has_it() {
    let all = reply(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
    let descriptors: Vec<&[u8]> = all[4..].chunks(8).collect();
    assert_eq!(descriptors.len(), table::TABLE.len());
    for descriptor in descriptors {
        let (opcode, action, serviced) = (descriptor[0], descriptor[3], descriptor[5] & 1 == 1);
        let options = if serviced { 2 } else { 1 };
        let one = reply(&[0xa3, 0x0c, options, opcode, 0, action, 0, 0, 0xff, 0xff, 0, 0]);
        assert_eq!(one[1], 3, "{opcode:#x}");
        assert_eq!((one[2..4].to_vec(), one[4]), (descriptor[6..8].to_vec(), opcode));
        assert_eq!(usize::from(one[3]) + 4, one.len());
        let other = [0xa3, 0x0c, 3 - options, opcode, 0, action, 0, 0, 0xff, 0xff, 0, 0];
        assert_eq!(refusal(&other), INVALID_FIELD);
        assert_eq!(decode(&other).unwrap_err().cdb_byte, Some(2));
    }
    assert_eq!(reply(&[0xa3, 0x0c, 1, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0, 0])[1], 1, "not supported");
}

#[test]
fn operation_codes_stand_in_order_and_once() {
    let rows: Vec<_> = table::TABLE.iter().map(|row| (row.opcode, row.service_action)).collect();
    assert!(rows.is_sorted() && rows.windows(2).all(|pair| pair[0] != pair[1]));
    for row in table::TABLE {
        let len = match row.opcode >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            _ => 12,
        };
        assert_eq!((row.usage.len(), row.usage[0]), (len, row.opcode), "{:#x}", row.opcode);
    }
}

#[test]
fn mode_pages_show_cache_protection_and_what_may_change() {
    let six =
        |bytes: &[u8], change: fn(&mut Unit<'_>)| match with_unit(change, |unit| plan(&cdb(bytes), unit)) {
            Ok(Plan::Reply(reply)) => reply,
            other => panic!("{other:?}"),
        };
    let all = six(&[0x1a, 0, 0x3f, 0, 255, 0], |_| {});
    assert_eq!(all[..12], [43, 0, 0x10, 8, 0, 0, 0x08, 0, 0, 0, 2, 0]);
    assert_eq!(all[12..15], [0x08, 18, 0x04]);
    assert_eq!(all[32..36], [0x0a, 10, 0, 0x10]);
    let read_only = six(&[0x1a, 8, 0x08, 0, 255, 0], |unit| {
        unit.access = Access::ReadOnly;
        unit.cache = WriteCache::Through;
    });
    assert_eq!((read_only[2], read_only[6]), (0x90, 0));
    let changeable = six(&[0x1a, 8, 0x7f, 0, 255, 0], |_| {});
    assert!(changeable[6..24].iter().all(|byte| *byte == 0), "caching");
    assert_eq!(changeable[26..36], [0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0], "control");
    let ten = six(&[0x5a, 0x10, 0x08, 0, 0, 0, 0, 0, 255, 0], |_| {});
    assert_eq!(ten[..8], [0, 42, 0, 0x10, 1, 0, 0, 16]);
}

#[test]
fn mode_select_takes_what_is_changeable_and_nothing_else() {
    let mut list = vec![0, 0, 0, 0, 0x0a, 10, 0x04, 0x10, 0x08, 0, 0, 0, 0xff, 0xff, 0, 0];
    let select = |list: &[u8]| with_unit(|_| {}, |unit| mode::select(list, Header::Six, unit));
    let state = select(&list).unwrap();
    assert_eq!((state.sense_format, state.software_write_protect), (SenseFormat::Descriptor, true));
    assert_eq!(select(&list[..15]), Err(Sense::PARAMETER_LIST_LENGTH_ERROR));
    list[7] = 0;
    assert_eq!(select(&list), Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST));
    let mut caching = vec![0; 24];
    (caching[4], caching[5], caching[6]) = (0x08, 18, 0x04);
    assert!(select(&caching).is_ok(), "as it is");
    caching[6] = 0;
    assert_eq!(
        select(&caching),
        Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST),
        "WCE is not for the initiator to change"
    );
    assert_eq!(select(&[]), Ok(ModeState::default()));
}

fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let len = ranges.len() as u16 * 16;
    let mut list = (len + 6).to_be_bytes().to_vec();
    list.extend(len.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

#[test]
fn unmap_lists_are_checked_as_a_whole() {
    let parse = |list: &[u8]| with_unit(|_| {}, |unit| provision::parse_unmap(list, unit));
    assert_eq!(parse(&[]), Ok(vec![]));
    let both = vec![Extent { lba: 0, blocks: 8 }, Extent { lba: 100, blocks: 0 }];
    assert_eq!(parse(&unmap_list(&[(0, 8), (100, 0)])), Ok(both));
    assert_eq!(parse(&unmap_list(&[(0, 8), (BLOCKS, 1)])), Err(Sense::LBA_OUT_OF_RANGE));
    assert_eq!(parse(&[0; 7]), Err(Sense::PARAMETER_LIST_LENGTH_ERROR));
    let many = vec![(0, 1); UNMAP_DESCRIPTORS + 1];
    assert_eq!(parse(&unmap_list(&many)), Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST));
    let long = unmap_list(&[(0, UNMAP_BLOCKS as u32 + 1)]);
    assert_eq!(parse(&long), Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST));
}

#[test]
fn lba_status_merges_what_touches() {
    let run = |offset, status| StatusRun { offset, len: 4096, status };
    let runs =
        [run(0, Provisioning::Mapped), run(4096, Provisioning::Mapped), run(8192, Provisioning::Deallocated)];
    let bytes = provision::lba_status(&runs, 4096);
    assert_eq!(bytes[..4], [0, 0, 0, 36]);
    assert_eq!(bytes[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0]);
    assert_eq!(bytes[24..40], [0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 8, 1, 0, 0, 0]);
    assert_eq!(provision::lba_status(&runs, 24).len(), 24);
}

#[test]
fn data_that_does_not_fit_the_command_is_told_apart() {
    let extent = Extent { lba: 0, blocks: 2 };
    let write = || Plan::Write { extent, durability: Durability::Cached };
    let one = Plan::Write { extent: Extent { blocks: 1, ..extent }, durability: Durability::Cached };
    assert_eq!(write().with_data(1024), Ok(write()));
    assert_eq!(write().with_data(5000), Ok(write()));
    assert_eq!(write().with_data(512), Ok(one));
    assert_eq!(write().with_data(700), Err(Sense::INVALID_FIELD_IN_INFORMATION_UNIT));
    let same = Plan::WriteSame { extent, pattern: Pattern::Sent, release: Release::No };
    assert_eq!(same.clone().with_data(512), Ok(same.clone()));
    assert_eq!(same.with_data(1024), Err(Sense::INVALID_FIELD_IN_CDB));
    let unmap = Plan::Unmap { list: 24 };
    assert_eq!(unmap.with_data(8), Err(Sense::INVALID_FIELD_IN_INFORMATION_UNIT));
}

#[test]
fn a_lun_without_a_unit_answers_what_it_must() {
    let missing = |bytes: &[u8], absence| plan_missing(&cdb(bytes), absence);
    let Ok(Plan::Reply(other)) = missing(&[0x12, 0, 0, 0, 255, 0], Absence::Other) else { panic!() };
    let Ok(Plan::Reply(zero)) = missing(&[0x12, 0, 0, 0, 255, 0], Absence::LunZero) else { panic!() };
    assert_eq!((other[0], zero[0]), (0x7f, 0x3f));
    assert_eq!(missing(&[0; 6], Absence::LunZero), Err(Sense::LOGICAL_UNIT_NOT_SUPPORTED));
    assert!(missing(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0], Absence::LunZero).is_ok());
    let Ok(Plan::Reply(sense)) = missing(&[0x03, 0, 0, 0, 18, 0], Absence::Other) else { panic!() };
    assert_eq!((sense[2], sense[12]), (5, 0x25));
}

proptest! {
    #[test]
    fn any_cdb_decodes_without_panic_to_blocks_inside_the_unit(bytes in prop::array::uniform16(any::<u8>()), row in 0usize..64, size in 0u64..1 << 40) {
        let mut bytes = bytes;
        if let Some(row) = table::TABLE.get(row) {
            bytes[0] = row.opcode;
            bytes[1] = row.service_action.map_or(bytes[1], |action| bytes[1] & 0xe0 | action);
        }
        let plan = with_unit(|unit| unit.size_bytes = size * BLOCK, |unit| plan(&bytes, unit));
        if let Ok(
            Plan::Read(extent)
            | Plan::Write { extent, .. }
            | Plan::Verify { extent, .. }
            | Plan::WriteVerify { extent, .. }
            | Plan::CompareAndWrite { extent, .. }
            | Plan::WriteSame { extent, .. }
            | Plan::LbaStatus { extent, .. },
        ) = plan
        {
            prop_assert!(extent.lba + extent.blocks <= size);
        }
    }

    #[test]
    fn any_parameter_list_parses_without_panic(list in prop::collection::vec(any::<u8>(), 0..300)) {
        with_unit(|_| {}, |unit| {
            let _extents = provision::parse_unmap(&list, unit);
            let _six = mode::select(&list, Header::Six, unit);
            let _ten = mode::select(&list, Header::Ten, unit);
        });
    }
}
