//! A clean stop that meets something else.

use crate::{
    recorded::{BLOCK, INCOMPAT_LOG, PER_BLOCK, Run, open},
    sim::{DATA, Faults, Loss, META, Operation, SECTOR, Sim},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};
use umbra_base::ErrorCode;
use umbra_store::{
    Background, Level, LunStore, Mode, PoolParams, SpacePolicy, ThinId, ThinPoolStore, Thresholds, Usage,
};

/// The flush of device 1 fails while the stop waits for a write to device 1: the data of device 2, which nobody flushed,
/// is lost with it, and no commit may name its block any more.
#[test]
fn a_flush_that_fails_while_the_pool_is_being_closed_stops_the_close() {
    let mut run = Run::new(11, Faults::default());
    run.create(1);
    run.create(2);
    run.change(1, 0, PER_BLOCK, 10);
    run.flush(1);
    run.change(2, 0, PER_BLOCK, 12);
    let volume = run.volume(1).unwrap();
    let sim = run.sim.clone();
    let ticket = volume.direct_write(0, SECTOR as u64, &mut Vec::new()).unwrap();
    let store = run.store.take().unwrap();
    let closed = thread::scope(|scope| {
        let closing = scope.spawn(|| store.close());
        // Until the gate is closed.
        while let Some(ticket) = volume.direct_write(0, SECTOR as u64, &mut Vec::new()) {
            volume.finish(ticket, true).unwrap();
            thread::yield_now();
        }
        sim.set_faults(Faults { failing_flush: Some(DATA), ..Faults::default() });
        assert_eq!(volume.flush().unwrap_err().code(), ErrorCode::Io);
        assert_eq!(store.usage().mode, Mode::ReadOnly);
        volume.finish(ticket, true).unwrap_err();
        closing.join().unwrap()
    });
    assert!(closed.is_err(), "closed cleanly over data that was lost");
    drop((volume, store));
    // Its data is lost with the cache, and so is what says where it was.
    let after = open(&sim.after(sim.moment(), Loss::Cache), 1);
    assert_eq!(after.mapped_blocks(ThinId(2)).unwrap(), 0);
}

/// Deletes one device after the other.
struct Deletes {
    store: std::sync::Weak<ThinPoolStore>,
    next: AtomicU32,
    begun: Arc<AtomicBool>,
}

impl SpacePolicy for Deletes {
    fn level_changed(&self, _: Level, _: &Usage) {}

    fn give_something_up(&self) -> bool {
        let Some(store) = self.store.upgrade() else { return false };
        self.begun.store(true, SeqCst);
        store.delete(ThinId(self.next.fetch_add(1, SeqCst))).is_ok()
    }
}

/// The background gives something up for want of space, and is in the commit of it when the stop comes.
#[test]
fn a_stop_while_the_background_gives_something_up_comes_to_an_end() {
    let sim = Sim::with_pool(300, 60, BLOCK);
    let thresholds = Thresholds { low_percent: 0, critical_percent: 0, full_wait: Duration::ZERO };
    let params = PoolParams {
        background: Background::Every(Duration::from_millis(5)),
        devices: 8,
        thresholds,
        ..PoolParams::new(40 * BLOCK)
    };
    let store = Arc::new(ThinPoolStore::on(sim.backing(1), params).unwrap());
    (1..20).for_each(|id| store.create(ThinId(id)).unwrap());
    let begun = Arc::new(AtomicBool::new(false));
    let (tell, closed) = mpsc::channel();
    // In the deletion's commit the stop comes.
    sim.set_hook(Some(Arc::new({
        let (begun, store, stopping) = (begun.clone(), store.clone(), AtomicBool::new(false));
        move |file, what| {
            let in_background = thread::current().name() == Some("pool-commit");
            let now = in_background && (file, what) == (META, Operation::Flush) && begun.load(SeqCst);
            if now && !stopping.swap(true, SeqCst) {
                let (closing, tell) = (store.clone(), tell.clone());
                thread::spawn(move || tell.send(closing.close()).unwrap());
                while store.usage().mode != Mode::Closed {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    })));
    let policy = Deletes { store: Arc::downgrade(&store), next: AtomicU32::new(1), begun };
    store.set_policy(Arc::new(policy));
    let result = closed.recv_timeout(Duration::from_secs(10));
    sim.set_hook(None);
    if result.is_err() {
        // Its threads wait for each other.
        std::mem::forget(store);
    }
    assert!(result.is_ok(), "close has not returned after 10 s");
}

/// A commit that somebody else began is on its way while the pool is closed.
#[test]
fn a_commit_beside_the_close_leaves_the_pool_clean() {
    for round in 0..200 {
        let sim = Sim::with_pool(160, 60, BLOCK);
        let store = open(&sim, 1);
        store.create(ThinId(1)).unwrap();
        let volume = store.open(ThinId(1), 6 * BLOCK).unwrap();
        let over = AtomicBool::new(false);
        let closed = thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(SeqCst) && volume.mapped(0, 6 * BLOCK).is_ok() {
                        thread::yield_now();
                    }
                });
            }
            for i in 0..2 {
                let volume = &volume;
                scope.spawn(move || {
                    let _ended = (0..).find(|n| {
                        volume.discard((i + 1) * BLOCK, BLOCK).is_err()
                            || volume.write((i + 1) * BLOCK, &[*n as u8; 512]).is_err()
                            || volume.flush().is_err()
                    });
                });
            }
            thread::sleep(Duration::from_micros(500 + round % 700));
            let closed = store.close();
            over.store(true, SeqCst);
            closed
        });
        closed.unwrap();
        drop((volume, store));
        let image = sim.content(META).bytes();
        let incompat = umbra_thin::Superblock::decode(image[..4096].try_into().unwrap(), 0).unwrap().incompat;
        assert_eq!(incompat & INCOMPAT_LOG, 0, "round {round}: closed, and marked as one with a log");
    }
}

/// "Durable on return", whoever deleted it.
#[test]
fn a_device_that_is_being_deleted_by_another_is_gone_for_good_when_its_deletion_returns() {
    let mut run = Run::new(12, Faults::default());
    run.create(1);
    let (sim, store) = (run.sim.clone(), Arc::new(run.store.take().unwrap()));
    let (tell, told) = mpsc::channel();
    sim.at_next(META, Operation::Flush, {
        let (sim, store) = (sim.clone(), store.clone());
        move || {
            thread::spawn(move || {
                store.delete(ThinId(1)).unwrap();
                tell.send(sim.moment()).unwrap();
            });
            thread::sleep(Duration::from_millis(100));
        }
    });
    store.delete(ThinId(1)).unwrap();
    let moment = told.recv().unwrap();
    sim.set_hook(None);
    let again = open(&sim.after(moment, Loss::MachineNone), 2);
    assert_eq!(again.device_ids().unwrap(), [], "it was deleted, and is there after the loss of the machine");
}

/// A clean stop is the end of it: a kernel may have the pool from then on (A4).
#[test]
fn nothing_is_written_after_the_close() {
    for round in 0..300 {
        let sim = Sim::with_pool(160, 60, BLOCK);
        let store = open(&sim, 1);
        let end = thread::scope(|scope| {
            for first in [100, 200] {
                let store = &store;
                scope.spawn(move || (first..first + 50).find(|id| store.create(ThinId(*id)).is_err()));
            }
            thread::sleep(Duration::from_micros(100 + round % 300));
            store.close().unwrap();
            sim.moment()
        });
        assert_eq!(sim.moment(), end, "round {round}: written after the close");
    }
}
