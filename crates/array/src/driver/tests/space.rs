//! Space (A7): what is refused when it is low, what goes when it runs out and in which order, what never goes, and that
//! nobody waits for himself meanwhile. The pool has 64 MiB.

use super::bench::{Bench, HOST_A, PowerCut, set_id};
use crate::{
    model::{Access, Reserve, SetState},
    rules::{begin::NewSet, lun::NewLun, set::Takeover},
};
use std::{
    sync::{atomic::Ordering::SeqCst, mpsc},
    thread,
    time::{Duration, Instant},
};
use umbra_base::ErrorCode;
use umbra_store::Extend;

const MIB: u64 = 1 << 20;
const PATIENT: Duration = Duration::from_secs(30);

/// With LUN `data` of 4 MiB, which is full, and LUN `other`, which is empty.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.array.create_lun(bench.new_lun(1, "data", 4 * MIB)).unwrap();
    bench.array.create_lun(bench.new_lun(2, "other", 64 * MIB)).unwrap();
    bench.fill("data", 4 * MIB);
    bench
}

/// A set of `data` that has 4 MiB for itself, because all of its original is written anew.
fn set_that(bench: &Bench, n: u128, change: impl FnOnce(&mut NewSet)) {
    let mut new = bench.new_set(n, &["data"]);
    change(&mut new);
    bench.set_that(new);
    bench.fill("data", 4 * MIB);
    bench.clock.advance(Duration::from_secs(1));
}

fn is_there(bench: &Bench, n: u128) -> bool {
    bench.array.set(&set_id(n)).is_ok()
}

fn spin_until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENT;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
    }
}

#[test]
fn copies_go_in_their_order_before_a_write_to_an_original_fails_and_what_is_kept_never_goes() {
    const LATE: u128 = 0x91;
    const OLD: u128 = 0x92;
    const KEPT: u128 = 0x93;
    const YOUNG: u128 = 0x94;
    const SOON: u128 = 0x95;
    const BROKEN: u128 = 0x96;
    const PENDING: u128 = 0x97;
    let bench = bench();
    bench.give_up_what_is_expendable();
    set_that(&bench, LATE, |set| set.expires_at = 900);
    set_that(&bench, OLD, |set| (set.volatile, set.expires_at) = (true, 5));
    set_that(&bench, KEPT, |_| {});
    set_that(&bench, YOUNG, |set| set.volatile = true);
    set_that(&bench, SOON, |set| set.expires_at = 100);
    set_that(&bench, BROKEN, |set| set.volatile = true);
    bench.array.import_set(&set_id(BROKEN), "a", Takeover::Never).unwrap();
    bench.array.begin_break(&set_id(BROKEN), "a", Access::ReadOnly).unwrap();
    let (_, broken) = bench.array.commit_break(&set_id(BROKEN), Access::ReadOnly, vec![]).unwrap();
    let pending = NewSet { volatile: true, expires_at: 1, ..bench.new_set(PENDING, &["data"]) };
    bench.array.begin_set("a", pending, Duration::ZERO).unwrap();
    bench.array.cut_set(&set_id(PENDING), Duration::from_secs(1)).unwrap();
    bench.fill("data", 4 * MIB);

    // Eight times 4 MiB are in use: seven copies and the original.
    bench.fill("other", 32 * MIB);
    assert!([LATE, OLD, KEPT, YOUNG, SOON].into_iter().all(|n| is_there(&bench, n)), "there was room");
    let mut left = vec![OLD, YOUNG, SOON, LATE];
    for at in (32 * MIB..48 * MIB).step_by(4 << 20) {
        bench.try_fill("other", at..at + 4 * MIB).unwrap();
        left.remove(0);
        for n in [OLD, YOUNG, SOON, LATE] {
            assert_eq!(is_there(&bench, n), left.contains(&n), "{n:x} at {at}");
        }
    }
    let error = bench.try_fill("other", 48 * MIB..49 * MIB).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InsufficientStorage);

    assert!(is_there(&bench, KEPT));
    assert_eq!(bench.read(&broken.luns[0].working.to_string()), 1);
    bench.array.commit_set(&set_id(PENDING)).unwrap();
    let gone = bench.array.set(&set_id(OLD)).unwrap_err();
    assert_eq!(gone.code(), ErrorCode::ObjectNotFound);
    assert!(gone.message().contains("given up"), "{gone:?}");
    assert_eq!(bench.pool(), bench.needed(), "what was given up has left the pool");
    let audit = std::fs::read_to_string(bench.dir.path().join("audit.log")).unwrap();
    assert_eq!(audit.matches("\"give_up_set\"").count(), 4, "{audit}");
}

