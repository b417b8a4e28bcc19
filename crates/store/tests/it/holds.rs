//! What is done under a hold is done without writers (A3): where the lease runs out meanwhile, either no write comes through
//! before it is done, or it is refused.
//!
//! Deletion and sharing take holds of their own, of the longest lease: the tests wait for its end.

use crate::{
    recorded::{BLOCK, open},
    sim::{META, Operation, Sim},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};
use umbra_base::{ErrorCode, Result, limits::HOLD_MAX};
use umbra_store::{LunStore, Share, ThinId, ThinPoolStore, Volume};

const SIZE: u64 = 4 * BLOCK;
const VICTIM: ThinId = ThinId(1);
const OTHER: ThinId = ThinId(2);

/// Devices up to this one, each with a block of its number; nothing of it is in a cache.
fn disk(metadata_blocks: u64, last: u32) -> Sim {
    let sim = Sim::with_pool(metadata_blocks, 200, BLOCK);
    let store = open(&sim, 1);
    for id in 1..=last {
        store.create(ThinId(id)).unwrap();
        store.open(ThinId(id), SIZE).unwrap().write(0, &[id as u8; BLOCK as usize]).unwrap();
    }
    store.close().unwrap();
    sim
}

fn share(store: &ThinPoolStore) -> Result<()> {
    store.share(Share { from: OTHER, from_offset: 0, to: VICTIM, to_offset: 0, len: BLOCK })
}

fn delete(store: &ThinPoolStore) -> Result<()> {
    store.delete(VICTIM)
}

/// Whether writes to a block that the cache knows are held.
fn is_held(volume: &Arc<dyn Volume>) -> bool {
    volume.direct_write(0, 512, &mut Vec::new()).map(|ticket| volume.finish(ticket, true).unwrap()).is_none()
}

/// The operation has its hold and waits for the engine, which somebody has who waits for the disk, until the lease is over.
fn with_an_engine_that_is_stuck(operation: fn(&ThinPoolStore) -> Result<()>) {
    let sim = disk(160, 3);
    let store = open(&sim, 1);
    let [victim, reader] = [VICTIM, ThinId(3)].map(|id| store.open(id, SIZE).unwrap());
    victim.read(0, &mut [0; 512]).unwrap();
    let ticket = victim.direct_write(0, 512, &mut Vec::new()).unwrap();
    thread::scope(|scope| {
        let operation = scope.spawn(|| operation(&store));
        while !is_held(&victim) {
            thread::yield_now();
        }
        let ((stick, is_stuck), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
        sim.at_next(META, Operation::Read, move || {
            stick.send(()).unwrap();
            goes_on.recv().unwrap();
        });
        scope.spawn(|| reader.read(0, &mut [0; 512]).unwrap());
        is_stuck.recv().unwrap();
        victim.finish(ticket, true).unwrap();
        let (tell, written) = mpsc::channel();
        let writer = &victim;
        scope.spawn(move || tell.send(writer.write(512, &[7; 512])).unwrap());
        let early = written.recv_timeout(HOLD_MAX + Duration::from_millis(200));
        go_on.send(()).unwrap();
        let done = operation.join().unwrap();
        if let Ok(written) = early {
            written.unwrap();
            assert_eq!(done.unwrap_err().code(), ErrorCode::HoldWritesTimeout, "a write came between");
        } else {
            done.unwrap();
            // The device may be gone by now.
            let _written = written.recv().unwrap();
        }
    });
}

/// A disk and a number of new blocks that are not committed, so that there is no metadata for sharing before a commit.
fn without_room() -> (Sim, u32) {
    const LAST: u32 = 60;
    let sim = disk(230, LAST);
    let needs_room = |dirty: &u32| {
        let sim = sim.copy();
        let store = with_new_blocks(&sim, *dirty);
        let before = sim.holes_after_commits().len();
        share(&store).unwrap();
        sim.holes_after_commits().len() > before + 1
    };
    let dirty = (1..LAST - 3).find(needs_room).expect("there was always room");
    (sim, dirty)
}

fn with_new_blocks(sim: &Sim, dirty: u32) -> ThinPoolStore {
    let store = open(sim, 1);
    for id in 4..4 + dirty {
        store.open(ThinId(id), SIZE).unwrap().write(BLOCK, &[9; BLOCK as usize]).unwrap();
    }
    store
}

/// Sharing finds no room and commits; the commit takes longer than the lease, and a write comes through.
fn with_a_commit_that_is_slow() {
    let (sim, dirty) = without_room();
    let store = with_new_blocks(&sim, dirty);
    let victim = store.open(VICTIM, SIZE).unwrap();
    victim.read(0, &mut [0; 512]).unwrap();
    let (writer, held) = (victim.clone(), Arc::new(AtomicBool::new(false)));
    sim.at_next(META, Operation::Change, {
        let held = held.clone();
        move || {
            held.store(is_held(&writer), SeqCst);
            writer.write(512, &[7; 512]).unwrap();
        }
    });
    let refused = share(&store);
    assert!(held.load(SeqCst), "the commit was not under the hold");
    assert_eq!(refused.unwrap_err().code(), ErrorCode::HoldWritesTimeout);
    let mut block = vec![0; BLOCK as usize];
    victim.read(0, &mut block).unwrap();
    assert_eq!(block[..1024], [[1; 512], [7; 512]].concat());
    share(&store).unwrap();
    victim.read(0, &mut block).unwrap();
    assert!(block.iter().all(|byte| *byte == 2));
}

#[test]
fn no_write_comes_between_a_hold_and_what_is_done_under_it() {
    thread::scope(|scope| {
        scope.spawn(|| with_an_engine_that_is_stuck(delete));
        scope.spawn(|| with_an_engine_that_is_stuck(share));
        scope.spawn(with_a_commit_that_is_slow);
    });
}
