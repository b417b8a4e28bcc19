//! The saved form: what it keeps, and what it refuses.

use super::*;

fn persistent(kind: Kind) -> Reservations {
    let mut world = World::reserved(kind);
    let all = Ask { action: REGISTER_AND_IGNORE, second: 0xd, flags: ALL_TG_PT | APTPL, ..Ask::default() };
    world.send(&nexus("d", 1), &all).unwrap();
    world.state
}

/// The bytes, changed, with the checksum made right again.
fn forged(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Result<Reservations, Unreadable> {
    bytes.truncate(bytes.len() - 4);
    change(&mut bytes);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    Reservations::decode(&bytes)
}

#[test]
fn what_is_saved_is_read_again() {
    assert_eq!(Reservations::decode(&Reservations::default().encode()), Ok(Reservations::default()));
    for kind in Kind::ALL {
        let state = persistent(kind);
        assert_eq!(Reservations::decode(&state.encode()), Ok(state), "{kind:?}");
    }
}

#[test]
fn a_full_house_of_long_names_is_read_again() {
    let mut world = World::default();
    for number in 0..REGISTRANTS {
        let name = format!("{number:0>223}");
        let initiator = InitiatorPort::new(&name, [number as u8; 6]).unwrap();
        world.register(&Nexus { initiator, port: 1 }, number as u64 + 1);
    }
    let bytes = world.state.encode();
    assert_eq!(Reservations::decode(&bytes), Ok(world.state));
}

#[test]
fn power_is_survived_where_that_was_asked_for() {
    let state = persistent(Kind::ExclusiveAccess);
    let after = state.clone().after_power_on();
    assert_eq!(after, Reservations { generation: 0, ..state });
    assert!(after.persists());
    let mut world = World { state: after, ..World::default() };
    world.register(&a(), 0xa);
    assert!(!world.state.persists(), "the last APTPL counts");
    assert_eq!(world.state.after_power_on(), Reservations::default());
}

#[test]
fn a_reset_takes_nothing_persistent_away() {
    let mut state = persistent(Kind::ExclusiveAccess);
    let before = state.clone();
    state.reset();
    state.nexus_lost(&a());
    assert_eq!(state, before);
}

#[test]
fn damage_is_told_apart_from_what_is_foreign() {
    let good = persistent(Kind::WriteExclusive).encode();
    assert_eq!(Reservations::decode(&[]), Err(Unreadable::Foreign));
    assert_eq!(Reservations::decode(&good[..20]), Err(Unreadable::Foreign));
    let mut newer = good.clone();
    newer[7] = b'2';
    assert_eq!(Reservations::decode(&newer), Err(Unreadable::Foreign));
    for at in 8..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        assert_eq!(Reservations::decode(&bytes), Err(Unreadable::Checksum), "byte {at}");
    }
    assert_eq!(Reservations::decode(&good[..good.len() - 1]), Err(Unreadable::Checksum));
}

#[test]
fn contents_that_cannot_be_are_refused_whatever_the_checksum() {
    let good = || persistent(Kind::WriteExclusive).encode();
    let refused = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        assert_eq!(forged(good(), change), Err(Unreadable::Contents), "{what}");
    };
    assert!(forged(good(), |_| {}).is_ok());
    refused("a type that is none", &|bytes| bytes[9] = 2);
    refused("a holder that is not there", &|bytes| bytes[11] = 200);
    refused("one type held by all", &|bytes| (bytes[10], bytes[11]) = (0xff, 0xff));
    refused("a type for all held by one", &|bytes| bytes[9] = 7);
    refused("more registrants than are there", &|bytes| bytes[17] += 1);
    refused("fewer registrants than are there", &|bytes| bytes[17] -= 1);
    refused("more registrants than allowed", &|bytes| bytes[16] = 1);
    refused("a key of zero", &|bytes| bytes[25] = 0);
    refused("a name without an end", &|bytes| bytes[29] = 255);
    refused("a name that is none", &|bytes| bytes[36] = b',');
    refused("bytes after the end", &|bytes| bytes.push(0));
    let twice = |bytes: &mut Vec<u8>| {
        let one = bytes[18..18 + 36].to_vec();
        bytes.truncate(18);
        bytes[17] = 2;
        bytes.extend_from_slice(&[one.clone(), one].concat());
    };
    refused("the same nexus twice", &twice);
    let empty = |bytes: &mut Vec<u8>| {
        bytes.truncate(18);
        (bytes[9], bytes[10], bytes[11], bytes[17]) = (7, 0xff, 0xff, 0);
    };
    refused("held by all of nobody", &empty);
}
