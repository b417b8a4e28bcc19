//! Negative controls of the sweep: each lie of the disk, and each order that an engine could get wrong, must be found
//! out, by the finding that belongs to it.

use crate::{
    recorded::{After, Run},
    sim::{DATA, Faults, LOG, Loss, META, Replay},
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What a sweep of a run with these faults fails with.
fn finding(faults: Faults) -> String {
    let run = catch_unwind(|| Run::play(1, 50, faults));
    let swept = run.and_then(|run| catch_unwind(AssertUnwindSafe(|| run.sweep(1))));
    said(swept.expect_err("the sweep did not notice").as_ref())
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
}

/// What fails when a run without faults is recovered from with these, and the recovery is lost again.
fn finding_in_a_recovery(faults: Faults) -> String {
    let run = Run::play(1, 50, Faults::default());
    let mut replay = Replay::of(&run.sim);
    let mut moments = (run.devices[&1].made.1..=run.sim.moment()).step_by(8);
    let found = moments.find_map(|moment| {
        replay.advance(moment);
        let disk = replay.image(Loss::Process);
        disk.set_faults(faults);
        let after = After::loss(moment, Loss::Process);
        catch_unwind(AssertUnwindSafe(|| run.sweep_recovery(&disk, after))).err()
    });
    said(found.expect("no recovery was found out").as_ref())
}

fn must_be_found_out(faults: Faults, word: &str) {
    let finding = finding(faults);
    assert!(finding.contains(word), "it was found out by something else: {finding}");
}

#[test]
fn a_flush_of_the_data_that_is_dropped_is_found_out() {
    must_be_found_out(Faults { lying_flush: Some(DATA), ..Faults::default() }, "holds");
}

#[test]
fn a_flush_of_the_metadata_that_is_dropped_is_found_out() {
    must_be_found_out(Faults { lying_flush: Some(META), ..Faults::default() }, "is lost");
}

#[test]
fn a_flush_of_the_data_that_a_recovery_drops_is_found_out() {
    let finding = finding_in_a_recovery(Faults { lying_flush: Some(DATA), ..Faults::default() });
    assert!(finding.contains("holds"), "it was found out by something else: {finding}");
}

#[test]
fn a_log_that_forgets_is_found_out() {
    must_be_found_out(
        Faults { lost_writes: Some(LOG), ..Faults::default() },
        "pool.log is missing or damaged",
    );
}

#[test]
fn a_write_that_is_acknowledged_before_its_record_is_found_out() {
    must_be_found_out(Faults { late_log: true, ..Faults::default() }, "holds");
}

/// The reference's unsafe case (dm-thin format section 8.1, R1).
#[test]
fn metadata_written_in_place_is_found_out() {
    must_be_found_out(Faults { in_place: true, ..Faults::default() }, "NoMappingTree");
}

/// The reference's section 4: beyond its first sector nothing of the superblock may change.
#[test]
fn a_superblock_that_can_be_torn_is_found_out() {
    must_be_found_out(
        Faults { long_superblock: true, ..Faults::default() },
        "superblock at metadata block 0: checksum",
    );
}
