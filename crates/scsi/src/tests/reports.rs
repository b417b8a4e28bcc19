//! Commands that report what there is.

use super::*;

#[test]
fn capacity_is_told_in_both_forms() {
    assert_eq!(reply(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]), [0, 0, 0x07, 0xff, 0, 0, 2, 0]);
    let long = reply(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
    assert_eq!(long[..16], [0, 0, 0, 0, 0, 0, 0x07, 0xff, 0, 0, 2, 0, 0, 3, 0xc0, 0]);
    let huge = with_unit(|unit| unit.size_bytes = 1 << 50, |unit| plan(&cdb(&[0x25]), unit));
    assert_eq!(huge, Ok(Plan::Reply(vec![0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0])));
}

#[test]
fn physical_blocks_are_told_as_large_as_they_are() {
    for exponent in [0, 3, 15] {
        let ask = |bytes: &[u8]| {
            bytes_of(with_unit(|unit| unit.physical_exponent = exponent, |unit| plan(&cdb(bytes), unit)))
        };
        assert_eq!(ask(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0])[13], exponent);
        let granularity = ask(&[0x12, 1, 0xb0, 0, 255, 0]);
        assert_eq!(
            granularity[6..8],
            (1u16 << exponent).to_be_bytes(),
            "OPTIMAL TRANSFER LENGTH GRANULARITY"
        );
    }
}

/// Offered rows are reported one by one as in the list of all, with the right way of asking and no other.
fn check_operation_codes(features: Features) {
    let rows = table::TABLE.iter().filter(|row| {
        let action = row.service_action.unwrap_or(0);
        with_unit(|unit| unit.features = features, |unit| plan(&cdb(&[row.opcode, action]), unit))
            .err()
            .is_none_or(|sense| {
                sense.code != 0x20 && sense != Sense::INVALID_FIELD_IN_CDB.in_byte(1).in_bit(4)
            })
    });
    let ask = |bytes: &[u8]| with_unit(|unit| unit.features = features, |unit| plan(&cdb(bytes), unit));
    let all = bytes_of(ask(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]));
    let descriptors: Vec<&[u8]> = all[4..].chunks(8).collect();
    assert_eq!(descriptors.len(), rows.count());
    for descriptor in descriptors {
        let (opcode, action, serviced) = (descriptor[0], descriptor[3], descriptor[5] & 1 == 1);
        let options = if serviced { 2 } else { 1 };
        let one = bytes_of(ask(&[0xa3, 0x0c, options, opcode, 0, action, 0, 0, 0xff, 0xff, 0, 0]));
        assert_eq!(one[1], 3, "{opcode:#x}");
        assert_eq!((one[2..4].to_vec(), one[4]), (descriptor[6..8].to_vec(), opcode));
        assert!(!serviced || one[5] & 0x1f == action, "{opcode:#x}: the service action, not a mask");
        assert_eq!(usize::from(one[3]) + 4, one.len());
        let other = ask(&[0xa3, 0x0c, 3 - options, opcode, 0, action, 0, 0, 0xff, 0xff, 0, 0]);
        assert_eq!(other, Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2)));
    }
}

#[test]
fn every_command_is_reported_as_the_table_has_it() {
    check_operation_codes(Features::NONE);
    check_operation_codes(Features::ALL);
    check_operation_codes(Features::NONE.with(Feature::RodTokens));
    check_operation_codes(Features::ALL.without(Feature::RodTokens));
    assert_eq!(reply(&[0xa3, 0x0c, 1, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0, 0])[1], 1, "not supported");
    assert_eq!(reply(&[0xa3, 0x0c, 3, 0x5f, 0, 0, 0, 0, 0xff, 0xff, 0, 0])[1], 1, "not switched on");
    assert_eq!(reply_all(&[0xa3, 0x0c, 3, 0x5f, 0, 0, 0, 0, 0xff, 0xff, 0, 0])[1], 3);
}

