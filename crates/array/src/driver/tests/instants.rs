//! Points in time for ROD tokens, on the real pool: what they cost, how long they live, what a crash leaves of them.
//! The pool has 64 MiB, its blocks 64 KiB.

use super::bench::{Bench, PowerCut, set_id};
use crate::{limits, unit::Unit};
use std::sync::{Arc, atomic::Ordering::SeqCst};
use umbra_base::ErrorCode;
use umbra_target::{LogicalUnit, MediumError};

const MIB: u64 = 1 << 20;
const BLOCKS_OF_MIB: u64 = 16;

/// With LUN `data` of 4 MiB, which is full, and LUN `other`, which is empty.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.array.create_lun(bench.new_lun(1, "data", 4 * MIB)).unwrap();
    bench.array.create_lun(bench.new_lun(2, "other", 64 * MIB)).unwrap();
    bench.fill("data", 4 * MIB);
    bench
}

fn used(bench: &Bench) -> u64 {
    bench.array.store().usage().data_used
}

fn mapped(bench: &Bench, key: &str) -> u64 {
    let lun = bench.array.lun(key).unwrap();
    bench.array.store().mapped_blocks(umbra_store::ThinId(lun.thin.0)).unwrap()
}

fn first_byte(unit: &Unit) -> u8 {
    let mut bytes = [0; 512];
    unit.read(0, &mut bytes).unwrap();
    bytes[0]
}

/// Devices in the pool that the catalogue does not need.
fn hidden(bench: &Bench) -> usize {
    bench.pool().difference(&bench.needed()).count()
}

#[test]
fn a_point_in_time_keeps_its_instant_and_what_it_gives_is_shared() {
    let bench = bench();
    let (data, other) = (bench.unit("data"), bench.unit("other"));
    let before = used(&bench);
    let point = data.point_in_time().unwrap();
    assert!(other.share(&point, 0, 8 * MIB, 4 * MIB).unwrap());
    assert_eq!((used(&bench), mapped(&bench, "other")), (before, 4 * BLOCKS_OF_MIB), "shared, not copied");
    bench.write("data", 9);
    assert_eq!((first_byte(&point), bench.read("data")), (1, 9));
    assert_eq!(used(&bench), before + 1, "of what was written since, the old and the new");
    assert!(other.share(&point, 0, 0, MIB).unwrap());
    assert_eq!(bench.read("other"), 1);
    assert_eq!(used(&bench), before + 1);
    assert!(!point.has_points_in_time(), "of a point in time there are no others");
}

#[test]
fn one_cut_serves_all_tokens_until_something_is_written() {
    let bench = bench();
    let (data, other) = (bench.unit("data"), bench.unit("other"));
    let first = data.point_in_time().unwrap();
    assert!(Arc::ptr_eq(&first, &data.point_in_time().unwrap()));
    assert!(!Arc::ptr_eq(&first, &other.point_in_time().unwrap()), "each unit has its own");
    for (change, byte) in [(2, 2), (3, 3)] {
        bench.write("data", change);
        let point = data.point_in_time().unwrap();
        assert!(!Arc::ptr_eq(&first, &point));
        assert_eq!((first_byte(&first), first_byte(&point)), (1, byte));
    }
    let written = data.point_in_time().unwrap();
    data.unmap(0, 64 << 10).unwrap();
    assert_eq!((first_byte(&data.point_in_time().unwrap()), first_byte(&written)), (0, 3));
}

#[test]
fn a_point_in_time_leaves_the_pool_with_its_last_token_and_its_id_serves_again() {
    let bench = bench();
    let data = bench.unit("data");
    let before = bench.array.catalogue();
    for round in 0..=limits::THIN_RESERVE {
        let point = data.point_in_time().unwrap();
        let another = data.point_in_time().unwrap();
        bench.write("data", round as u8);
        drop(point);
        bench.bury();
        assert_eq!(hidden(&bench), 1, "{round}: there is another token of it");
        drop(another);
        bench.bury();
        assert_eq!(hidden(&bench), 0, "{round}");
    }
    assert_eq!(*bench.array.catalogue(), *before, "no new ids, and nothing to remember");
    assert_eq!(used(&bench), 4 * BLOCKS_OF_MIB, "nothing is left of them");
}

#[test]
fn whatever_dies_no_point_in_time_is_left_after_the_start() {
    let bench = bench();
    let (data, other) = (bench.unit("data"), bench.unit("other"));
    let point = data.point_in_time().unwrap();
    bench.write("data", 9);
    // This makes it durable as well.
    assert!(other.share(&point, 0, 0, MIB).unwrap());
    drop((data, other, point));
    assert_eq!(hidden(&bench), 1, "nobody was there to delete it");
    let bench = Bench::in_dir(bench.die(), PowerCut::Never).unwrap();
    assert_eq!(bench.array.catalogue().doomed.len(), 1, "it came back, and the start found it");
    bench.reap();
    assert_eq!(bench.pool(), bench.needed());
    assert_eq!((bench.read("data"), bench.read("other")), (9, 1));
    let point = bench.unit("data").point_in_time().unwrap();
    assert_eq!(first_byte(&point), 9);
}

#[test]
fn tokens_leave_the_last_cuts_of_the_pool_to_sets() {
    let bench = bench();
    let taken = bench.array.store().cuts_left() - limits::CUTS_FOR_SETS;
    bench.fuse.cuts_taken.store(taken - 1, SeqCst);
    let last = bench.unit("data").point_in_time().unwrap();
    assert!(Arc::ptr_eq(&last, &bench.unit("data").point_in_time().unwrap()), "nothing was written: no cut");
    bench.write("data", 2);
    assert!(bench.unit("data").point_in_time().is_err());
    bench.set(0x91, &["data"]);
}

#[test]
fn a_lun_may_go_before_its_point_in_time() {
    let bench = bench();
    let point = bench.unit("data").point_in_time().unwrap();
    bench.array.delete_lun("data", 0).unwrap();
    bench.reap();
    assert_eq!(first_byte(&point), 1);
}

#[test]
fn tokens_go_before_any_set_does_and_none_is_made_where_space_is_low() {
    let bench = bench();
    bench.give_up_what_is_expendable();
    let mut new = bench.new_set(0x91, &["data"]);
    new.volatile = true;
    bench.set_that(new);
    bench.fill("data", 4 * MIB);
    let point = bench.unit("data").point_in_time().unwrap();
    bench.front.tokens.lock().unwrap().push(point);
    bench.fill("data", 4 * MIB);
    // Three times 4 MiB are in use: the LUN, the set, the token.
    bench.fill("other", 52 * MIB);
    let refused = bench.unit("other").point_in_time().unwrap_err();
    assert!(matches!(refused, MediumError::NoSpace), "{refused:?}");
    assert_eq!(bench.front.tokens.lock().unwrap().len(), 1, "there was room");
    bench.try_fill("other", 52 * MIB..56 * MIB).unwrap();
    assert!(bench.front.tokens.lock().unwrap().is_empty());
    assert!(bench.array.set(&set_id(0x91)).is_ok(), "the set is there still");
    bench.try_fill("other", 56 * MIB..60 * MIB).unwrap();
    assert_eq!(bench.array.set(&set_id(0x91)).unwrap_err().code(), ErrorCode::ObjectNotFound);
    assert_eq!(bench.pool(), bench.needed());
}
