//! PREEMPT and PREEMPT AND ABORT.

use super::*;

fn preempt(kind: Kind, key: u64, victims: u64) -> Ask {
    Ask { action: PREEMPT, kind: kind as u8, key, second: victims, ..Ask::default() }
}

fn and_abort(ask: Ask) -> Ask {
    Ask { action: PREEMPT_AND_ABORT, ..ask }
}

#[test]
fn the_holders_key_takes_the_reservation() {
    let mut world = World::reserved(Kind::WriteExclusive);
    let generation = world.state.generation;
    world.send(&b(), &preempt(Kind::WriteExclusive, 0xb, 0xa)).unwrap();
    assert_eq!(world.holder(), Some((Kind::WriteExclusive, Holder::One(b()))));
    assert_eq!(world.keys(), [0xb, 0xc]);
    assert_eq!(world.told(), [(a(), Sense::REGISTRATIONS_PREEMPTED)], "the type is the same");
    assert_eq!((world.state.generation, world.aborted), (generation + 1, vec![]));
}

#[test]
fn a_new_type_is_told_to_those_who_stay() {
    let mut world = World::reserved(Kind::WriteExclusive);
    world.send(&b(), &preempt(Kind::ExclusiveAccessAllRegistrants, 0xb, 0xa)).unwrap();
    assert_eq!(world.holder(), Some((Kind::ExclusiveAccessAllRegistrants, Holder::AllRegistrants)));
    let told = [(a(), Sense::REGISTRATIONS_PREEMPTED), (c(), Sense::RESERVATIONS_RELEASED)];
    assert_eq!(world.told(), told);
}

#[test]
fn another_key_only_ends_registrations() {
    let mut world = World::reserved(Kind::WriteExclusive);
    // The type is not looked at.
    world.send(&b(), &Ask { kind: 0xff, ..preempt(Kind::ExclusiveAccess, 0xb, 0xc) }).unwrap();
    assert_eq!(world.holder(), Some((Kind::WriteExclusive, Holder::One(a()))));
    assert_eq!((world.keys(), world.told()), (vec![0xa, 0xb], vec![(c(), Sense::REGISTRATIONS_PREEMPTED)]));
}

#[test]
fn without_a_reservation_registrations_are_ended() {
    let mut world = World::default();
    world.register(&a(), 0xa);
    world.register(&b(), 0xb);
    let generation = world.state.generation;
    world.send(&b(), &preempt(Kind::ExclusiveAccess, 0xb, 0xa)).unwrap();
    assert_eq!((world.keys(), world.holder()), (vec![0xb], None));
    assert_eq!(world.state.generation, generation + 1);
}

#[test]
fn every_nexus_with_the_key_is_preempted() {
    let mut world = World::default();
    for (nexus, key) in [(a(), 0xa), (nexus("a", 2), 0xa), (b(), 0xb)] {
        world.register(&nexus, key);
    }
    world.reserve(&a(), 0xa, Kind::ExclusiveAccess).unwrap();
    world.send(&b(), &and_abort(preempt(Kind::ExclusiveAccess, 0xb, 0xa))).unwrap();
    assert_eq!(world.keys(), [0xb]);
    assert_eq!(world.aborted, [a(), nexus("a", 2)]);
    assert_eq!(world.told().len(), 2);
}

#[test]
fn zero_takes_a_reservation_of_all_registrants_and_nothing_else() {
    for kind in Kind::ALL {
        let mut world = World::reserved(kind);
        let result = world.send(&b(), &and_abort(preempt(Kind::ExclusiveAccess, 0xb, 0)));
        if kind.is_for_all() {
            assert_eq!(result, Ok(()));
            assert_eq!(world.holder(), Some((Kind::ExclusiveAccess, Holder::One(b()))));
            assert_eq!((world.keys(), world.aborted.clone()), (vec![0xb], vec![a(), c()]));
        } else {
            assert_eq!(result, check(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(8)), "{kind:?}");
        }
    }
    let mut world = World::default();
    world.register(&a(), 0xa);
    let ask = preempt(Kind::WriteExclusive, 0xa, 0);
    assert_eq!(world.send(&a(), &ask), check(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(8)));
}

