//! RESERVE and RELEASE of SPC-2, alone and beside persistent reservations.

use super::*;

fn command(bytes: &[u8]) -> Result<Legacy, Sense> {
    match decode_all(bytes)? {
        Plan::LegacyReservation(legacy) => Ok(legacy),
        other => panic!("{other:?}"),
    }
}

const TEST_UNIT_READY: [u8; 16] = [0; 16];
const INQUIRY: [u8; 16] = [0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const MODE_SENSE: [u8; 16] = [0x1a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const READ_KEYS: [u8; 16] = [0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn both_lengths_are_decoded_and_only_whole_units_reserved() {
    assert_eq!(command(&[0x16, 0, 0, 0, 0, 0]), Ok(Legacy::Reserve));
    assert_eq!(command(&[0x17, 0, 0, 0, 0, 0]), Ok(Legacy::Release));
    assert_eq!(command(&[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Ok(Legacy::Reserve));
    assert_eq!(command(&[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Ok(Legacy::Release));
    for wrong in
        [&[0x16, 0x01, 0, 0, 0, 0][..], &[0x16, 0x10, 0, 0, 0, 0], &[0x56, 0x02, 0, 0, 0, 0, 0, 0, 0, 0]]
    {
        assert_eq!(command(wrong), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1)), "{wrong:x?}");
    }
}

#[test]
fn one_nexus_has_the_unit_until_it_gives_it_back() {
    let mut state = Reservations::default();
    assert_eq!(state.apply_legacy(Legacy::Reserve, &a()), Ok(()));
    assert_eq!(state.apply_legacy(Legacy::Reserve, &a()), Ok(()), "again");
    assert_eq!(state.apply_legacy(Legacy::Reserve, &b()), CONFLICT);
    assert_eq!(state.apply_legacy(Legacy::Release, &b()), Ok(()), "that does nothing");
    for (cdb, others) in [(READ, false), (TEST_UNIT_READY, false), (MODE_SENSE, false), (INQUIRY, true)] {
        assert!(state.admits(&cdb, &a()));
        assert_eq!(state.admits(&cdb, &b()), others, "{cdb:x?}");
    }
    assert_eq!(state.apply_legacy(Legacy::Release, &a()), Ok(()));
    assert_eq!(state.apply_legacy(Legacy::Reserve, &b()), Ok(()));
}

#[test]
fn resets_and_the_loss_of_the_nexus_end_it() {
    let reserved = || {
        let mut state = Reservations::default();
        state.apply_legacy(Legacy::Reserve, &a()).unwrap();
        state
    };
    let mut state = reserved();
    state.reset();
    assert!(state.is_clear());
    let mut state = reserved();
    state.nexus_lost(&b());
    assert!(!state.is_clear());
    state.nexus_lost(&a());
    assert!(state.is_clear());
    assert!(reserved().after_power_on().is_clear());
    assert!(reserved().without(|port| *port == a().initiator).state.is_clear());
}

#[test]
fn under_it_persistent_reservations_conflict_for_everybody() {
    let mut state = Reservations::default();
    state.apply_legacy(Legacy::Reserve, &a()).unwrap();
    assert!(!state.admits(&READ_KEYS, &a()) && !state.admits(&READ_KEYS, &b()));
    let mut world = World { state, ..World::default() };
    let ask = Ask { action: REGISTER, second: 1, ..Ask::default() };
    assert_eq!(world.send(&a(), &ask), CONFLICT);
}

#[test]
fn beside_registrations_it_is_a_conflict_but_for_those_with_access() {
    let mut world = World::default();
    world.register(&a(), 0xa);
    assert_eq!(world.state.apply_legacy(Legacy::Reserve, &a()), CONFLICT, "registered, nothing reserved");
    assert_eq!(world.state.apply_legacy(Legacy::Release, &b()), CONFLICT);
    for kind in Kind::ALL {
        let mut world = World::reserved(kind);
        let before = world.state.clone();
        for action in [Legacy::Reserve, Legacy::Release] {
            assert_eq!(world.state.apply_legacy(action, &a()), Ok(()), "{kind:?}: the holder");
            let sharer = if kind.is_shared() { Ok(()) } else { CONFLICT };
            assert_eq!(world.state.apply_legacy(action, &b()), sharer, "{kind:?}");
            assert_eq!(world.state.apply_legacy(action, &nexus("x", 1)), CONFLICT);
        }
        assert_eq!(world.state, before, "nothing changed");
    }
}
