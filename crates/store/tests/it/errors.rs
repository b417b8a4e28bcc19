//! Errors of the disk at every operation of a run, opening included: a call fails, or the pool takes no changes any more;
//! what is read is right, nothing panics, and the next opening finds everything that was promised.

use crate::{
    judge::{Judges, check_image},
    recorded::{After, May, NEVER, PER_BLOCK, Promise, Run},
    sim::{DATA, Failure, Faults, How, Loss, META},
};
use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};
use umbra_store::LunStore;

/// A closed pool that has something of everything.
fn prepared() -> Run {
    let mut run = Run::on((400, 40), 4, Faults::default());
    run.create(1);
    run.create(2);
    run.change(1, 5, 300, 11);
    run.change(2, PER_BLOCK, PER_BLOCK, 12);
    run.cut(&[1, 2], 10);
    run.change(2, 0, 600, 13);
    run.store().close().unwrap();
    run.store = None;
    run
}

/// A short run that meets every kind of operation.
fn short_run(run: &mut Run) {
    run.look_at(1);
    run.change(1, 0, 10, 21);
    run.change(1, 128, 140, 0);
    run.look_at(10);
    run.change(2, 130, 1, 22);
    run.flush(2);
    run.write_atomic(1, 100, 200, 23);
    run.create(3);
    if run.devices[&3].made.1 != NEVER {
        run.change(3, 0, 700, 24);
    }
    run.extend(3, 4);
    run.cut(&[1, 2], 20);
    run.change(2, 131, 1, 25);
    run.share((2, 1), (1, 3), 2);
    run.delete(10);
    run.change(1, 500, 100, 26);
    run.flush(1);
    run.look_at(1);
    // What no commit has yet, in place, in fresh blocks, in copies, and gone.
    run.change(1, 510, 20, 27);
    run.change(1, 5 * PER_BLOCK, 40, 28);
    run.change(2, 3 * PER_BLOCK, 150, 29);
    run.change(2, PER_BLOCK, PER_BLOCK, 0);
    run.write_atomic(1, 2 * PER_BLOCK, 200, 30);
    run.write_zeroes(1, 5 * PER_BLOCK - 30, 60);
}

/// A run that ends with a clean stop, which has something of everything to commit.
fn closing_run(run: &mut Run) {
    run.change(1, 0, 10, 21);
    run.change(1, 5 * PER_BLOCK, 40, 22);
    run.change(2, 130, 1, 23);
    run.write_zeroes(2, 0, 2 * PER_BLOCK - 20);
    run.write_atomic(1, 100, 200, 24);
    if run.close() {
        // Nothing waits for a flush any more, and anyone may have the pool (A4).
        let after = After::loss(run.sim.moment(), Loss::MachineNone);
        let disk = run.sim.after(after.moment, Loss::MachineNone);
        check_image(disk.content(META).bytes(), Judges::Ours, 0);
        run.check(&disk, after, Judges::Ours);
    }
}

/// The run with one failure, and what is found afterwards. Returns how many operations of the disk there were.
fn run_with(prepared: &Run, what: fn(&mut Run), failure: Option<Failure>) -> usize {
    let mut run = prepared.going_on(Faults { failure, ..Faults::default() });
    run.may = if failure.is_some() { May::Fail } else { May::Succeed };
    if run.store.is_some() {
        what(&mut run);
    }
    let operations = run.sim.operations();
    run.sim.set_faults(Faults::default());
    for id in run.live() {
        let is_there = run
            .store
            .as_ref()
            .is_some_and(|store| store.device_ids().is_ok_and(|ids| ids.iter().any(|found| found.0 == id)));
        if is_there {
            run.look_at(id);
        }
    }
    run.store = None;
    // A failed flush of the data makes of acknowledged writes what a loss of the machine makes of them.
    let promise = match run.sim.failed_to_flush(DATA) {
        true => Promise::Flushed,
        false => Promise::Acknowledged,
    };
    let after = After { moment: run.sim.moment(), boot: 1, promise };
    for loss in [Loss::Process, Loss::Cache] {
        run.check(&run.sim.after(after.moment, loss), after, Judges::Ours);
    }
    operations
}

fn at_every_operation(how: How) {
    let prepared = prepared();
    at_every_operation_of(&prepared, (short_run, 90), how);
    at_every_operation_of(&prepared, (closing_run, 40), how);
}

fn at_every_operation_of(prepared: &Run, (what, least): (fn(&mut Run), usize), how: How) {
    let operations = run_with(prepared, what, None);
    assert!(operations > least, "only {operations} operations");
    for at in 0..operations {
        let failure = Failure { at, how };
        let met = catch_unwind(AssertUnwindSafe(|| run_with(prepared, what, Some(failure))));
        match met {
            Ok(met) => assert!(met > at, "operation {at} never came"),
            Err(panic) => {
                eprintln!("with {failure:?} of {operations}");
                resume_unwind(panic);
            }
        }
    }
}

#[test]
fn an_error_of_any_one_operation_leaves_right_data_and_a_clean_pool() {
    at_every_operation(How::Once(ErrorKind::Other));
}

#[test]
fn a_full_file_system_at_any_one_operation_leaves_right_data_and_a_clean_pool() {
    at_every_operation(How::Once(ErrorKind::StorageFull));
}

#[test]
fn a_file_that_cannot_be_changed_any_more_leaves_right_data_and_a_clean_pool() {
    at_every_operation(How::Changes);
}

#[test]
fn a_file_that_is_gone_at_any_operation_leaves_right_data_and_a_clean_pool() {
    at_every_operation(How::Everything);
}

#[test]
fn a_file_system_without_room_from_any_operation_on_leaves_right_data_and_a_clean_pool() {
    at_every_operation(How::NoSpace);
}
