//! The driver on the real pool and catalogue, with a target that only remembers, in simulated time, and with the power
//! cut before and after every step.

mod bench;
mod crash;
mod diff;
mod instants;
mod space;

use crate::{model::Access, rules::set::Takeover};
use bench::{Bench, HOST_A, HOST_B, set_id};
use std::time::Duration;
use umbra_base::ErrorCode;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_pending_set_lives_to_the_tick_of_its_lease_and_no_longer() {
    let bench = Bench::new();
    bench.lun(1, "data");
    bench.begin(9, &["data"], 10 * SECOND);
    bench.array.cut_set(&set_id(9), SECOND).unwrap();
    bench.clock.advance(10 * SECOND - Duration::from_nanos(1));
    bench.array.expire_lapsed();
    bench.array.set(&set_id(9)).unwrap();
    // The cut was a sign of life, at the beginning.
    bench.clock.advance(Duration::from_nanos(1));
    assert_eq!(bench.array.commit_set(&set_id(9)).unwrap_err().code(), ErrorCode::LeaseExpired);
    bench.array.expire_lapsed();
    assert_eq!(bench.array.set(&set_id(9)).unwrap_err().code(), ErrorCode::LeaseExpired);
    bench.reap();
    assert_eq!(bench.pool(), bench.needed());
}

#[test]
fn a_committed_set_needs_no_lease() {
    let bench = Bench::new();
    bench.lun(1, "data");
    bench.set(9, &["data"]);
    bench.clock.advance(10_000 * SECOND);
    bench.array.expire_lapsed();
    bench.array.set(&set_id(9)).unwrap();
}

#[test]
fn whoever_loses_a_lun_is_fenced_before_anyone_gains_it() {
    let bench = Bench::new();
    bench.lun(1, "data");
    bench.set(9, &["data"]);
    for (host, other) in [(HOST_A, HOST_B), (HOST_B, HOST_A)] {
        let (host, other) = (bench.host_name(host), bench.host_name(other));
        bench.array.import_set(&set_id(9), &host, Takeover::Steal).unwrap();
        bench.front.log();
        bench.array.import_set(&set_id(9), &other, Takeover::Steal).unwrap();
        let log = bench.front.log();
        assert_eq!(log.len(), 2);
        assert!(log[0].ends_with(":"), "first the one who loses it: {log:?}");
        assert!(log[1].ends_with(":1"), "{log:?}");
    }
}

#[test]
fn a_host_is_told_only_when_its_view_changes() {
    let bench = Bench::new();
    bench.lun(1, "data");
    bench.array.unmask_lun("data", "a", 0).unwrap();
    assert_eq!(bench.front.log(), [format!("{HOST_A}:1")]);
    bench.array.unmask_lun("data", "a", 0).unwrap();
    bench.array.rename_lun("data", "other", 0).unwrap();
    assert!(bench.front.log().is_empty());
    bench.array.set_lun_access("other", Access::ReadOnly, 0).unwrap();
    assert_eq!(bench.front.log(), [format!("{HOST_A}:1r")]);
    bench.array.extend_lun("other", 4 << 20, 0).unwrap();
    assert_eq!(bench.front.log().len(), 1);
}

#[test]
fn the_cut_touches_no_catalogue_and_wakes_no_host() {
    let bench = Bench::new();
    bench.lun(1, "data");
    bench.begin(9, &["data"], Duration::ZERO);
    bench.front.log();
    let before = bench.array.catalogue();
    bench.array.cut_set(&set_id(9), SECOND).unwrap();
    assert_eq!(*bench.array.catalogue(), *before);
    assert!(bench.front.log().is_empty());
}

#[test]
fn a_copy_keeps_what_was_there_at_the_cut() {
    let bench = Bench::new();
    bench.lun(1, "data");
    bench.write("data", 7);
    bench.begin(9, &["data"], Duration::ZERO);
    bench.array.cut_set(&set_id(9), SECOND).unwrap();
    bench.write("data", 8);
    let (_, set) = bench.array.commit_set(&set_id(9)).unwrap();
    let working = set.luns[0].working.to_string();
    assert_eq!((bench.read("data"), bench.read(&working)), (8, 7));
    // C1: writing the working copy leaves the pristine one alone.
    bench.write(&working, 9);
    assert_eq!(bench.read_thin(set.luns[0].pristine_thin), 7);
    bench.array.delete_lun("data", 0).unwrap();
    bench.reap();
    assert_eq!(bench.read(&working), 9, "B4: the copy survives its origin");
}

#[test]
fn a_catalogue_that_does_not_belong_to_the_pool_is_refused_and_deletes_nothing() {
    let mut bench = Bench::new();
    bench.lun(1, "data");
    let old = bench.copy_catalogue();
    for n in 2..80 {
        bench.lun(n, &format!("lun{n}"));
    }
    bench.end();
    let newest = bench.replace_catalogue(Some(&old));
    assert_eq!(bench.try_start().unwrap_err().code(), ErrorCode::Corrupt, "older than the pool");
    bench.replace_catalogue(None);
    assert_eq!(bench.try_start().unwrap_err().code(), ErrorCode::Corrupt, "no catalogue at all");
    bench.replace_catalogue(Some(&newest));
    bench.try_start().unwrap();
    assert_eq!(bench.pool().len(), 79);
}
