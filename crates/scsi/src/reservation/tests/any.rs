//! Any sequence of requests keeps the invariants; any bytes are parsed or refused.

use super::*;
use proptest::prelude::*;

/// What always holds of a state.
fn assert_sound(state: &Reservations) {
    let nexuses: std::collections::HashSet<_> = state.registrants.iter().map(|one| &one.nexus).collect();
    assert_eq!(nexuses.len(), state.registrants.len(), "one registration a nexus");
    assert!(state.registrants.len() <= REGISTRANTS);
    match state.held.as_ref().map(|held| (held.kind, &held.by)) {
        None => {}
        Some((kind, Holder::One(holder))) => {
            assert!(!kind.is_for_all() && state.key_of(holder).is_some(), "the holder is registered");
        }
        Some((kind, Holder::AllRegistrants)) => {
            assert!(kind.is_for_all() && !state.registrants.is_empty(), "held by somebody");
        }
    }
    assert!(state.legacy.is_none() || state.registrants.is_empty(), "one kind of reservation");
}

/// Requests with few keys, nexuses and types, so that they meet.
fn ask() -> impl Strategy<Value = Ask> {
    let kind = prop_oneof![Just(1u8), Just(3), Just(5), Just(6), Just(7), Just(8), Just(2)];
    let tail = prop_oneof![
        4 => Just(vec![]),
        1 => "[a-e]".prop_map(|name| {
            let id = transport_id(&initiator(&name));
            [(id.len() as u32).to_be_bytes().to_vec(), id].concat()
        }),
    ];
    (0u8..8, kind, 0u64..4, 0u64..4, prop_oneof![Just(0u8), Just(1), Just(4), Just(5), Just(8)], tail)
        .prop_map(|(action, kind, key, second, flags, tail)| Ask { action, kind, key, second, flags, tail })
}

fn from() -> impl Strategy<Value = Nexus> {
    ("[a-d]", 1u16..3).prop_map(|(name, port)| nexus(&name, port))
}

#[derive(Debug, Clone)]
enum Step {
    Send(Nexus, Ask),
    Legacy(Nexus, bool),
    Lost(Nexus),
    Reset,
    Saved,
    Gone(Nexus),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (from(), ask()).prop_map(|(from, ask)| Step::Send(from, ask)),
        3 => (from(), any::<bool>()).prop_map(|(from, reserve)| Step::Legacy(from, reserve)),
        1 => from().prop_map(Step::Lost),
        1 => Just(Step::Reset),
        1 => Just(Step::Saved),
        1 => from().prop_map(Step::Gone),
    ]
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Send(from, ask) => {
            let before = world.state.clone();
            if world.send(&from, &ask).is_err() {
                assert_eq!(world.state, before, "a refusal changes nothing");
            }
            let to_sender = world.told.iter().any(|(nexus, _)| *nexus == from);
            assert!(!to_sender, "the sender needs no attention");
        }
        Step::Legacy(from, reserve) => {
            let action = if reserve { Legacy::Reserve } else { Legacy::Release };
            let _refused = world.state.apply_legacy(action, &from);
        }
        Step::Lost(nexus) => world.state.nexus_lost(&nexus),
        Step::Reset => world.state.reset(),
        Step::Saved => {
            let legacy = world.state.legacy.clone();
            let read = Reservations::decode(&world.state.encode()).unwrap();
            assert_eq!(Reservations { legacy, ..read }, world.state);
        }
        Step::Gone(nexus) => world.state = world.state.without(|port| *port == nexus.initiator).state,
    }
}

proptest! {
    #[test]
    fn any_sequence_of_requests_keeps_the_invariants(steps in prop::collection::vec(step(), 0..40)) {
        let mut world = World::default();
        for step in steps {
            take(&mut world, step);
            assert_sound(&world.state);
            for report in [Report::Keys, Report::Reservation, Report::Capabilities, Report::FullStatus] {
                world.state.report(report, usize::MAX);
            }
        }
    }

    /// A holder is never kept out; a stranger never gets through a write.
    #[test]
    fn holders_pass_and_strangers_do_not_write(steps in prop::collection::vec(step(), 0..40)) {
        let mut world = World::default();
        steps.into_iter().for_each(|step| take(&mut world, step));
        let state = &world.state;
        if state.held.is_some() {
            let holders = state.registrants.iter().filter(|one| state.is_holder(&one.nexus));
            for holder in holders {
                prop_assert!(state.admits(&WRITE, &holder.nexus));
            }
            prop_assert!(!state.admits(&WRITE, &nexus("stranger", 1)));
        }
    }

    #[test]
    fn any_parameter_list_is_carried_out_or_refused(
        action in 0u8..8,
        kind in any::<u8>(),
        list in prop::collection::vec(any::<u8>(), 24..200),
        good in any::<bool>(),
    ) {
        let mut world = World::reserved(Kind::WriteExclusive);
        let mut list = list;
        if good {
            list[..8].copy_from_slice(&0xau64.to_be_bytes());
        }
        let ask = Ask { action, kind, ..Ask::default() };
        let known = Known { ports: &PORTS, initiators: &[] };
        let before = world.state.clone();
        if let Ok(outcome) = before.apply(&out(&ask, list.len()).unwrap(), &list, &a(), &known) {
            world.state = outcome.state;
        }
        assert_sound(&world.state);
    }

    #[test]
    fn any_saved_bytes_are_a_sound_state_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        checked in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if checked {
            bytes.splice(..0, *b"UMBRAPR1");
            let checksum = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&checksum.to_be_bytes());
        }
        if let Ok(state) = Reservations::decode(&bytes) {
            assert_sound(&state);
        }
    }

    /// One byte of a good state is changed, and the checksum with it.
    #[test]
    fn a_state_with_a_changed_byte_is_sound_or_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = World::reserved(Kind::WriteExclusiveAllRegistrants).state.encode();
        bytes.truncate(bytes.len() - 4);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        if let Ok(state) = Reservations::decode(&bytes) {
            assert_sound(&state);
        }
    }
}
