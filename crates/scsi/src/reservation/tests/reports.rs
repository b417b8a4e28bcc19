//! PERSISTENT RESERVE IN.

use super::*;

fn report(state: &Reservations, action: u8, allocation: u8) -> Vec<u8> {
    match decode_all(&[0x5e, action, 0, 0, 0, 0, 0, 0, allocation, 0]) {
        Ok(Plan::PersistentReserveIn { report, allocation }) => state.report(report, allocation),
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_are_listed_in_the_order_of_registration() {
    let world = World::reserved(Kind::WriteExclusive);
    let mut expected = vec![0, 0, 0, 3, 0, 0, 0, 24];
    [0xau64, 0xb, 0xc].iter().for_each(|key| expected.extend_from_slice(&key.to_be_bytes()));
    assert_eq!(report(&world.state, 0, 255), expected);
    assert_eq!(report(&world.state, 0, 8), expected[..8], "the length is that of all");
    assert_eq!(report(&Reservations::default(), 0, 255), [0; 8]);
}

#[test]
fn the_reservation_is_told_with_its_holders_key() {
    for kind in Kind::ALL {
        let world = World::reserved(kind);
        let key = if kind.is_for_all() { 0 } else { 0xa };
        let bytes = report(&world.state, 1, 255);
        assert_eq!(bytes[..8], [0, 0, 0, 3, 0, 0, 0, 16]);
        assert_eq!(bytes[8..], [0, 0, 0, 0, 0, 0, 0, key, 0, 0, 0, 0, 0, kind as u8, 0, 0]);
    }
    let mut world = World::default();
    world.register(&a(), 1);
    assert_eq!(report(&world.state, 1, 255), [0, 0, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn everything_but_replacing_lost_reservations_is_a_capability() {
    let mut world = World::default();
    assert_eq!(report(&world.state, 2, 255), [0, 8, 0x1d, 0xb0, 0xea, 0x01, 0, 0]);
    let ask = Ask { action: REGISTER, second: 1, flags: APTPL, ..Ask::default() };
    world.send(&a(), &ask).unwrap();
    assert_eq!(report(&world.state, 2, 255)[3], 0xb1, "PTPL_A");
}

#[test]
fn full_status_names_every_nexus() {
    let mut world = World::reserved(Kind::WriteExclusiveRegistrantsOnly);
    let all = Ask { action: REGISTER_AND_IGNORE, second: 0xd, flags: ALL_TG_PT, ..Ask::default() };
    world.send(&nexus("d", 2), &all).unwrap();
    let bytes = report(&world.state, 3, 255);
    assert_eq!(bytes[..4], [0, 0, 0, 4]);
    let whole = world.state.report(Report::FullStatus, usize::MAX);
    assert_eq!(usize::from(bytes[6]) << 8 | usize::from(bytes[7]), whole.len() - 8);
    let mut rest = &whole[8..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(rest[23]);
        let reserved = [&rest[8..12], &rest[14..18], &rest[20..22]].concat();
        assert_eq!(reserved, [0; 10]);
        let flags_type_and_port = (rest[12], rest[13], rest[19]);
        found.push((rest[7], flags_type_and_port, rest[24..24 + length].to_vec()));
        rest = &rest[24 + length..];
    }
    let id = |name| transport_id(&initiator(name));
    assert_eq!(
        found,
        [
            (0xa, (1, 5, 1), id("a")),
            (0xb, (0, 0, 1), id("b")),
            (0xc, (0, 0, 2), id("c")),
            (0xd, (2, 0, 1), id("d")),
            (0xd, (2, 0, 2), id("d")),
        ]
    );
}

#[test]
fn of_a_reservation_of_all_registrants_everyone_is_a_holder() {
    let world = World::reserved(Kind::ExclusiveAccessAllRegistrants);
    let whole = world.state.report(Report::FullStatus, usize::MAX);
    let length = 24 + usize::from(whole[8 + 23]);
    let flags: Vec<_> = whole[8..].chunks(length).map(|one| (one[12], one[13])).collect();
    assert_eq!(flags, [(1, 8); 3]);
}

#[test]
fn other_service_actions_are_refused() {
    for action in 4..0x20 {
        let refused = decode_all(&[0x5e, action, 0, 0, 0, 0, 0, 64, 0, 0]);
        assert_eq!(refused, Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1).in_bit(4)), "{action:#x}");
    }
    for action in 8..0x20 {
        let refused = decode_all(&[0x5f, action, 0, 0, 0, 0, 0, 0, 24, 0]);
        assert_eq!(refused, Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1).in_bit(4)), "{action:#x}");
    }
}
