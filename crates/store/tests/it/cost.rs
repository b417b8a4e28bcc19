//! What I/O costs: on mapped, unshared blocks no allocation, no metadata and no lock that somebody else may hold for
//! long; on shared ones a copy only of what the write leaves of a block; on unmapped ones nothing.

use crate::{
    recorded::{BLOCK, open as open_sim},
    sim::{DATA, LOG, META, Operation, Sim},
    support::{self, cut, read},
    watch::{Count, Meters},
};
use std::{
    os::unix::fs::FileExt,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use umbra_store::{LunStore, ThinId, ThinPoolStore, Volume};
use umbra_sys::counting::allocations_of_this_thread;

const SIZE: u64 = 64 * BLOCK;
/// Blocks that are mapped at the beginning of each device.
const MAPPED: u64 = 4;
const NOTHING: Count = Count { reads: 0, read: 0, writes: 0, written: 0 };
/// What takes longer than this is waiting for something.
const LONG: Duration = Duration::from_secs(10);

fn allocations(work: impl FnOnce()) -> u64 {
    let before = allocations_of_this_thread();
    work();
    allocations_of_this_thread() - before
}

#[test]
fn io_on_mapped_and_unshared_blocks_allocates_nothing_by_either_door() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    store.create(ThinId(1)).unwrap();
    let volume = support::volume(&store, 1);
    volume.write(0, &vec![1; (MAPPED * BLOCK) as usize]).unwrap();
    let (file, mut extents, mut buf) = (store.data_file().unwrap(), Vec::with_capacity(8), vec![0; 4096]);
    let mut round = |turn: u64| {
        // Every fourth of them lies in two blocks.
        let offset = (turn % 3 + 1) * BLOCK - [32_768, 8192, 4096, 512][turn as usize % 4];
        extents.clear();
        let ticket = volume.direct_write(offset, 4096, &mut extents).unwrap();
        file.write_all_at(&buf, extents[0].at.unwrap()).unwrap();
        volume.finish(ticket, true).unwrap();
        extents.clear();
        let ticket = volume.direct_read(offset, 4096, &mut extents).unwrap();
        file.read_exact_at(&mut buf, extents[0].at.unwrap()).unwrap();
        volume.finish(ticket, true).unwrap();
        volume.write(offset, &buf).unwrap();
        volume.read(offset, &mut buf).unwrap();
    };
    (0..10).for_each(&mut round);
    assert_eq!(allocations(|| (0..10_000).for_each(round)), 0);
    // What has to enter a new block does allocate, which shows that the count counts.
    let new = allocations(|| {
        let ticket = volume.direct_write(MAPPED * BLOCK, BLOCK, &mut Vec::new()).unwrap();
        volume.finish(ticket, false).unwrap();
    });
    assert!(new > 0, "the count sees nothing");
    store.close().unwrap();
}

/// A disk with a closed pool of two devices, each with its first blocks written.
fn two_devices() -> Sim {
    let sim = Sim::with_pool(160, 60, BLOCK);
    let store = open_sim(&sim, 1);
    for id in [1, 2] {
        store.create(ThinId(id)).unwrap();
        let volume = store.open(ThinId(id), SIZE).unwrap();
        volume.write(0, &vec![id as u8; (MAPPED * BLOCK) as usize]).unwrap();
    }
    store.close().unwrap();
    sim
}

/// A store on that disk that has read nothing of the second device; of the first it knows the mappings.
struct Opened {
    sim: Sim,
    meters: Meters,
    store: ThinPoolStore,
    known: Arc<dyn Volume>,
    unknown: Arc<dyn Volume>,
}

impl Opened {
    fn new() -> Self {
        let sim = two_devices();
        let (backing, meters) = Meters::on(&sim);
        let store = ThinPoolStore::on(backing, support::params()).unwrap();
        let [known, unknown] = [1, 2].map(|id| store.open(ThinId(id), SIZE).unwrap());
        read(&known, 0, 512);
        Opened { sim, meters, store, known, unknown }
    }

    /// Reads and writes in place, by both doors.
    fn io_in_place(&self) {
        let (data, mut buf) = (self.sim.backing(1).data, vec![0; 4096]);
        for turn in 0..50 {
            let offset = turn % MAPPED * BLOCK + turn * 512;
            let mut extents = Vec::new();
            let ticket = self.known.direct_write(offset, 4096, &mut extents).unwrap();
            data.write_at(&[turn as u8; 4096], extents[0].at.unwrap()).unwrap();
            self.known.finish(ticket, true).unwrap();
            let ticket = self.known.direct_read(offset, 4096, &mut extents).unwrap();
            data.read_at(&mut buf, extents[1].at.unwrap()).unwrap();
            self.known.finish(ticket, true).unwrap();
            assert_eq!(buf, [turn as u8; 4096]);
            self.known.write(offset, &[!turn as u8; 4096]).unwrap();
            self.known.read(offset, &mut buf).unwrap();
            assert_eq!(buf, [!turn as u8; 4096]);
        }
    }

