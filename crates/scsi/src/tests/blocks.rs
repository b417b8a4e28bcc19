//! Commands that move, check or release blocks.

use super::*;
use crate::limits::*;
use crate::provision::{self, Provisioning, StatusRun};

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
            let mut read = bytes.to_vec();
            read[1] = 0x08;
            assert_eq!(decode(&read), Ok(Plan::ReadMedium(extent)), "{read:x?}");
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
    let changing: [&[u8]; 13] = [
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
        &[0x8b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0],
        &[0x83, 0x11, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0],
    ];
    let with = |change: fn(&mut Unit<'_>), bytes: &[u8]| {
        let everything_but = |unit: &mut Unit<'_>| {
            everything(unit);
            change(unit);
        };
        with_unit(everything_but, |unit| plan(&cdb(bytes), unit))
    };
    for bytes in changing {
        assert!(decode_all(bytes).is_ok(), "{bytes:x?}");
        let read_only = with(|unit| unit.access = Access::ReadOnly, bytes);
        assert_eq!(read_only, Err(Sense::WRITE_PROTECTED), "{bytes:x?}");
        let swp = with(|unit| unit.mode.software_write_protect = true, bytes);
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
    assert_eq!(refusal(&[0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 0]), (5, 0x20, 0), "WRITE ATOMIC");
    assert_eq!(refusal(&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0]), INVALID_FIELD, "REPORT TARGET PORT GROUPS");
    assert_eq!(refusal(&[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0]), (5, 0x20, 0), "SET TARGET PORT GROUPS");
    assert_eq!(refusal(&[0x48, 0x03, 0, 0, 0, 0, 0, 0, 0, 0]), (5, 0x20, 0), "SANITIZE");
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
fn both_lengths_of_write_same_name_their_blocks() {
    let extent = Extent { lba: 0x102, blocks: 0x203 };
    let same = |pattern, release| Ok(Plan::WriteSame { extent, pattern, release });
    assert_eq!(decode(&[0x41, 0, 0, 0, 1, 2, 0, 2, 3, 0]), same(Pattern::Sent, Release::No));
    assert_eq!(decode(&[0x41, 8, 0, 0, 1, 2, 0, 2, 3, 0]), same(Pattern::Sent, Release::Allowed));
    let long = |flags| decode(&[0x93, flags, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 2, 3, 0, 0]);
    assert_eq!(long(0x00), same(Pattern::Sent, Release::No));
    assert_eq!(long(0x09), same(Pattern::Zeroes, Release::Allowed));
}

#[test]
fn high_addresses_reach_the_plan_whole() {
    let large = |unit: &mut Unit<'_>| {
        everything(unit);
        unit.size_bytes = 1 << 60;
    };
    let lba = |bytes: &[u8]| match with_unit(large, |unit| plan(&cdb(bytes), unit)) {
        Ok(
            Plan::WriteSame { extent, .. } | Plan::OrWrite { extent, .. } | Plan::WriteAtomic { extent, .. },
        ) => extent.lba,
        Ok(Plan::Prefetch(extent) | Plan::LbaStatus { extent, .. }) => extent.lba,
        other => panic!("{other:?}"),
    };
    let (short, long) = (0x8070_6050, 0x0003_0201_8070_6050);
    assert_eq!(lba(&[0x41, 0, 0x80, 0x70, 0x60, 0x50, 0, 0, 1, 0]), short);
    assert_eq!(lba(&[0x34, 0, 0x80, 0x70, 0x60, 0x50, 0, 0, 1, 0]), short);
    for (opcode, action) in [(0x93, 0), (0x8b, 0), (0x9c, 0), (0x90, 0), (0x9e, 0x12)] {
        let bytes = [opcode, action, 0, 3, 2, 1, 0x80, 0x70, 0x60, 0x50, 0, 0, 0, 4, 0, 0];
        assert_eq!(lba(&bytes), long, "{opcode:#x}");
    }
}

#[test]
fn what_a_verify_compares_with_is_told_by_its_code() {
    let verify = |byte| decode(&[0x2f, byte, 0, 0, 0, 1, 0, 0, 2, 0]);
    let extent = Extent { lba: 1, blocks: 2 };
    for (byte, compare, data) in
        [(0x00, Compare::Medium, 0), (0x02, Compare::Data, 1024), (0x06, Compare::OneBlock, 512)]
    {
        let plan = verify(byte).unwrap();
        assert_eq!(plan.data_out(), data);
        assert_eq!(plan, Plan::Verify { extent, compare });
    }
}

