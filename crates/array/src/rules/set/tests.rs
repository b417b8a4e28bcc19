//! The promises of a set's life (B1, B3, B4).

use super::*;
use crate::{
    model::Thin,
    rules::{
        Outcome,
        begin::{self, NewSet},
        fixture::{SIZE, World, copy, id, new_set},
    },
};
use umbra_base::SetId;

fn set(world: &World) -> SnapshotSet {
    (*world.cat.sets[&world.set]).clone()
}

fn working_lun(world: &World) -> Lun {
    (*world.cat.luns[&LunId(id(0x1000))]).clone()
}

fn two_lun_set() -> World {
    let mut world = World::new();
    let mut new = new_set(0x99, &["data", "wal"]);
    new.copies = vec![copy(0x71, &[(1, 0, SIZE)]), copy(0x72, &[(2, 0, SIZE)])];
    world.begin(new);
    world.commit();
    world
}

#[test]
fn a_committed_set_has_luns_that_nobody_sees() {
    let world = World::with_set();
    let lun = working_lun(&world);
    assert_eq!(lun.name, "data.00000099");
    assert_eq!(lun.kind, LunKind::Copy(Origin { lun: LunId(id(1)), set: world.set }));
    assert_eq!((lun.size_bytes, lun.access), (SIZE, Access::ReadWrite));
    assert!(world.cat.masks.is_empty());
    assert_eq!(world.state(), SetState::Created { cut: 30 });
    assert_eq!(commit(&world.cat, &set(&world), 1, 1).unwrap(), Decision::unchanged(), "asked again");
}

#[test]
fn an_aborted_set_leaves_nothing_and_says_so() {
    for (why, code) in
        [(GivenUp::Aborted, ErrorCode::ObjectNotFound), (GivenUp::Lapsed, ErrorCode::LeaseExpired)]
    {
        let mut world = World::new();
        world.begin(new_set(0x99, &["data"]));
        let decision = abort(&world.cat, &set(&world), why, 9).unwrap();
        assert_eq!(decision.change.dooms().collect::<Vec<_>>(), [Thin(200), Thin(100)]);
        world.apply(decision);
        assert!(world.cat.sets.is_empty() && world.cat.luns.len() == 2);
        assert_eq!(find(&world.cat, &world.set.to_string()).unwrap_err().code(), code);
    }
}

#[test]
fn one_host_at_a_time_imports_and_each_import_raises_the_epoch() {
    let mut world = World::new();
    world.begin(NewSet { transportable: true, ..new_set(0x99, &["data"]) });
    world.commit();
    world.import(world.host, Takeover::Never).unwrap();
    world.import(world.host, Takeover::Never).unwrap();
    assert_eq!(set(&world).epoch, 1, "asked again: no change");
    let refused = world.import(world.other, Takeover::Never).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BadState);
    assert_eq!(refused.params()["importer"], "a");
    world.import(world.other, Takeover::Steal).unwrap();
    assert_eq!(set(&world).epoch, 2);
    let seen_by: Vec<_> = world.cat.masks_of_lun(LunId(id(0x1000))).map(|mask| mask.host).collect();
    assert_eq!(seen_by, [world.other], "the old importer sees it no more");
}

#[test]
fn a_set_that_is_not_transportable_is_imported_by_its_maker_alone() {
    let mut world = World::with_set();
    for takeover in [Takeover::Never, Takeover::Steal] {
        assert_eq!(world.import(world.other, takeover).unwrap_err().code(), ErrorCode::BadState);
    }
    world.import(world.host, Takeover::Never).unwrap();
}

#[test]
fn an_unimported_set_can_be_imported_again() {
    let mut world = World::with_set();
    world.import(world.host, Takeover::Never).unwrap();
    world.apply(unimport(&world.cat, &set(&world)).unwrap());
    assert!(world.cat.masks.is_empty());
    assert_eq!(unimport(&world.cat, &set(&world)).unwrap(), Decision::unchanged());
    world.import(world.host, Takeover::Never).unwrap();
    assert_eq!(set(&world).epoch, 2);
}

