//! Loss of the process and of the machine at every write and flush of recorded runs, and again during recovery; each
//! time the store is opened again and must hold what A2 promises (`recorded::promise`).
//!
//! `UMBRA_SWEEP_SEEDS=20` sweeps that many random runs. `UMBRA_SWEEP_DENSITY=8` looks at eight times as many moments where
//! not all of them are looked at: at which a recovery is lost again (1 of 64), and of the long run of `overlap` (150). A
//! failure prints what was lost when.

use crate::{
    judge::{Judges, check_image},
    recorded::{After, BLOCK, May, NEVER, PER_BLOCK, Run, open},
    sim::{Faults, Loss, META, Replay, Sim},
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

/// The process dies between the writing of a superblock and its flush; what the next one does must not rely on it before
/// it is flushed, or the machine's loss brings back a state whose blocks were reused (R1, R2).
#[test]
fn a_loss_while_a_superblock_that_was_not_flushed_is_recovered_from_finds_a_clean_pool() {
    let run = Run::play(1, 50, Faults::default());
    let mut replay = Replay::of(&run.sim);
    let mut met = 0;
    for moment in run.devices[&1].made.1..=run.sim.moment() {
        replay.advance(moment);
        if replay.superblock_is_pending() {
            met += 1;
            run.sweep_recovery(&replay.image(Loss::Process), After::loss(moment, Loss::Process));
        }
    }
    assert!(met > 5, "only {met} superblocks");
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

/// A full pool is extended, and a write takes new blocks as soon as there are any: not before they are there after a loss.
#[test]
fn every_loss_while_a_full_pool_is_extended_under_a_write_keeps_what_was_promised() {
    const BLOCKS: usize = 6;
    for at in 0..6 {
        let mut run = Run::on((160, BLOCKS as u64), 3, Faults::default());
        run.may = May::BeRefused;
        run.create(1);
        run.create(2);
        run.change(1, 0, BLOCKS * PER_BLOCK, 11);
        run.flush(1);
        let begun = run.sim.moment();
        run.extend_beside_a_write((3, 2), at, (2, 5, 2 * PER_BLOCK));
        let written = run.devices[&2].sectors[5].last().unwrap();
        assert!(written.acknowledged != NEVER, "the write found no room");
        assert!(written.begun < run.sizes[1].span.1, "the write began after the extension was done");
        run.sweep_from(begun, 1);
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

/// What an atomic write may not do is write a part, also where the pool is so full that a part is all it has room for.
#[test]
fn an_atomic_write_that_finds_no_room_writes_nothing() {
    let (mut refused, mut written) = (0, 0);
    for metadata in 100..140 {
        let mut run = Run::on((metadata, 50), metadata, Faults::default());
        run.may = May::BeRefused;
        // Each takes a little metadata, and some more when it is written; a few make room for that.
        let mut last = 0;
        while run.failures == 0 {
            last += 1;
            run.create(last);
        }
        run.failures = 0;
        (last - metadata as u32 % 7..last).for_each(|id| run.delete(id));
        for turn in 0..30 {
            let (id, token) = (1 + turn % (last - 7), run.token());
            // Looks at the device if it is refused.
            run.write_atomic(id, 50, 3 * PER_BLOCK, token);
            written += 1;
        }
        refused += run.failures;
    }
    assert!(refused > 0 && refused < written, "{refused} of {written} were refused");
}
