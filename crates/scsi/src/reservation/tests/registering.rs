//! REGISTER and REGISTER AND IGNORE EXISTING KEY.

use super::*;

fn register(key: u64, second: u64) -> Ask {
    Ask { action: REGISTER, key, second, ..Ask::default() }
}

#[test]
fn a_registration_is_made_changed_and_ended_with_the_key_that_is_there() {
    let mut world = World::default();
    assert_eq!(world.send(&a(), &register(1, 2)), CONFLICT, "not registered with 1");
    assert_eq!(world.send(&a(), &register(0, 2)), Ok(()));
    assert_eq!(world.send(&a(), &register(0, 3)), CONFLICT, "registered already");
    assert_eq!(world.send(&a(), &register(2, 3)), Ok(()));
    assert_eq!((world.keys(), world.state.generation), (vec![3], 2));
    assert_eq!(world.send(&a(), &register(3, 0)), Ok(()));
    assert_eq!((world.keys(), world.state.generation), (vec![], 3));
}

#[test]
fn unregistering_what_is_not_registered_does_nothing() {
    let mut world = World::default();
    assert_eq!(world.send(&a(), &register(0, 0)), Ok(()));
    let ignoring = Ask { action: REGISTER_AND_IGNORE, key: 77, ..Ask::default() };
    assert_eq!(world.send(&a(), &ignoring), Ok(()));
    assert_eq!(world.state, Reservations::default());
}

#[test]
fn the_existing_key_may_be_ignored() {
    let mut world = World::default();
    let ignoring = |second| Ask { action: REGISTER_AND_IGNORE, key: 77, second, ..Ask::default() };
    for second in [1, 2] {
        assert_eq!(world.send(&a(), &ignoring(second)), Ok(()));
        assert_eq!(world.keys(), [second]);
    }
    assert_eq!(world.send(&a(), &ignoring(0)), Ok(()));
    assert_eq!(world.keys(), []);
}

#[test]
fn the_holder_keeps_its_reservation_when_it_changes_its_key() {
    let mut world = World::reserved(Kind::WriteExclusive);
    world.send(&a(), &register(0xa, 0x1a)).unwrap();
    assert_eq!(world.holder(), Some((Kind::WriteExclusive, Holder::One(a()))));
    assert_eq!(world.reserve(&a(), 0x1a, Kind::WriteExclusive), Ok(()));
}

#[test]
fn when_the_holder_unregisters_the_reservation_ends_and_sharers_are_told() {
    for kind in Kind::ALL {
        let mut world = World::reserved(kind);
        world.send(&a(), &register(0xa, 0)).unwrap();
        let released = [(b(), Sense::RESERVATIONS_RELEASED), (c(), Sense::RESERVATIONS_RELEASED)];
        match kind {
            Kind::WriteExclusive | Kind::ExclusiveAccess => {
                assert_eq!((world.holder(), world.told()), (None, vec![]), "{kind:?}");
            }
            Kind::WriteExclusiveRegistrantsOnly | Kind::ExclusiveAccessRegistrantsOnly => {
                assert_eq!((world.holder(), world.told()), (None, released.to_vec()), "{kind:?}");
            }
            _ => {
                assert_eq!(world.holder(), Some((kind, Holder::AllRegistrants)), "others hold it still");
                assert_eq!(world.told(), []);
            }
        }
    }
}

#[test]
fn a_reservation_for_all_ends_with_the_last_registrant() {
    let mut world = World::reserved(Kind::ExclusiveAccessAllRegistrants);
    for (nexus, key) in [(a(), 0xa), (b(), 0xb)] {
        world.send(&nexus, &register(key, 0)).unwrap();
        assert!(world.holder().is_some());
    }
    world.send(&c(), &register(0xc, 0)).unwrap();
    assert_eq!(world.holder(), None);
    assert!(world.state.is_clear());
}

#[test]
fn all_target_ports_are_registered_and_unregistered_at_once() {
    let mut world = World::default();
    let all = |second| Ask { action: REGISTER_AND_IGNORE, second, flags: ALL_TG_PT, ..Ask::default() };
    world.send(&a(), &all(5)).unwrap();
    assert_eq!(world.state.key_of(&nexus("a", 1)), Some(key(5)));
    assert_eq!(world.state.key_of(&nexus("a", 2)), Some(key(5)));
    assert_eq!(world.state.generation, 1, "one request");
    // Through one port alone, then through all.
    world.send(&nexus("a", 2), &Ask { action: REGISTER_AND_IGNORE, ..Ask::default() }).unwrap();
    assert_eq!(world.keys(), [5]);
    world.send(&nexus("a", 2), &all(6)).unwrap();
    assert_eq!(world.keys(), [6, 6]);
    world.send(&nexus("a", 2), &all(0)).unwrap();
    assert_eq!(world.keys(), []);
    let saved = Ask { action: REGISTER_AND_IGNORE, second: 7, flags: APTPL, ..Ask::default() };
    world.send(&a(), &saved).unwrap();
    assert_eq!(world.keys(), [7], "another flag");
}

fn named(ids: &[Vec<u8>]) -> Vec<u8> {
    let ids = ids.concat();
    [(ids.len() as u32).to_be_bytes().to_vec(), ids].concat()
}