#[test]
fn an_atomic_write_is_short_aligned_and_whole() {
    let atomic = |lba: u8, boundary: u8, blocks: u16| {
        let [high, low] = blocks.to_be_bytes();
        decode_all(&[0x9c, 0x08, 0, 0, 0, 0, 0, 0, 0, lba, 0, boundary, high, low, 0, 0])
    };
    let expected = |blocks| {
        let extent = Extent { lba: 16, blocks };
        Ok(Plan::WriteAtomic { extent, durability: Durability::BeforeStatus })
    };
    assert_eq!(atomic(16, 0, 256), expected(256));
    assert_eq!(atomic(16, 0, 0), expected(0));
    assert_eq!(atomic(16, 0, 260), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(12)), "too long");
    assert_eq!(atomic(16, 0, 6), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(12)), "granularity");
    assert_eq!(atomic(4, 0, 4), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2)), "alignment");
    assert_eq!(atomic(16, 1, 4), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(10)), "boundary");
    let anywhere = |unit: &mut Unit<'_>| {
        everything(unit);
        unit.atomic = AtomicLimits { blocks: 256, alignment: 0, granularity: 0 };
    };
    let odd = [0x9c, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0];
    assert!(with_unit(anywhere, |unit| plan(&odd, unit)).is_ok(), "no alignment, no granularity");
    let beyond = decode_all(&[0x9c, 0, 0, 0, 0, 0, 0, 0, 0x07, 0xf8, 0, 0, 0, 12, 0, 0]);
    assert_eq!(beyond, Err(Sense::LBA_OUT_OF_RANGE), "whatever else is wrong");
    let short = atomic(16, 0, 4).unwrap().with_data(3 * 512);
    assert_eq!(short, Err(Sense::INVALID_FIELD_IN_INFORMATION_UNIT), "no part of it is written");
}

#[test]
fn or_writes_and_prefetches_name_their_blocks() {
    let or = decode_all(&[0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0]);
    let extent = Extent { lba: 3, blocks: 2 };
    assert_eq!(or, Ok(Plan::OrWrite { extent, durability: Durability::BeforeStatus }));
    assert_eq!(or.unwrap().data_out(), 1024);
    assert_eq!(decode_all(&[0x34, 0x02, 0, 0, 0, 3, 0, 0, 2, 0]), Ok(Plan::Prefetch(extent)));
    let to_the_end = Extent { lba: 2000, blocks: 48 };
    let fetch = [0x90, 0, 0, 0, 0, 0, 0, 0, 0x07, 0xd0, 0, 0, 0, 0, 0, 0];
    assert_eq!(decode_all(&fetch), Ok(Plan::Prefetch(to_the_end)));
    assert_eq!(decode_all(&[0x34, 0, 0, 0, 0x08, 0x01, 0, 0, 0, 0]), Err(Sense::LBA_OUT_OF_RANGE));
}

#[test]
fn the_default_self_test_passes_and_others_are_not_there() {
    assert_eq!(decode(&[0x1d, 0x04, 0, 0, 0, 0]), Ok(Plan::Good));
    assert_eq!(refusal(&[0x1d, 0x01, 0, 0, 0, 0]), INVALID_FIELD, "UNITOFFL");
    assert_eq!(decode(&[0x1d, 0, 0, 0, 0, 0]), Ok(Plan::Good));
    assert_eq!(refusal(&[0x1d, 0x20, 0, 0, 0, 0]), INVALID_FIELD, "background self-test");
    let page = decode(&[0x1d, 0x04, 0, 0, 8, 0]);
    assert_eq!(page, Err(Sense::INVALID_FIELD_IN_CDB.in_byte(3)), "a diagnostic page");
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
    let large = |unit: &mut Unit<'_>| unit.size_bytes = 1 << 40;
    let most = unmap_list(&[(0, UNMAP_BLOCKS as u32)]);
    assert!(with_unit(large, |unit| provision::parse_unmap(&most, unit)).is_ok());
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