#[test]
fn timeouts_are_told_with_every_command_when_asked_for() {
    let all = reply_all(&[0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
    for descriptor in all[4..].chunks(20) {
        assert_eq!(descriptor[5] & 0x02, 0x02, "CTDP");
        assert_eq!(descriptor[8..10], [0, 10]);
    }
    let one = reply_all(&[0xa3, 0x0c, 0x81, 0x28, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
    assert_eq!((one[1], one.len()), (0x83, 4 + 10 + 12));
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

#[test]
fn report_luns_knows_every_selection() {
    let select = |code: u8| decode(&[0xa0, 0, code, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    let plan = |select| Ok(Plan::ReportLuns { select, allocation: 256 });
    for (code, expected) in [(0x00, Select::All), (0x01, Select::Special), (0x02, Select::All)] {
        assert_eq!(select(code), plan(expected));
    }
    for (code, expected) in [(0x10, Select::Special), (0x11, Select::All), (0x12, Select::Special)] {
        assert_eq!(select(code), plan(expected));
    }
    assert_eq!(select(0x03), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2)));
    assert_eq!(report::luns([1, 2], Select::Special, 256), [0; 8]);
    assert_eq!(report::luns([1], Select::All, 8), [0, 0, 0, 8, 0, 0, 0, 0], "cut, not the count");
}

#[test]
fn port_groups_are_told_in_both_forms() {
    let groups = [
        0x80, 0x8f, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, //
        0x02, 0x8f, 0, 7, 0, 0, 0, 1, 0, 0, 0, 3,
    ];
    let short = reply_all(&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0]);
    assert_eq!((&short[..4], &short[4..]), (&[0, 0, 0, 28][..], &groups[..]));
    let extended = reply_all(&[0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0]);
    assert_eq!((&extended[..8], &extended[8..]), (&[0, 0, 0, 32, 0x10, 0, 0, 0][..], &groups[..]));
    let cut = reply_all(&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0]);
    assert_eq!(cut, [0, 0, 0, 28], "the length is that of all");
    let unknown = decode_all(&[0xa3, 0x4a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0]);
    assert_eq!(unknown, Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1).in_bit(7)));
}

#[test]
fn there_are_no_defects() {
    assert_eq!(reply(&[0x37, 0, 0x1d, 0, 0, 0, 0, 0, 32, 0]), [0, 0x1d, 0, 0]);
    assert_eq!(reply(&[0xb7, 0x0d, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]), [0, 0x0d, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn log_pages_are_listed_and_can_be_read() {
    let sense =
        |page: u8, subpage: u8, from: u8| decode_all(&[0x4d, 0, 0x40 | page, subpage, 0, 0, from, 0, 255, 0]);
    assert_eq!(bytes_of(sense(0, 0, 0)), [0, 0, 0, 3, 0x00, 0x0c, 0x2f]);
    assert_eq!(bytes_of(sense(0, 0xff, 0)), [0x40, 0xff, 0, 8, 0, 0, 0, 0xff, 0x0c, 0, 0x2f, 0]);
    assert_eq!(bytes_of(sense(0x2f, 0, 0)), [0x2f, 0, 0, 7, 0, 0, 3, 3, 0, 0, 0xff]);
    assert_eq!(sense(0x0d, 0, 0), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2).in_bit(5)));
    assert_eq!(sense(0, 0, 1), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(5)));
    let saving = decode_all(&[0x4d, 1, 0x40, 0, 0, 0, 0, 0, 255, 0]);
    assert_eq!(saving, Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1)));
    let without = |unit: &mut Unit<'_>| unit.features = Features::NONE.with(Feature::LogPages);
    let pages =
        with_unit(without, |unit| bytes_of(plan(&cdb(&[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 255, 0]), unit)));
    assert_eq!(pages[4..], [0x00, 0x2f], "no counts without thresholds");
}

#[test]
fn space_is_logged_in_threshold_sets() {
    use crate::threshold::{Resource, Resources, Scope};
    let page = |from: u8| match decode_all(&[0x4d, 0, 0x4c, 0, 0, 0, from, 0, 255, 0]) {
        Ok(Plan::LogSense(wanted)) => wanted.page(&Resources {
            available: Resource { bytes: (5 << 20) + 1, scope: Scope::Shared },
            used: Resource { bytes: u64::MAX, scope: Scope::Dedicated },
        }),
        other => panic!("{other:?}"),
    };
    let available = [0, 1, 3, 8, 0, 0, 0, 5, 2, 0, 0, 0];
    let used = [0, 2, 3, 8, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    let both = page(0).unwrap();
    assert_eq!((&both[..4], &both[4..16], &both[16..]), (&[0x0c, 0, 0, 24][..], &available[..], &used[..]));
    assert_eq!(page(2).unwrap()[4..], used);
    assert_eq!(page(3), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(5)));
}

#[test]
fn task_management_functions_are_told_in_both_forms() {
    let short = reply(&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0]);
    assert_eq!(short, [0xda, 0, 0, 0]);
    let long = reply(&[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 255, 0, 0]);
    assert_eq!((long.len(), &long[..4]), (16, &[0xda, 0, 0, 12][..]));
    assert_eq!(reply(&[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 4, 0, 0]), [0xda, 0, 0, 12]);
    let too_short = decode(&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0]);
    assert_eq!(too_short, Err(Sense::INVALID_FIELD_IN_CDB.in_byte(6)));
}

#[test]
fn lists_of_commands_are_cut_to_the_allocation_length() {
    let all = reply(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
    assert_eq!(reply(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]), all[..12]);
    assert_eq!(u32::from_be_bytes([all[0], all[1], all[2], all[3]]) as usize, all.len() - 4);
    assert_eq!(all[4..12], [0x00, 0, 0, 0, 0, 0, 0, 6], "TEST UNIT READY");
    let timed = reply(&[0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
    assert_eq!(
        timed[4..24],
        [0x00, 0, 0, 0, 0, 2, 0, 6, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "no time is known"
    );
    let absent = plan_missing(&cdb(&[0x12, 0, 0, 0, 5, 0]), Absence::Other);
    assert_eq!(absent, Ok(Plan::Reply(vec![0x7f, 0, 6, 0x12, 91])));
}

#[test]
fn sense_is_asked_for_in_either_format() {
    let asked = |desc| decode(&[0x03, desc, 0, 0, 252, 0]);
    assert_eq!(asked(0), Ok(Plan::RequestSense { format: SenseFormat::Fixed, allocation: 252 }));
    assert_eq!(asked(1), Ok(Plan::RequestSense { format: SenseFormat::Descriptor, allocation: 252 }));
}