#[test]
fn what_is_deleted_already_goes_before_anything_that_is_still_wanted() {
    let bench = bench();
    bench.give_up_what_is_expendable();
    set_that(&bench, 0x91, |set| set.volatile = true);
    set_that(&bench, 0x92, |_| {});
    bench.fill("other", 52 * MIB);
    bench.array.delete_set(&set_id(0x92), 0).unwrap();
    bench.try_fill("other", 52 * MIB..56 * MIB).unwrap();
    assert!(is_there(&bench, 0x91));
    bench.try_fill("other", 56 * MIB..60 * MIB).unwrap();
    assert!(!is_there(&bench, 0x91));
}

#[test]
fn no_set_begins_where_space_is_low() {
    let bench = bench();
    // 80 % of 1024 blocks are 820.
    bench.fill("other", 47 * MIB);
    bench.begin(9, &["data"], Duration::ZERO);
    bench.try_fill("other", 47 * MIB..48 * MIB).unwrap();
    let refused = bench.try_begin(10, &["data"], Duration::ZERO).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InsufficientStorage);
    assert!(refused.hint_text().unwrap().contains("pool extend"));
    bench.array.extend_pool(Extend { data_bytes: Some(128 * MIB), metadata_bytes: None }).unwrap();
    bench.begin(10, &["data"], Duration::ZERO);
}

/// The set's own host writes to it, its write finds the pool full, and the set is what can be done without: if its fence
/// were waited for, the write would wait for itself.
#[test]
fn a_write_does_not_wait_for_the_fence_that_waits_for_it() {
    let bench = bench();
    bench.give_up_what_is_expendable();
    set_that(&bench, 0x91, |set| set.volatile = true);
    bench.array.import_set(&set_id(0x91), "a", Takeover::Never).unwrap();
    bench.array.set_lun_access("data", Access::ReadWrite, 0).unwrap();
    bench.fill("other", 56 * MIB);
    let working = bench.array.set(&set_id(0x91)).unwrap().luns[0].working.to_string();
    let volume = bench.volume(&working);
    let (tell, told) = mpsc::channel();
    let command = bench.front.command.lock().unwrap();
    let writer = thread::spawn(move || tell.send(volume.write(0, &[7; 4096])));
    let written = told.recv_timeout(PATIENT).expect("the write hangs");
    drop(command);
    writer.join().unwrap().unwrap();
    assert!(written.is_err(), "its set is gone");
    assert!(!is_there(&bench, 0x91));
    bench.array.present_stale().unwrap();
    assert!(bench.front.now.lock().unwrap()[HOST_A].is_empty(), "the host is told afterwards");
}

