//! Loss of the process and of the machine at every write and flush of recorded runs, and again during recovery; each
//! time the store is opened again and must hold what A2 promises (`recorded::promise`).
//!
//! `UMBRA_SWEEP_SEEDS=20` sweeps that many random runs; a failure prints what was lost when.

use crate::{
    judge::{Judges, check_image},
    recorded::{BLOCK, May, NEVER, PER_BLOCK, Run, open},
    sim::{Faults, Loss, META, Sim},
};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use umbra_store::{LunStore, ThinId};

fn seeds() -> u64 {
    std::env::var("UMBRA_SWEEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

#[test]
fn every_loss_of_process_and_machine_keeps_what_was_promised() {
    for seed in 1..=seeds() {
        eprintln!("seed {seed}");
        Run::play(seed, 50, Faults::default()).sweep(1);
    }
}

/// With so little metadata that some operations of a run are refused, and others find what was just freed.
#[test]
fn every_loss_of_a_pool_with_little_room_keeps_what_was_promised() {
    for seed in 1..=seeds() {
        eprintln!("seed {seed}");
        let mut run = Run::on((110, 30), seed, Faults::default());
        run.may = May::BeRefused;
        run.go(50);
        assert!(run.failures > 0, "nothing was refused");
        assert!(run.failures < 40, "nearly everything was refused");
        run.sweep(1);
    }
}

#[test]
fn a_pool_that_was_being_made_is_made_anew() {
    let sim = Sim::new();
    drop(open(&sim, 1));
    for moment in 0..=sim.moment() {
        for loss in [Loss::Process, Loss::MachineNone, Loss::MachineSome(7)] {
            let after = sim.after(moment, loss);
            let store = open(&after, 2);
            store.create(ThinId(1)).unwrap();
            store.close().unwrap();
            check_image(after.content(META).bytes(), Judges::Ours, 0);
        }
    }
}

/// A device of thousands of blocks goes in pieces; commits in between make some of them durable.
#[test]
fn every_loss_during_a_deletion_in_pieces_keeps_it_deleted_and_all_else_there() {
    const BLOCKS: u64 = 5000;
    let mut run = Run::on((300, BLOCKS + 30), 8, Faults::default());
    run.create(1);
    run.create(2);
    run.change(1, 0, 2 * PER_BLOCK, 11);
    run.cut(&[1], 10);
    let large = run.store().open(ThinId(2), BLOCKS * BLOCK).unwrap();
    for block in 6..BLOCKS {
        large.write(block * BLOCK, &[1; 512]).unwrap();
    }
    drop(large);
    run.change(2, 5, 10, 12);
    run.flush(2);
    let (begun, stop) = (run.sim.moment(), AtomicBool::new(false));
    let store = run.store.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut used = 0;
            while !stop.load(SeqCst) {
                if store.usage().data_used != used {
                    store.flush().unwrap();
                    used = store.usage().data_used;
                }
                std::thread::yield_now();
            }
        });
        store.delete(ThinId(2)).unwrap();
        stop.store(true, SeqCst);
    });
    // Out of sight it is for good when the call returns; when before that, only the moment of a commit says.
    run.device(2).gone = Some((begun, run.sim.moment()));
    assert_eq!(store.usage().data_used, 2, "the space is not back");
    drop(store);
    run.sweep_from(begun, 1);
}

/// What an atomic write may not do is write a part: neither where it fails, nor after any loss.
#[test]
fn an_atomic_write_that_finds_no_room_writes_nothing() {
    for metadata in 68..100 {
        let mut run = Run::on((metadata, 60), metadata, Faults::default());
        run.may = May::BeRefused;
        run.create(1);
        run.create(2);
        if run.failures > 0 {
            continue;
        }
        for round in 0..12 {
            run.write_atomic(1, (round % 2) as usize * 100, 4 * PER_BLOCK, 100 + round);
            if run.devices.len() < 8 {
                run.cut(&[1, 2], 10 + 4 * round as u32);
            }
            run.write_atomic(2, 50, 3 * PER_BLOCK, 200 + round);
        }
        let copies: Vec<_> =
            run.devices.iter().filter(|(_, device)| device.made.1 != NEVER).map(|(id, _)| *id).collect();
        copies.into_iter().for_each(|id| run.look_at(id));
    }
}
