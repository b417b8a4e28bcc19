//! The promises of LUNs.

use super::*;
use crate::rules::{
    Outcome,
    fixture::{SIZE, World, all_forgotten, id, new_lun, new_set},
    set::{GivenUp, abort},
};

fn lun(world: &World, n: u128) -> Lun {
    (*world.cat.luns[&LunId(id(n))]).clone()
}

#[test]
fn asking_again_with_the_same_id_makes_no_second_lun() {
    let world = World::new();
    let again = create(&world.cat, new_lun(1, "data"), Thin(50), 99).unwrap();
    assert_eq!(again, Decision::unchanged());
    for other in [new_lun(1, "other"), new_lun(3, "data"), NewLun { size_bytes: 1, ..new_lun(1, "data") }] {
        let code = create(&world.cat, other, Thin(50), 99).unwrap_err().code();
        assert_eq!(code, ErrorCode::ObjectAlreadyExists);
    }
}

#[test]
fn scsi_identities_are_never_given_twice() {
    let mut world = World::new();
    let before = lun(&world, 2).scsi;
    world.apply(delete(&world.cat, &lun(&world, 2), 0, 5).unwrap());
    let fresh = create(&world.cat, new_lun(3, "wal"), Thin(3), 6).unwrap();
    world.apply(fresh);
    assert_eq!(lun(&world, 3).scsi.sequence(), before.sequence() + 1);
}

#[test]
fn a_deleted_lun_says_when_it_went_and_its_id_is_not_used_again() {
    let mut world = World::new();
    world.unmask(2, world.host);
    let decision = delete(&world.cat, &lun(&world, 2), 0, 1_795_354_474_000_000_000).unwrap();
    assert_eq!(decision.outcome, Outcome::Deleted);
    assert_eq!(decision.change.dooms().collect::<Vec<_>>(), [Thin(2)]);
    world.apply(decision);
    assert!(world.cat.masks.is_empty());
    for key in ["wal", &id(2).to_string()] {
        let error = find(&world.cat, key).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ObjectNotFound);
        assert!(error.message().contains("2026-11-22T13:34:34Z"), "{error:?}");
    }
    let code = create(&world.cat, new_lun(2, "wal2"), Thin(9), 9).unwrap_err().code();
    assert_eq!(code, ErrorCode::ObjectAlreadyExists);
    assert_eq!(find(&world.cat, "never").unwrap_err().code(), ErrorCode::ObjectNotFound);
}

#[test]
fn a_lun_of_a_living_set_is_not_deleted_and_an_original_is() {
    let mut world = World::with_set();
    assert_eq!(delete(&world.cat, &lun(&world, 0x1000), 0, 9).unwrap_err().code(), ErrorCode::BadState);
    world.apply(delete(&world.cat, &lun(&world, 1), 0, 9).unwrap());
    assert!(world.cat.luns.contains_key(&LunId(id(0x1000))), "B4: copies survive their origin");
}

#[test]
fn an_original_stays_as_it_is_while_a_set_is_made_of_it() {
    let mut world = World::new();
    world.begin(new_set(0x99, &["data"]));
    assert_eq!(delete(&world.cat, &lun(&world, 1), 0, 9).unwrap_err().code(), ErrorCode::BadState);
    assert_eq!(extend(&world.cat, &lun(&world, 1), 2 * SIZE, 0).unwrap_err().code(), ErrorCode::BadState);
    let set = world.cat.sets[&world.set].clone();
    world.apply(abort(&world.cat, &set, GivenUp::Aborted, 9).unwrap());
    delete(&world.cat, &lun(&world, 1), 0, 9).unwrap();
}

#[test]
fn luns_grow_and_never_shrink() {
    let world = World::new();
    let data = lun(&world, 1);
    assert_eq!(extend(&world.cat, &data, SIZE, 0).unwrap().outcome, Outcome::Unchanged);
    assert_eq!(extend(&world.cat, &data, SIZE + 1, 0).unwrap().outcome, Outcome::Changed);
    assert_eq!(extend(&world.cat, &data, SIZE - 4096, 0).unwrap_err().code(), ErrorCode::InvalidArgument);
    assert_eq!(extend(&world.cat, &data, 2 * SIZE, 77).unwrap_err().code(), ErrorCode::RevisionConflict);
}

#[test]
fn a_number_is_used_again_only_when_no_session_remembers_it() {
    let mut world = World::new();
    world.unmask(1, world.host);
    let number = |world: &World, n| world.cat.masks[&(world.host, LunId(id(n)))].number;
    assert_eq!(number(&world, 1), 1, "0 is never given out");
    world.mask(1);
    let host = world.cat.hosts[&world.host].clone();
    let remembered = |_: &Host, number: u16| number != 1;
    world.apply(unmask(&world.cat, &lun(&world, 2), &host, 0, &remembered).unwrap());
    assert_eq!(number(&world, 2), 2);
    world.unmask(1, world.host);
    assert_eq!(number(&world, 1), 1, "forgotten by now");
    let none = |_: &Host, _: u16| false;
    world.mask(1);
    let code = unmask(&world.cat, &lun(&world, 1), &host, 0, &none).unwrap_err().code();
    assert_eq!(code, ErrorCode::LimitReached);
}

#[test]
fn masks_asked_for_again_are_no_change() {
    let mut world = World::new();
    world.unmask(1, world.host);
    world.unmask(1, world.other);
    let host = world.cat.hosts[&world.host].clone();
    let again = unmask(&world.cat, &lun(&world, 1), &host, 0, &all_forgotten).unwrap();
    assert_eq!(again, Decision::unchanged());
    world.apply(mask(&world.cat, &lun(&world, 1), Some(&host), 0).unwrap());
    assert_eq!(world.cat.masks.len(), 1, "the other host still sees it");
    let again = mask(&world.cat, &lun(&world, 1), Some(&host), 0).unwrap();
    assert_eq!(again, Decision::unchanged());
}

#[test]
fn a_copy_is_shown_to_its_importer_alone() {
    let world = World::with_set();
    let working = lun(&world, 0x1000);
    for host in [world.host, world.other] {
        let host = world.cat.hosts[&host].clone();
        let code = unmask(&world.cat, &working, &host, 0, &all_forgotten).unwrap_err().code();
        assert_eq!(code, ErrorCode::BadState);
    }
}
