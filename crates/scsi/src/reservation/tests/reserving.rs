//! RESERVE, RELEASE, CLEAR, and what the reservation lets through.

use super::*;

#[test]
fn only_the_registered_reserve_and_with_their_own_key() {
    let mut world = World::default();
    assert_eq!(world.reserve(&a(), 0, Kind::WriteExclusive), CONFLICT);
    world.register(&a(), 0xa);
    assert_eq!(world.reserve(&a(), 0xb, Kind::WriteExclusive), CONFLICT);
    assert_eq!(world.reserve(&a(), 0xa, Kind::WriteExclusive), Ok(()));
    assert_eq!(world.state.generation, 1, "RESERVE is not counted");
}

#[test]
fn reserving_again_is_for_the_holder_with_the_same_type() {
    for kind in Kind::ALL {
        let mut world = World::reserved(kind);
        let before = world.state.clone();
        assert_eq!(world.reserve(&a(), 0xa, kind), Ok(()));
        let other = Kind::ALL.into_iter().find(|other| *other != kind).unwrap();
        assert_eq!(world.reserve(&a(), 0xa, other), CONFLICT, "{kind:?}: another type");
        let by_another = if kind.is_for_all() { Ok(()) } else { CONFLICT };
        assert_eq!(world.reserve(&b(), 0xb, kind), by_another, "{kind:?}");
        assert_eq!(world.state, before);
    }
}

#[test]
fn other_scopes_and_types_are_refused() {
    let mut world = World::default();
    world.register(&a(), 0xa);
    for kind in [0x00, 0x02, 0x04, 0x09, 0x0f, 0x11, 0x21, 0xf1] {
        let ask = Ask { action: RESERVE, kind, key: 0xa, ..Ask::default() };
        assert_eq!(world.send(&a(), &ask), check(Sense::INVALID_FIELD_IN_CDB.in_byte(2)), "{kind:#x}");
    }
}

#[test]
fn releasing_is_for_a_holder_and_tells_who_shared() {
    for kind in Kind::ALL {
        let mut world = World::reserved(kind);
        assert_eq!(world.release(&a(), 0xb, kind), CONFLICT, "another key");
        let other = Kind::ALL.into_iter().find(|other| *other != kind).unwrap();
        assert_eq!(world.release(&a(), 0xa, other), check(Sense::INVALID_RELEASE), "{kind:?}");
        let before = world.state.clone();
        if !kind.is_for_all() {
            assert_eq!(world.release(&b(), 0xb, kind), Ok(()), "not the holder: nothing happens");
            assert_eq!(world.state, before);
        }
        assert_eq!(world.release(&a(), 0xa, kind), Ok(()));
        assert_eq!((world.holder(), world.keys()), (None, vec![0xa, 0xb, 0xc]));
        let released = [(b(), Sense::RESERVATIONS_RELEASED), (c(), Sense::RESERVATIONS_RELEASED)];
        let told = if kind.is_shared() { released.to_vec() } else { vec![] };
        assert_eq!(world.told(), told, "{kind:?}");
        assert_eq!(world.release(&a(), 0xa, kind), Ok(()), "nothing is reserved");
        assert_eq!(world.state.generation, before.generation, "RELEASE is not counted");
    }
}

#[test]
fn clearing_ends_everything_and_tells_all_others() {
    let mut world = World::reserved(Kind::ExclusiveAccess);
    let ask = |key| Ask { action: CLEAR, key, ..Ask::default() };
    assert_eq!(world.send(&b(), &ask(0xa)), CONFLICT);
    assert_eq!(world.send(&nexus("x", 1), &ask(0)), CONFLICT, "not registered");
    let generation = world.state.generation;
    assert_eq!(world.send(&b(), &ask(0xb)), Ok(()));
    assert!(world.state.is_clear());
    assert_eq!(world.told(), [(a(), Sense::RESERVATIONS_PREEMPTED), (c(), Sense::RESERVATIONS_PREEMPTED)]);
    assert_eq!((world.state.generation, world.aborted), (generation + 1, vec![]));
}

/// Who may read and write: the holder, another registrant, a stranger.
#[test]
fn access_is_as_the_type_says() {
    let outsider = nexus("x", 1);
    for kind in Kind::ALL {
        let world = World::reserved(kind);
        let reads_and_writes =
            |nexus: &Nexus| (world.state.admits(&READ, nexus), world.state.admits(&WRITE, nexus));
        let lets_read = matches!(kind as u8, 1 | 5 | 7);
        assert_eq!(reads_and_writes(&a()), (true, true), "{kind:?}: the holder");
        let sharer = if kind.is_shared() { (true, true) } else { (lets_read, false) };
        assert_eq!(reads_and_writes(&b()), sharer, "{kind:?}: another registrant");
        assert_eq!(reads_and_writes(&outsider), (lets_read, false), "{kind:?}: a stranger");
        assert_eq!(world.state.admits_reads(&outsider), lets_read);
        assert!(!world.state.admits_writes(&outsider));
    }
}

#[test]
fn a_registration_alone_keeps_nobody_out() {
    let mut world = World::default();
    world.register(&a(), 1);
    assert!(world.state.admits(&WRITE, &b()));
    assert!(!world.state.is_clear());
}

#[test]
fn the_same_initiator_through_another_port_is_another_nexus() {
    let world = World::reserved(Kind::ExclusiveAccess);
    assert!(world.state.admits(&READ, &nexus("a", 1)));
    assert!(!world.state.admits(&READ, &nexus("a", 2)));
}

#[test]
fn commands_that_nobody_knows_are_not_a_matter_of_reservations() {
    let world = World::reserved(Kind::ExclusiveAccess);
    assert!(world.state.admits(&[0xff; 16], &nexus("x", 1)));
}