/// One request is in a fence that waits for a write, another waits for the first; the write must find room all the same.
#[test]
fn a_search_for_room_waits_for_nobody_who_waits_for_a_fence() {
    let bench = bench();
    bench.give_up_what_is_expendable();
    set_that(&bench, 0x91, |set| set.volatile = true);
    for lun in ["data", "other"] {
        bench.array.unmask_lun(lun, "a", 0).unwrap();
    }
    bench.fill("other", 56 * MIB);
    let volume = bench.volume("other");
    let (tell, told) = mpsc::channel();
    let before = bench.front.fences.load(SeqCst);
    let command = bench.front.command.lock().unwrap();
    thread::scope(|scope| {
        let fenced = scope.spawn(|| bench.array.set_lun_access("other", Access::ReadOnly, 0));
        spin_until("the fence is raised", || bench.front.fences.load(SeqCst) > before);
        let behind = scope.spawn(|| bench.array.set_lun_access("data", Access::ReadOnly, 0));
        spin_until("the second request is committed", || {
            bench.array.lun("data").unwrap().access == Access::ReadOnly
        });
        scope.spawn(move || tell.send(volume.write(56 * MIB, &[7; 4096])));
        let written = told.recv_timeout(PATIENT);
        drop(command);
        written.expect("the write hangs").unwrap();
        fenced.join().unwrap().unwrap();
        behind.join().unwrap().unwrap();
    });
    assert!(!is_there(&bench, 0x91));
}

#[test]
fn a_set_that_somebody_is_busy_with_is_left_out() {
    let bench = bench();
    bench.give_up_what_is_expendable();
    set_that(&bench, 0x91, |set| set.volatile = true);
    set_that(&bench, 0x92, |set| set.expires_at = 5);
    bench.fill("other", 52 * MIB);
    let (_, busy) = bench.array.busy_with(&set_id(0x91)).unwrap();
    bench.try_fill("other", 52 * MIB..53 * MIB).unwrap();
    assert!(is_there(&bench, 0x91) && !is_there(&bench, 0x92));
    drop(busy);
    bench.try_fill("other", 53 * MIB..57 * MIB).unwrap();
    assert!(!is_there(&bench, 0x91));
}

#[test]
fn what_a_lun_reserves_is_kept_for_it_from_its_making_and_after_each_start() {
    let bench = Bench::new();
    let reserving = |n, name: &str, reserve| NewLun { reserve, ..bench.new_lun(n, name, 16 * MIB) };
    bench.array.create_lun(reserving(1, "all", Reserve::All)).unwrap();
    bench.array.create_lun(reserving(2, "some", Reserve::Bytes(8 * MIB))).unwrap();
    let owed = |bench: &Bench| bench.array.store().usage().data_owed * 65536;
    assert_eq!(owed(&bench), 24 * MIB);
    let refused =
        bench.array.create_lun(NewLun { size_bytes: 41 * MIB, ..reserving(3, "too", Reserve::All) });
    assert_eq!(refused.unwrap_err().code(), ErrorCode::InsufficientStorage);
    assert_eq!(bench.pool(), bench.needed(), "nothing is left of what was refused");
    bench.fill("all", 4 * MIB);
    bench.array.extend_lun("all", 20 * MIB, 0).unwrap();
    assert_eq!(owed(&bench), 24 * MIB, "4 more to keep, 4 taken");

    let bench = Bench::in_dir(bench.die(), PowerCut::Never).unwrap();
    assert_eq!(owed(&bench), 24 * MIB);
    bench.array.create_lun(bench.new_lun(4, "greedy", 64 * MIB)).unwrap();
    let error = bench.try_fill("greedy", 0..64 * MIB).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InsufficientStorage);
    bench.fill("all", 20 * MIB);
    bench.fill("some", 8 * MIB);
}

#[test]
fn copies_have_no_part_in_the_reservation_and_quota_of_their_original() {
    let bench = Bench::new();
    let new =
        NewLun { reserve: Reserve::All, quota_bytes: Some(4 * MIB), ..bench.new_lun(1, "data", 4 * MIB) };
    bench.array.create_lun(new).unwrap();
    bench.set(9, &["data"]);
    let set = bench.array.set(&set_id(9)).unwrap();
    assert!(matches!(set.state, SetState::Created { .. }));
    let working = bench.array.lun(&set.luns[0].working.to_string()).unwrap();
    assert_eq!((working.reserve, working.quota_bytes), (Reserve::Nothing, None));
    assert_eq!(bench.array.store().usage().data_owed * 65536, 4 * MIB);
}