#[test]
fn a_dead_host_in_the_middle_of_a_break_can_be_taken_over_from() {
    let mut world = World::new();
    world.begin(NewSet { transportable: true, ..new_set(0x99, &["data"]) });
    world.commit();
    world.import(world.host, Takeover::Never).unwrap();
    world.apply(begin_break(&world.cat, &set(&world), None, Access::ReadOnly).unwrap());
    assert_eq!(world.import(world.other, Takeover::Never).unwrap_err().code(), ErrorCode::BadState);
    world.import(world.other, Takeover::Steal).unwrap();
    assert_eq!(world.state().importer(), Some(world.other));
}

#[test]
fn break_needs_its_importer_and_its_intent() {
    let mut world = World::with_set();
    let access = Access::ReadWrite;
    assert_eq!(begin_break(&world.cat, &set(&world), None, access).unwrap_err().code(), ErrorCode::BadState);
    world.import(world.host, Takeover::Never).unwrap();
    let code = commit_break(&world.cat, &set(&world), access, vec![], 9).unwrap_err().code();
    assert_eq!(code, ErrorCode::BadState);
    let other = world.cat.hosts[&world.other].clone();
    let code = begin_break(&world.cat, &set(&world), Some(&other), access).unwrap_err().code();
    assert_eq!(code, ErrorCode::BadState);
    let importer = world.cat.hosts[&world.host].clone();
    world.apply(begin_break(&world.cat, &set(&world), Some(&importer), access).unwrap());
    let again = begin_break(&world.cat, &set(&world), Some(&importer), access).unwrap();
    assert_eq!(again, Decision::unchanged());
    world.apply(cancel_break(&world.cat, &set(&world)).unwrap());
    assert_eq!(world.state(), SetState::Imported { cut: 30, importer: world.host });
}

#[test]
fn a_broken_lun_keeps_device_masks_and_origin_and_loses_the_pristine_copy() {
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let mut world = World::with_set();
        world.break_set(access);
        let lun = working_lun(&world);
        assert_eq!(lun.kind, LunKind::Broken(Origin { lun: LunId(id(1)), set: world.set }));
        assert_eq!((lun.access, lun.thin), (access, Thin(100)));
        assert_eq!(world.cat.masks_of_lun(lun.id).count(), 1);
        assert_eq!(world.cat.doomed.iter().collect::<Vec<_>>(), [&Thin(200)]);
        assert_eq!(world.state(), SetState::Broken { cut: 30, at: 50, access });
        let found = find(&world.cat, &world.set.to_string()).unwrap();
        for refused in
            [delete(&world.cat, found, 60), cancel_break(&world.cat, found), unimport(&world.cat, found)]
        {
            assert_eq!(refused.unwrap_err().code(), ErrorCode::ObjectNotFound);
        }
    }
}

#[test]
fn a_deleted_set_takes_both_copies_of_each_lun() {
    let mut world = two_lun_set();
    world.import(world.host, Takeover::Never).unwrap();
    let decision = delete(&world.cat, &set(&world), 9).unwrap();
    assert_eq!(decision.outcome, Outcome::Deleted);
    assert_eq!(decision.change.dooms().count(), 4);
    world.apply(decision);
    assert!(world.cat.sets.is_empty() && world.cat.masks.is_empty() && world.cat.luns.len() == 2);
    let needed: Vec<_> = world.cat.needed_thins().into_iter().collect();
    assert_eq!(needed, [Thin(1), Thin(2)]);
}

