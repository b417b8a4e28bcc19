//! REGISTER AND MOVE.

use super::*;

/// To initiator `name` through `port`.
fn relocate(name: &str, port: u16, key: u64, second: u64) -> Vec<u8> {
    let id = transport_id(&initiator(name));
    let mut list = [key.to_be_bytes(), second.to_be_bytes(), [0; 8]].concat();
    list[18..20].copy_from_slice(&port.to_be_bytes());
    list[20..24].copy_from_slice(&(id.len() as u32).to_be_bytes());
    list.extend_from_slice(&id);
    list
}

fn send(world: &mut World, from: &Nexus, list: &[u8]) -> Result<(), Refusal> {
    let known = Known { ports: &PORTS, initiators: &[] };
    let out = out(&Ask { action: REGISTER_AND_MOVE, ..Ask::default() }, list.len())?;
    let outcome = world.state.apply(&out, list, from, &known)?;
    (world.state, world.told, world.aborted) = (outcome.state, outcome.attentions, outcome.abort);
    Ok(())
}

#[test]
fn the_reservation_goes_to_another_nexus_that_is_registered_for_it() {
    let mut world = World::reserved(Kind::WriteExclusiveRegistrantsOnly);
    let generation = world.state.generation;
    send(&mut world, &a(), &relocate("x", 2, 0xa, 0x99)).unwrap();
    let x = nexus("x", 2);
    assert_eq!(world.holder(), Some((Kind::WriteExclusiveRegistrantsOnly, Holder::One(x.clone()))));
    assert_eq!(world.state.key_of(&x), Some(key(0x99)));
    assert!(world.state.registrants.iter().all(|one| !one.all_ports), "through one port");
    assert_eq!((world.keys(), world.told()), (vec![0xa, 0xb, 0xc, 0x99], vec![]));
    assert_eq!(world.state.generation, generation + 1);
}

#[test]
fn a_registered_nexus_gets_the_new_key_and_the_old_holder_may_leave() {
    let mut world = World::reserved(Kind::ExclusiveAccess);
    let mut list = relocate("b", 1, 0xa, 0x99);
    list[17] = 0x02;
    send(&mut world, &a(), &list).unwrap();
    assert_eq!(world.holder(), Some((Kind::ExclusiveAccess, Holder::One(b()))));
    assert_eq!(world.keys(), [0x99, 0xc]);
}

#[test]
fn only_a_single_holder_can_move_what_it_holds() {
    let mut world = World::reserved(Kind::ExclusiveAccess);
    assert_eq!(send(&mut world, &b(), &relocate("x", 1, 0xb, 9)), CONFLICT, "not the holder");
    assert_eq!(send(&mut world, &a(), &relocate("x", 1, 0xb, 9)), CONFLICT, "not its key");
    assert_eq!(send(&mut world, &nexus("y", 1), &relocate("x", 1, 0, 9)), CONFLICT, "not registered");
    let mut world = World::reserved(Kind::ExclusiveAccessAllRegistrants);
    assert_eq!(send(&mut world, &a(), &relocate("x", 1, 0xa, 9)), CONFLICT, "held by all");
    let mut world = World::default();
    world.register(&a(), 0xa);
    let nothing = check(Sense::INVALID_FIELD_IN_CDB.in_byte(1));
    assert_eq!(send(&mut world, &a(), &relocate("x", 1, 0xa, 9)), nothing, "nothing is reserved");
}

#[test]
fn it_must_say_where_to() {
    let mut world = World::reserved(Kind::ExclusiveAccess);
    let before = world.state.clone();
    let field = |at| check(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(at));
    assert_eq!(send(&mut world, &a(), &relocate("a", 1, 0xa, 9)), field(24), "to itself");
    assert_eq!(send(&mut world, &a(), &relocate("x", 3, 0xa, 9)), field(18), "no such port");
    assert_eq!(send(&mut world, &a(), &relocate("x", 1, 0xa, 0)), field(8), "no key");
    let mut list = relocate("x", 1, 0xa, 9);
    list[24] = 0x46;
    assert_eq!(send(&mut world, &a(), &list), field(24), "no iSCSI port");
    let mut list = relocate("x", 1, 0xa, 9);
    list[23] += 4;
    assert_eq!(send(&mut world, &a(), &list), check(Sense::PARAMETER_LIST_LENGTH_ERROR.in_list(20)));
    assert_eq!(world.state, before);
}