#[test]
fn other_initiator_ports_are_registered_by_name() {
    let mut world = World::default();
    let tail = named(&[transport_id(&initiator("x")), transport_id(&initiator("y"))]);
    let ask = Ask { second: 9, flags: SPEC_I_PT | ALL_TG_PT, tail, ..register(0, 9) };
    world.send(&a(), &ask).unwrap();
    for name in ["a", "x", "y"] {
        for port in PORTS {
            assert_eq!(world.state.key_of(&nexus(name, port)), Some(key(9)), "{name} {port}");
        }
    }
}

#[test]
fn a_name_without_isid_registers_the_ports_that_are_logged_in() {
    let mut world = World::default();
    let device = |name: &str| {
        let mut id = format!("iqn.2024-01.test:{name}\0").into_bytes();
        id.resize(20, 0);
        [&[0x05, 0, 0, 20][..], &id].concat()
    };
    let ask = Ask { flags: SPEC_I_PT, tail: named(&[device("b"), device("z")]), ..register(0, 9) };
    world.send(&a(), &ask).unwrap();
    assert_eq!(world.state.key_of(&b()), Some(key(9)));
    assert_eq!(world.keys(), [9, 9], "z is not logged in");
}

#[test]
fn naming_others_is_for_new_registrations_alone() {
    let tail = || named(&[transport_id(&initiator("x"))]);
    let mut world = World::default();
    let ask = Ask { flags: SPEC_I_PT, tail: tail(), ..register(0, 0) };
    assert_eq!(world.send(&a(), &ask), check(Sense::INVALID_FIELD_IN_CDB), "nothing to register");
    let ask = Ask { action: REGISTER_AND_IGNORE, flags: SPEC_I_PT, tail: tail(), ..register(0, 1) };
    let pointer = Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(20).in_bit(3);
    assert_eq!(world.send(&a(), &ask), check(pointer), "another service action");
    world.register(&nexus("x", 1), 3);
    let ask = Ask { flags: SPEC_I_PT, tail: tail(), ..register(0, 1) };
    assert_eq!(world.send(&a(), &ask), CONFLICT, "x is registered");
    world.register(&a(), 1);
    let ask = Ask { flags: SPEC_I_PT, tail: tail(), ..register(1, 2) };
    assert_eq!(world.send(&a(), &ask), check(Sense::INVALID_FIELD_IN_CDB), "a is registered");
    assert_eq!(world.keys(), [3, 1], "none of them changed anything");
}

#[test]
fn a_wrong_list_registers_nobody() {
    let mut world = World::default();
    let send = |world: &mut World, tail| world.send(&a(), &Ask { flags: SPEC_I_PT, tail, ..register(0, 9) });
    let good = transport_id(&initiator("x"));
    let spoilt = named(&[good.clone(), vec![0x46, 0, 0, 20], vec![0; 20]]);
    let at = 28 + good.len();
    assert_eq!(send(&mut world, spoilt), check(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(at)));
    let length = Sense::PARAMETER_LIST_LENGTH_ERROR.in_list(24);
    assert_eq!(send(&mut world, [&[0, 0, 0, 99][..], &good].concat()), check(length));
    assert_eq!(send(&mut world, vec![]), check(length));
    assert_eq!(send(&mut world, vec![0; 3]), check(Sense::PARAMETER_LIST_LENGTH_ERROR.in_list(24)));
    assert_eq!(world.state, Reservations::default());
    assert_eq!(send(&mut world, vec![0; 4]), Ok(()), "nobody else");
    assert_eq!(world.keys(), [9]);
}

#[test]
fn lists_of_another_length_are_refused() {
    let mut world = World::default();
    let longer = Ask { tail: vec![0; 4], ..register(0, 1) };
    assert_eq!(world.send(&a(), &longer), check(Sense::PARAMETER_LIST_LENGTH_ERROR));
    let at = Sense::PARAMETER_LIST_LENGTH_ERROR.in_byte(5);
    assert_eq!(out(&register(0, 1), 23), Err(at));
    assert_eq!(out(&register(0, 1), crate::limits::RESERVE_LIST_BYTES + 1), Err(at));
    let short = out(&register(0, 1), 24).unwrap().parse(&[0; 23]).err();
    assert_eq!(short, Some(Sense::PARAMETER_LIST_LENGTH_ERROR));
}

#[test]
fn registrations_are_bounded_and_too_many_change_nothing() {
    let mut world = World::default();
    for number in 0..REGISTRANTS - 1 {
        world.register(&nexus(&format!("host{number}"), 1), 1);
    }
    let before = world.state.clone();
    let both = Ask { flags: ALL_TG_PT, ..register(0, 2) };
    assert_eq!(world.send(&a(), &both), check(Sense::INSUFFICIENT_REGISTRATION_RESOURCES));
    assert_eq!(world.state, before, "one would have fitted, two do not");
    world.register(&a(), 2);
    assert_eq!(world.send(&b(), &register(0, 2)), check(Sense::INSUFFICIENT_REGISTRATION_RESOURCES));
    world.register(&a(), 3);
}

#[test]
fn taking_a_unit_away_ends_registrations_like_unregistering() {
    let world = World::reserved(Kind::WriteExclusiveRegistrantsOnly);
    let outcome = world.state.without(|port| port.name().ends_with(":a"));
    assert_eq!(outcome.state.key_of(&a()), None);
    let released = [(b(), Sense::RESERVATIONS_RELEASED), (c(), Sense::RESERVATIONS_RELEASED)];
    assert_eq!(outcome.attentions, released);
    assert_eq!(outcome.state.generation, world.state.generation + 1);
    let nobody = world.state.without(|_| false);
    assert_eq!(nobody.state, world.state);
}