#[test]
fn one_copy_goes_with_the_luns_of_its_own_and_the_last_takes_the_set() {
    let mut world = two_lun_set();
    let first = set(&world).copies[0].clone();
    world.apply(delete_copy(&world.cat, &set(&world), &first, 9).unwrap());
    assert_eq!((set(&world).copies.len(), set(&world).luns.len()), (1, 1));
    assert_eq!(set(&world).luns[0].origin_name, "wal");
    let last = set(&world).copies[0].clone();
    world.apply(delete_copy(&world.cat, &set(&world), &last, 9).unwrap());
    assert!(world.cat.sets.is_empty() && world.cat.luns.len() == 2);
}

#[test]
fn a_lun_that_two_copies_lie_on_stays_until_both_are_gone() {
    let mut world = World::new();
    let mut new = new_set(0x99, &["data"]);
    new.copies = vec![copy(0x71, &[(1, 0, 4096)]), copy(0x72, &[(1, 4096, 4096)])];
    world.begin(new);
    world.commit();
    let first = set(&world).copies[0].clone();
    world.apply(delete_copy(&world.cat, &set(&world), &first, 9).unwrap());
    assert_eq!((set(&world).copies.len(), set(&world).luns.len()), (1, 1));
}

#[test]
fn what_is_learned_replaces_only_what_it_names() {
    let mut world = two_lun_set();
    let changes = vec![IdentityChange {
        place: "disk".into(),
        kind: "ext4-uuid".into(),
        before: "x".into(),
        after: "y".into(),
    }];
    let step =
        Step { name: "cut".into(), start_us: 1, duration_us: 2, outcome: "ok".into(), note: String::new() };
    let learned = Learned {
        timeline: vec![step],
        identities: vec![(LunId(id(0x1001)), changes.clone())],
        ..Learned::default()
    };
    world.apply(update(&world.cat, &set(&world), learned.clone()).unwrap());
    assert_eq!((set(&world).timeline.len(), &set(&world).luns[1].identity), (1, &changes));
    assert!(set(&world).luns[0].identity.is_empty() && set(&world).copies.len() == 2);
    assert_eq!(update(&world.cat, &set(&world), learned).unwrap(), Decision::unchanged());
    let strange = Learned { copies: vec![copy(0x404, &[])], ..Learned::default() };
    assert_eq!(update(&world.cat, &set(&world), strange).unwrap_err().code(), ErrorCode::ObjectNotFound);
}

#[test]
fn a_wish_for_a_set_is_checked_whole_before_anything_happens() {
    let world = World::with_set();
    let creator = world.cat.hosts[&world.host].clone();
    let check =
        |new: NewSet| begin::check_new(&world.cat, &new, &creator).map(drop).map_err(|error| error.code());
    let with = |copies| NewSet { copies, ..new_set(0x98, &["data"]) };
    for (new, code) in [
        (new_set(0x98, &[]), ErrorCode::InvalidArgument),
        (new_set(0x98, &["data", "data"]), ErrorCode::InvalidArgument),
        (new_set(0x98, &["nothing"]), ErrorCode::ObjectNotFound),
        (new_set(0x98, &["data.00000099"]), ErrorCode::VolumeNotSupported),
        (new_set(0x99, &["wal"]), ErrorCode::ObjectAlreadyExists),
        (with(vec![copy(0x71, &[(2, 0, 4096)])]), ErrorCode::InvalidArgument),
        (with(vec![copy(0x71, &[(1, SIZE, 4096)])]), ErrorCode::InvalidArgument),
        (with(vec![copy(0x71, &[(1, u64::MAX, 2)])]), ErrorCode::InvalidArgument),
        (with(vec![copy(0x71, &[]), copy(0x71, &[])]), ErrorCode::InvalidArgument),
    ] {
        assert_eq!(check(new.clone()).unwrap_err(), code, "{new:?}");
    }
    check(new_set(0x99, &["data"])).unwrap();
    check(with(vec![copy(0x71, &[(1, 0, SIZE)])])).unwrap();
    assert_eq!(SetId(id(0x99)), world.set);
}