    /// Runs `first` until it does that to the file and stops it there; says whether `beside` comes to an end within that
    /// time. Then lets everybody go on.
    fn ends_while_stopped(
        &self,
        (file, operation): (usize, Operation),
        first: impl FnOnce(&Self) + Send,
        (limit, beside): (Duration, impl FnOnce(&Self) + Send),
    ) -> bool {
        let ((arrive, arrived), (go_on, may_go)) = (mpsc::channel(), mpsc::channel::<()>());
        self.sim.at_next(file, operation, move || {
            arrive.send(()).unwrap();
            // Until the other end is dropped, also by a panic.
            let _gone = may_go.recv();
        });
        thread::scope(|scope| {
            let go_on = go_on;
            scope.spawn(|| first(self));
            arrived.recv_timeout(LONG).unwrap();
            let (end, ended) = mpsc::channel();
            scope.spawn(move || {
                beside(self);
                // Nobody may be listening any more.
                let _heard = end.send(());
            });
            let ends = ended.recv_timeout(limit).is_ok();
            drop(go_on);
            ends
        })
    }

    /// Panics unless I/O in place goes on, and needs nothing but the data, while `first` is stopped there.
    fn goes_on_while_stopped(&self, at: (usize, Operation), first: impl FnOnce(&Self) + Send) {
        let io = |opened: &Self| {
            let [meta, _, log] = opened.meters.during(|| opened.io_in_place());
            assert_eq!((meta, log), (NOTHING, NOTHING), "{at:?}");
        };
        assert!(self.ends_while_stopped(at, first, (LONG, io)), "I/O in place waits for {at:?}");
    }
}

fn read_first(opened: &Opened) {
    assert_eq!(read(&opened.unknown, 0, 512), [2; 512]);
}

fn write_new(opened: &Opened) {
    opened.unknown.write(MAPPED * BLOCK, &[3; 512]).unwrap();
}

#[test]
fn io_in_place_goes_on_while_others_are_in_the_engine_in_the_log_and_in_a_commit() {
    Opened::new().goes_on_while_stopped((META, Operation::Read), read_first);
    Opened::new().goes_on_while_stopped((META, Operation::Read), write_new);
    Opened::new().goes_on_while_stopped((LOG, Operation::Change), write_new);
    for file in [META, DATA] {
        Opened::new().goes_on_while_stopped((file, Operation::Flush), |opened| {
            write_new(opened);
            opened.unknown.flush().unwrap();
        });
    }
}

/// The control of the test above: what is stopped there does stand in the way of whoever needs the same.
#[test]
fn a_write_that_changes_mappings_waits_for_the_engine_and_the_log_and_the_direct_door_refuses_it() {
    for at in [(META, Operation::Read), (LOG, Operation::Change)] {
        let opened = Opened::new();
        let beside = |opened: &Opened| opened.known.write(MAPPED * BLOCK, &[3; 512]).unwrap();
        // It should not come to an end.
        let waits = !opened.ends_while_stopped(at, write_new, (Duration::from_millis(100), beside));
        assert!(waits, "{at:?}");
    }
    let opened = Opened::new();
    let plan = |opened: &Opened| {
        assert!(opened.known.direct_write(MAPPED * BLOCK, BLOCK, &mut Vec::new()).is_none());
    };
    assert!(opened.ends_while_stopped((META, Operation::Read), read_first, (LONG, plan)), "the door waits");
    let ticket = opened.known.direct_write(MAPPED * BLOCK, BLOCK, &mut Vec::new()).unwrap();
    opened.known.finish(ticket, false).unwrap();
}

#[test]
fn a_shared_block_is_copied_once_and_only_if_a_write_leaves_some_of_it() {
    let opened = Opened::new();
    let (meters, volume) = (&opened.meters, &opened.known);
    cut(&opened.store, &[(1, 3)]);
    let whole = meters.during(|| volume.write(0, &vec![7; BLOCK as usize]).unwrap())[DATA];
    assert_eq!(whole, Count { writes: 1, written: BLOCK, ..NOTHING }, "a whole block");
    let part = || volume.write(BLOCK + 512, &[8; 512]).unwrap();
    let copied = Count { reads: 1, read: BLOCK, writes: 1, written: BLOCK };
    assert_eq!(meters.during(part)[DATA], copied, "the first part of a block");
    assert_eq!(meters.during(part)[DATA], Count { writes: 1, written: 512, ..NOTHING }, "the second");
    let both = meters.during(|| volume.write(2 * BLOCK, &vec![9; 3 * BLOCK as usize / 2]).unwrap())[DATA];
    assert_eq!((both.reads, both.read, both.written), (1, BLOCK, 2 * BLOCK), "one and a half");
    let copy = opened.store.open(ThinId(3), SIZE).unwrap();
    assert!(read(&copy, 0, (MAPPED * BLOCK) as usize).iter().all(|byte| *byte == 1), "the copy changed");
    assert_eq!(read(volume, BLOCK, 1536), [[1; 512], [8; 512], [1; 512]].concat());
}

#[test]
fn a_read_of_what_is_not_mapped_reads_nothing() {
    let opened = Opened::new();
    let unmapped = || {
        let found = read(&opened.known, MAPPED * BLOCK, 8 * BLOCK as usize);
        assert!(found.iter().all(|byte| *byte == 0));
    };
    assert_eq!(opened.meters.during(unmapped), [NOTHING; 3]);
    let unknown = || drop(read(&opened.unknown, MAPPED * BLOCK, 8 * BLOCK as usize));
    let first = opened.meters.during(unknown);
    assert!(first[META].reads > 0 && first[DATA] == NOTHING, "{first:?}");
    assert_eq!(opened.meters.during(unknown), [NOTHING; 3], "the second time nothing is looked up");
    let mapped = opened.meters.during(|| drop(read(&opened.known, 0, BLOCK as usize)));
    assert_eq!(mapped[DATA].read, BLOCK);
}
