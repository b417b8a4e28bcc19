//! Sense data against SPC-4 section 4.5 and annex F.

use super::*;

#[test]
fn both_formats_carry_key_code_and_information() {
    let sense = Sense::MISCOMPARE_DURING_VERIFY.at(0x1234);
    let fixed = sense.encode(SenseFormat::Fixed);
    assert_eq!(fixed, [0xf0, 0, 0x0e, 0, 0, 0x12, 0x34, 10, 0, 0, 0, 0, 0x1d, 0, 0, 0, 0, 0]);
    let descriptor = sense.encode(SenseFormat::Descriptor);
    assert_eq!(descriptor[..8], [0x72, 0x0e, 0x1d, 0, 0, 0, 0, 12]);
    assert_eq!(descriptor[8..], [0, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34]);
}

#[test]
fn an_illegal_field_is_pointed_at() {
    let sense = Sense::INVALID_FIELD_IN_CDB.in_byte(2);
    assert_eq!(sense.encode(SenseFormat::Fixed)[15..], [0xc0, 0, 2]);
    assert_eq!(sense.encode(SenseFormat::Descriptor)[7..], [8, 0x02, 0x06, 0, 0, 0xc0, 0, 2, 0]);
    let list = Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(0x123).in_bit(5);
    assert_eq!(list.encode(SenseFormat::Fixed)[15..], [0x8d, 1, 0x23]);
    assert_eq!(Sense::NONE.in_list(1 << 16).specific, Specific::Nothing, "no pointer says that");
}

#[test]
fn an_aborted_copy_names_its_segment_and_the_field_in_it() {
    let sense = Sense::COPY_FAILED.in_segment(3).in_segment_byte(20);
    let fixed = sense.encode(SenseFormat::Fixed);
    assert_eq!((fixed[2], &fixed[8..12], &fixed[15..]), (0x0a, &[0, 0, 0, 3][..], &[0xa0, 0, 20][..]));
    let descriptor = sense.encode(SenseFormat::Descriptor);
    assert_eq!(descriptor[7..20], [20, 1, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(descriptor[20..], [2, 6, 0, 0, 0xa0, 0, 20, 0]);
}

#[test]
fn progress_is_told_in_65536ths() {
    let half = Sense::LOGICAL_UNIT_BECOMING_READY.in_progress(0x8000);
    assert_eq!(half.encode(SenseFormat::Fixed)[15..], [0x80, 0x80, 0]);
}

/// Key, and code with qualifier, as SPC-4 annex F lists them.
#[test]
fn codes_are_those_of_the_standard() {
    let expected = [
        (Sense::NONE, 0x00, 0x0000),
        (Sense::LOGICAL_UNIT_BECOMING_READY, 0x02, 0x0401),
        (Sense::WRITE_ERROR, 0x03, 0x0c00),
        (Sense::UNRECOVERED_READ_ERROR, 0x03, 0x1100),
        (Sense::INTERNAL_TARGET_FAILURE, 0x04, 0x4400),
        (Sense::OPERATION_IN_PROGRESS, 0x05, 0x0016),
        (Sense::INVALID_FIELD_IN_INFORMATION_UNIT, 0x05, 0x0e03),
        (Sense::PARAMETER_LIST_LENGTH_ERROR, 0x05, 0x1a00),
        (Sense::INVALID_OPERATION_CODE, 0x05, 0x2000),
        (Sense::LBA_OUT_OF_RANGE, 0x05, 0x2100),
        (Sense::UNSUPPORTED_TOKEN_TYPE, 0x05, 0x2301),
        (Sense::REMOTE_TOKEN_NOT_SUPPORTED, 0x05, 0x2302),
        (Sense::TOKEN_UNKNOWN, 0x05, 0x2304),
        (Sense::TOKEN_CORRUPT, 0x05, 0x2305),
        (Sense::TOKEN_REVOKED, 0x05, 0x2306),
        (Sense::TOKEN_EXPIRED, 0x05, 0x2307),
        (Sense::TOKEN_CANCELLED, 0x05, 0x2308),
        (Sense::TOKEN_DELETED, 0x05, 0x2309),
        (Sense::INVALID_TOKEN_LENGTH, 0x05, 0x230a),
        (Sense::INVALID_FIELD_IN_CDB, 0x05, 0x2400),
        (Sense::LOGICAL_UNIT_NOT_SUPPORTED, 0x05, 0x2500),
        (Sense::INVALID_FIELD_IN_PARAMETER_LIST, 0x05, 0x2600),
        (Sense::INVALID_RELEASE, 0x05, 0x2604),
        (Sense::TOO_MANY_TARGET_DESCRIPTORS, 0x05, 0x2606),
        (Sense::UNSUPPORTED_TARGET_DESCRIPTOR, 0x05, 0x2607),
        (Sense::TOO_MANY_SEGMENT_DESCRIPTORS, 0x05, 0x2608),
        (Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR, 0x05, 0x2609),
        (Sense::INLINE_DATA_LENGTH_EXCEEDED, 0x05, 0x260b),
        (Sense::SAVING_NOT_SUPPORTED, 0x05, 0x3900),
        (Sense::INSUFFICIENT_RESOURCES, 0x05, 0x5503),
        (Sense::INSUFFICIENT_REGISTRATION_RESOURCES, 0x05, 0x5504),
        (Sense::POWER_ON, 0x06, 0x2900),
        (Sense::POWER_ON_OCCURRED, 0x06, 0x2901),
        (Sense::BUS_DEVICE_RESET, 0x06, 0x2903),
        (Sense::DEVICE_INTERNAL_RESET, 0x06, 0x2904),
        (Sense::NEXUS_LOSS, 0x06, 0x2907),
        (Sense::MODE_PARAMETERS_CHANGED, 0x06, 0x2a01),
        (Sense::RESERVATIONS_PREEMPTED, 0x06, 0x2a03),
        (Sense::RESERVATIONS_RELEASED, 0x06, 0x2a04),
        (Sense::REGISTRATIONS_PREEMPTED, 0x06, 0x2a05),
        (Sense::ASYMMETRIC_ACCESS_CHANGED, 0x06, 0x2a06),
        (Sense::CAPACITY_CHANGED, 0x06, 0x2a09),
        (Sense::COMMANDS_CLEARED, 0x06, 0x2f00),
        (Sense::THIN_PROVISIONING_THRESHOLD, 0x06, 0x3807),
        (Sense::INQUIRY_DATA_CHANGED, 0x06, 0x3f03),
        (Sense::REPORTED_LUNS_CHANGED, 0x06, 0x3f0e),
        (Sense::WRITE_PROTECTED, 0x07, 0x2700),
        (Sense::SOFTWARE_WRITE_PROTECTED, 0x07, 0x2702),
        (Sense::SPACE_ALLOCATION_FAILED, 0x07, 0x2707),
        (Sense::COPY_FAILED, 0x0a, 0x0000),
        (Sense::UNREACHABLE_COPY_TARGET, 0x0a, 0x0804),
        (Sense::THIRD_PARTY_DEVICE_FAILURE, 0x0a, 0x0d01),
        (Sense::MISCOMPARE_DURING_VERIFY, 0x0e, 0x1d00),
    ];
    for (sense, key, code) in expected {
        assert_eq!((sense.key, u16::from_be_bytes([sense.code, sense.qualifier])), (key, code));
    }
}

#[test]
fn a_wide_information_value_is_left_out_of_fixed_sense() {
    let fixed = Sense::LBA_OUT_OF_RANGE.at(1 << 32).encode(SenseFormat::Fixed);
    assert_eq!(fixed[0], 0x70, "VALID must not be set");
}