#[test]
fn of_a_reservation_of_all_registrants_a_key_ends_registrations_only() {
    let mut world = World::reserved(Kind::WriteExclusiveAllRegistrants);
    world.send(&b(), &preempt(Kind::ExclusiveAccess, 0xb, 0xa)).unwrap();
    assert_eq!(world.holder(), Some((Kind::WriteExclusiveAllRegistrants, Holder::AllRegistrants)));
    assert_eq!(world.keys(), [0xb, 0xc]);
    for victims in [0xc, 0xb] {
        world.send(&b(), &preempt(Kind::ExclusiveAccess, 0xb, victims)).unwrap();
    }
    assert!(world.state.is_clear(), "the last one took itself away");
}

#[test]
fn a_key_that_nobody_has_is_a_conflict() {
    let mut world = World::reserved(Kind::WriteExclusive);
    let before = world.state.clone();
    assert_eq!(world.send(&b(), &preempt(Kind::WriteExclusive, 0xb, 0xd)), CONFLICT);
    assert_eq!(world.send(&b(), &preempt(Kind::WriteExclusive, 0xa, 0xa)), CONFLICT, "not b's key");
    assert_eq!(world.send(&nexus("x", 1), &preempt(Kind::WriteExclusive, 0, 0xa)), CONFLICT, "a stranger");
    assert_eq!(world.state, before);
}

#[test]
fn taking_the_reservation_needs_a_type() {
    let mut world = World::reserved(Kind::WriteExclusive);
    let ask = Ask { kind: 0x02, ..preempt(Kind::WriteExclusive, 0xb, 0xa) };
    assert_eq!(world.send(&b(), &ask), check(Sense::INVALID_FIELD_IN_CDB.in_byte(2)));
    assert_eq!(world.keys(), [0xa, 0xb, 0xc]);
}

#[test]
fn a_holder_changes_its_type_by_preempting_itself() {
    let mut world = World::reserved(Kind::WriteExclusive);
    world.send(&a(), &and_abort(preempt(Kind::ExclusiveAccess, 0xa, 0xa))).unwrap();
    assert_eq!(world.holder(), Some((Kind::ExclusiveAccess, Holder::One(a()))));
    assert_eq!(world.keys(), [0xa, 0xb, 0xc], "it stays registered");
    assert_eq!(world.aborted, [a()], "its other tasks end");
    assert_eq!(world.told(), [(b(), Sense::RESERVATIONS_RELEASED), (c(), Sense::RESERVATIONS_RELEASED)]);
}

#[test]
fn one_may_end_ones_own_registration() {
    let mut world = World::reserved(Kind::WriteExclusive);
    world.send(&b(), &and_abort(preempt(Kind::WriteExclusive, 0xb, 0xb))).unwrap();
    assert_eq!((world.keys(), world.told()), (vec![0xa, 0xc], vec![]));
    assert_eq!(world.aborted, [b()]);
}

#[test]
fn tasks_are_aborted_only_when_asked_for() {
    for (ask, aborted) in [
        (preempt(Kind::WriteExclusive, 0xb, 0xa), vec![]),
        (and_abort(preempt(Kind::WriteExclusive, 0xb, 0xa)), vec![a()]),
        (preempt(Kind::WriteExclusive, 0xb, 0xc), vec![]),
        (and_abort(preempt(Kind::WriteExclusive, 0xb, 0xc)), vec![c()]),
    ] {
        let mut world = World::reserved(Kind::WriteExclusive);
        world.send(&b(), &ask).unwrap();
        assert_eq!(world.aborted, aborted, "{ask:?}");
    }
}
