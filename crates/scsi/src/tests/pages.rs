//! INQUIRY and the vital product data pages.

use super::*;
use crate::limits::*;

#[test]
fn inquiry_names_the_unit() {
    let standard = reply(&[0x12, 0, 0, 0, 255, 0]);
    assert_eq!(standard.len(), 96);
    assert_eq!(standard[..8], [0, 0, 6, 0x12, 91, 0, 0, 2]);
    assert_eq!(&standard[8..36], b"UMBRA   LUN             0001");
    assert_eq!(reply(&[0x12, 0, 0, 0, 5, 0]).len(), 5, "cut to the allocation length");
    assert_eq!(reply(&[0x12, 1, 0, 0, 255, 0]), [0, 0, 0, 8, 0x00, 0x80, 0x83, 0x86, 0x87, 0xb0, 0xb1, 0xb2]);
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
fn an_unmap_of_any_alignment_can_cover_the_largest_unit_of_allocation() {
    const LARGEST: u32 = 1 << 30;
    let page = with_unit(
        |unit| unit.allocation = LARGEST,
        |unit| bytes_of(plan(&cdb(&[0x12, 1, 0xb0, 0, 255, 0]), unit)),
    );
    let be32 = |at: usize| u32::from_be_bytes(page[at..at + 4].try_into().unwrap());
    assert_eq!(u64::from(be32(28)) * BLOCK, u64::from(LARGEST), "the granularity");
    assert!(be32(20) >= 2 * be32(28));
}

#[test]
fn what_is_switched_on_shows_in_the_standard_data() {
    let standard = reply_all(&[0x12, 0, 0, 0, 255, 0]);
    assert_eq!(standard[5..7], [0x18, 0x10], "3PC, implicit asymmetric access, several ports");
    assert_eq!(standard[58..70], [0, 0xa0, 4, 0x60, 4, 0xc0, 9, 0x60, 6, 0, 0, 0], "SBC-4 with WRITE ATOMIC");
    assert_eq!(
        reply_all(&[0x12, 1, 0, 0, 255, 0])[4..],
        [0, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8f, 0xb0, 0xb1, 0xb2]
    );
}

#[test]
fn every_page_that_is_listed_can_be_read_and_says_its_length() {
    for code in reply_all(&[0x12, 1, 0, 0, 255, 0])[4..].iter().copied() {
        let page = reply_all(&[0x12, 1, code, 0xff, 0xff, 0]);
        assert_eq!((page[0], page[1]), (0, code));
        assert_eq!(usize::from(u16::from_be_bytes([page[2], page[3]])), page.len() - 4, "{code:#x}");
    }
}

/// Code set and protocol, kind and association, value.
type Designator = (u8, u8, Vec<u8>);

fn designators(mut bytes: &[u8]) -> Vec<Designator> {
    let mut found = Vec::new();
    while let [set, kind, 0, length, rest @ ..] = bytes {
        let (value, rest) = rest.split_at(usize::from(*length));
        found.push((*set, *kind, value.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    found
}

#[test]
fn the_identification_page_names_the_port_the_command_came_through_and_the_target() {
    let found = designators(&reply_all(&[0x12, 1, 0x83, 0, 255, 0])[4..]);
    let kinds: Vec<_> = found.iter().map(|(set, kind, _)| (*set, *kind)).collect();
    assert_eq!(kinds[3..], [(0x51, 0x94), (0x51, 0x95), (0x53, 0x98), (0x53, 0xa8)]);
    assert_eq!((&found[3].2, &found[4].2), (&vec![0, 0, 0, 2], &vec![0, 0, 0, 1]));
    assert_eq!(found[5].2, b"iqn.2024-01.test:array,t,0x0010\0");
    assert_eq!(found[6].2, b"iqn.2024-01.test:array\0\0");
}

#[test]
fn names_of_every_length_end_in_a_nul_and_fill_up_four_bytes() {
    const NAME: &str = "iqn.2024-01.test:abcdefgh";
    for length in 20..25 {
        let name = &NAME[..length];
        let set_up = |unit: &mut Unit<'_>| {
            unit.features = Features::NONE.with(Feature::PortGroups);
            unit.topology = Some(Topology { target: name, groups: &[], through: 1 });
        };
        let page = with_unit(set_up, |unit| bytes_of(plan(&cdb(&[0x12, 1, 0x83, 0, 255, 0]), unit)));
        let (_, _, value) = designators(&page[4..]).pop().unwrap();
        assert_eq!((value.len() % 4, value.last()), (0, Some(&0)), "{length}");
        assert!(value.len() <= name.len() + 4 && value.starts_with(name.as_bytes()));
    }
}

#[test]
fn the_ports_page_names_every_port() {
    let page = reply_all(&[0x12, 1, 0x88, 0, 255, 0]);
    let mut rest = &page[4..];
    let mut relatives = Vec::new();
    while !rest.is_empty() {
        relatives.push(u16::from_be_bytes([rest[2], rest[3]]));
        assert_eq!(rest[..2], [0; 2]);
        assert_eq!(rest[4..10], [0; 6], "no initiator port");
        let length = usize::from(rest[11]);
        let name = designators(&rest[12..12 + length]);
        assert_eq!((name[0].0, name[0].1), (0x53, 0x98));
        rest = &rest[12 + length..];
    }
    assert_eq!(relatives, [1, 2, 3]);
}

#[test]
fn extended_inquiry_and_mode_page_policy_say_what_is_so() {
    let extended = reply_all(&[0x12, 1, 0x86, 0, 255, 0]);
    assert_eq!((extended.len(), extended[5], extended[6], extended[7]), (64, 7, 1, 1));
    let through = with_unit(
        |unit| unit.cache = WriteCache::Through,
        |unit| bytes_of(plan(&cdb(&[0x12, 1, 0x86, 0, 255, 0]), unit)),
    );
    assert_eq!(through[6], 0, "no volatile cache");
    assert_eq!(reply_all(&[0x12, 1, 0x87, 0, 255, 0])[4..], [0x3f, 0xff, 0, 0, 0x08, 0, 3, 0]);
}

#[test]
fn atomic_limits_and_thresholds_show_where_they_are_offered() {
    let be32 = |page: &[u8], at: usize| u32::from_be_bytes(page[at..at + 4].try_into().unwrap());
    let limits = reply_all(&[0x12, 1, 0xb0, 0, 255, 0]);
    assert_eq!([44, 48, 52, 56, 60].map(|at| be32(&limits, at)), [256, 8, 4, 0, 0]);
    let plain = reply(&[0x12, 1, 0xb0, 0, 255, 0]);
    assert_eq!([44, 48, 52, 56, 60].map(|at| be32(&plain, at)), [0; 5]);
    assert_eq!(reply_all(&[0x12, 1, 0xb2, 0, 255, 0])[4], THRESHOLD_EXPONENT);
}
