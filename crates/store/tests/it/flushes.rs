//! The kernel tells a failed flush of a file once, to one of those who flush it; what it was to carry is lost, and the next
//! flush succeeds. Whoever is told "flushed" has his data on the disk nevertheless (A2), and after it nothing is changed
//! any more (A6).

use crate::{
    judge::Judges,
    recorded::{After, PER_BLOCK, Promise, Run, open},
    sim::{DATA, Faults, Loss, Operation},
};
use std::{sync::mpsc, thread, time::Duration};
use umbra_base::{ErrorCode, Result};
use umbra_store::{LunStore, Mode};

/// Device 1 has a new block, which takes a commit; the others wrote in place, which takes no more than a flush of the data.
const DEVICES: [u32; 3] = [1, 2, 3];

fn written_and_not_flushed() -> Run {
    let mut run = Run::new(9, Faults::default());
    for id in DEVICES {
        run.create(id);
        run.change(id, 0, PER_BLOCK, 10);
        run.flush(id);
    }
    run.change(1, PER_BLOCK, PER_BLOCK, 11);
    run.change(2, 0, PER_BLOCK, 12);
    run.change(3, 0, PER_BLOCK, 13);
    run
}

/// `first` flushes, and meets the failure; while it does, everybody else begins to flush. The first comes last.
fn flush_at_once(run: &Run, first: u32) -> Vec<(u32, Result<()>)> {
    run.sim.set_faults(Faults { failing_flush: Some(DATA), ..Faults::default() });
    let flush = |id: u32| (id, run.volume(id).and_then(|volume| volume.flush()));
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let other = |id: u32| {
            let ((release, released), tell) = (mpsc::channel::<()>(), tell.clone());
            let other = scope.spawn(move || {
                released.recv().unwrap();
                let result = flush(id);
                // Nobody may be listening any more.
                let _heard = tell.send(());
                result
            });
            (release, other)
        };
        let (releases, others): (Vec<_>, Vec<_>) =
            DEVICES.into_iter().filter(|id| *id != first).map(other).unzip();
        run.sim.at_next(DATA, Operation::Flush, move || {
            releases.iter().for_each(|release| release.send(()).unwrap());
            // They should wait for this flush; if they do not, they are told what they are told before it fails.
            for _ in &releases {
                let _done = told.recv_timeout(Duration::from_millis(100));
            }
        });
        let first = flush(first);
        run.sim.set_hook(None);
        others.into_iter().map(|other| other.join().unwrap()).chain([first]).collect()
    })
}

fn one_failure_is_everybodys(first: u32) {
    let mut run = written_and_not_flushed();
    let begun = run.sim.moment();
    let told = flush_at_once(&run, first);
    assert!(run.sim.failed_to_flush(DATA), "no flush failed");
    assert_eq!(told.last().unwrap().1.as_ref().unwrap_err().code(), ErrorCode::Io);
    for (id, result) in &told {
        if result.is_ok() {
            let end = run.sim.moment();
            run.device(*id).flushes.push((begun, end));
        }
    }
    assert_eq!(run.store().usage().mode, Mode::ReadOnly);
    assert!(run.store().trouble().unwrap().contains("flush pool.data"), "{:?}", run.store().trouble());
    for id in DEVICES {
        run.look_at(id);
        let volume = run.volume(id).unwrap();
        let refused =
            [volume.flush(), volume.write(0, &[1; 512]), volume.discard(0, 512), run.store().flush()];
        assert!(refused.iter().all(|result| result.as_ref().unwrap_err().code() == ErrorCode::BadState));
    }
    run.store = None;
    let after = After { moment: run.sim.moment(), boot: 2, promise: Promise::Flushed };
    for loss in [Loss::Cache, Loss::MachineNone, Loss::MachineSome(1), Loss::MachineSome(2)] {
        run.check(&run.sim.after(after.moment, loss), after, Judges::Ours);
    }
    drop(open(&run.sim, 1));
    assert!(
        told.iter().all(|(_, result)| result.is_err()),
        "somebody was told that his data is flushed: {told:?}"
    );
}

#[test]
fn nobody_is_told_flushed_while_a_commit_hears_that_the_data_was_not() {
    one_failure_is_everybodys(1);
}

#[test]
fn nobody_is_told_flushed_while_another_flush_hears_that_the_data_was_not() {
    one_failure_is_everybodys(2);
}
