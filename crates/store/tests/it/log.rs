//! The log has a bound, whoever writes: at its direct limit the direct door hands out no new blocks any more, at its hard
//! limit writers wait for the commit that starts the next segment; what was under way then still finds room.

use crate::{
    judge::{Judges, check_image},
    sim::{META, Operation, Sim},
    support::{BLOCK, params, read},
    watch::watched,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};
use umbra_store::{
    Extent, LunStore, PoolParams, ThinId, ThinPoolStore, Ticket, Volume,
    backing::Backing,
    limits::{LOG_DIRECT_BYTES, LOG_HARD_BYTES, LOG_SEGMENT_BYTES, LOG_SOFT_BYTES},
};
use umbra_thin::log::RECORD_BYTES;

const RECORD: u64 = RECORD_BYTES as u64;
const WRITERS: u64 = 4;
/// Whole blocks that are out through the direct door while the log is filled behind them: the first of the device.
const OUT: u64 = 32;
/// Blocks of the device: more than records fit before the hard limit.
const BLOCKS: u64 = LOG_HARD_BYTES / RECORD + 4000;

/// What the log's writes showed.
#[derive(Default)]
struct Seen {
    /// Where the last one ended in its segment.
    end: AtomicU64,
    /// Where any one did at most.
    furthest: AtomicU64,
    /// Segments that were started.
    started: AtomicU64,
}

impl Seen {
    fn see(&self, offset: u64, bytes: u64) {
        let from = offset % LOG_SEGMENT_BYTES;
        self.started.fetch_add(u64::from(from == 0), SeqCst);
        self.end.store(from + bytes, SeqCst);
        self.furthest.fetch_max(from + bytes, SeqCst);
    }

    fn end(&self) -> u64 {
        self.end.load(SeqCst)
    }
}

/// A device of which every write so far was the first to its block: each is a record, and small.
struct Filling {
    sim: Sim,
    seen: Arc<Seen>,
    store: ThinPoolStore,
    volume: Arc<dyn Volume>,
    next: AtomicU64,
}

fn open(backing: Backing) -> (ThinPoolStore, Arc<dyn Volume>) {
    let params = PoolParams { data_bytes: BLOCKS * BLOCK, ..params() };
    let store = ThinPoolStore::on(backing, params).unwrap();
    if store.device_ids().unwrap().is_empty() {
        store.create(ThinId(1)).unwrap();
    }
    let volume = store.open(ThinId(1), BLOCKS * BLOCK).unwrap();
    (store, volume)
}

/// What is written at the beginning of a block.
fn content(block: u64) -> Vec<u8> {
    (block + 1).to_le_bytes().repeat(64)
}

impl Filling {
    fn new() -> Self {
        let (sim, seen) = (Sim::new(), Arc::new(Seen::default()));
        let (backing, looker) = (sim.backing(1), seen.clone());
        let see = move |what, offset, bytes| {
            if what == Operation::Change {
                looker.see(offset, bytes);
            }
        };
        let (store, volume) = open(Backing { log: watched(backing.log.clone(), see), ..backing });
        // The direct door opens to blocks that the cache knows.
        read(&volume, 0, 512);
        Filling { sim, seen, store, volume, next: AtomicU64::new(OUT) }
    }

    fn write_next(&self) {
        let block = self.next.fetch_add(1, SeqCst);
        self.volume.write(block * BLOCK, &content(block)).unwrap();
    }

    fn write_past(&self, bytes: u64) {
        while self.seen.end() <= bytes {
            self.write_next();
        }
    }

    /// That many records, each thread a part of them.
    fn write_at_once(&self, records: u64) {
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| (0..records / WRITERS).for_each(|_| self.write_next()));
            }
        });
    }

    /// So that the log ends a little before `bytes`.
    fn fill_at_once(&self, bytes: u64) {
        self.write_at_once((bytes - self.seen.end()) / RECORD - 8);
    }

    /// Plans and writes a whole block through the direct door, whose record is still to come; `None`: it is shut.
    fn plan(&self, block: u64) -> Option<Ticket> {
        let mut extents = Vec::new();
        let ticket = self.volume.direct_write(block * BLOCK, BLOCK, &mut extents)?;
        let [Extent { at: Some(at), .. }] = extents[..] else { panic!("{extents:?}") };
        let bytes = content(block).repeat(BLOCK as usize / 512);
        self.sim.backing(1).data.write_at(&bytes, at).unwrap();
        Some(ticket)
    }
}

/// Panics unless a process that starts on `disk` finds these blocks, which are all that were acknowledged.
fn check(disk: &Sim, blocks: impl Iterator<Item = u64>) {
    let (store, volume) = open(disk.backing(1));
    let mut written = 0;
    for block in blocks {
        written += 1;
        assert!(read(&volume, block * BLOCK, 512) == content(block), "block {block}");
    }
    assert_eq!(store.mapped_blocks(ThinId(1)).unwrap(), written);
    store.close().unwrap();
    check_image(disk.content(META).bytes(), Judges::Ours, 0);
}

#[test]
fn the_log_never_grows_past_its_bound_and_keeps_every_write_at_it() {
    const LAST: u64 = OUT - 1;
    let pool = Filling::new();
    let started = || pool.seen.started.load(SeqCst);
    let before = started();
    pool.fill_at_once(LOG_SOFT_BYTES);
    pool.fill_at_once(LOG_DIRECT_BYTES);
    let out: Vec<_> = (0..LAST).map(|block| pool.plan(block).unwrap()).collect();
    pool.write_past(LOG_DIRECT_BYTES);
    assert!(pool.plan(LAST).is_none(), "the direct door promises room that the log may not have");
    pool.fill_at_once(LOG_HARD_BYTES);
    pool.write_past(LOG_HARD_BYTES);
    assert_eq!(started(), before, "there was a commit before the hard limit");
    // What is out comes back when the log is as full as writers make it.
    out.into_iter().for_each(|ticket| pool.volume.finish(ticket, true).unwrap());
    let (fullest, then) = (pool.sim.copy(), pool.next.load(SeqCst));
    pool.write_at_once(2000);
    assert!(started() > before, "nobody made room");
    let ticket = pool.plan(LAST).expect("the direct door is open again");
    pool.volume.finish(ticket, true).unwrap();
    // Each writer may pass the limit by the record that it was about to append.
    let (furthest, bound) = (pool.seen.furthest.load(SeqCst), LOG_HARD_BYTES + (OUT + WRITERS) * RECORD);
    assert!((LOG_HARD_BYTES..=bound).contains(&furthest), "the log got {furthest} bytes long");
    let Filling { sim, next, store, volume, .. } = pool;
    drop((store, volume));
    check(&fullest, (0..LAST).chain(OUT..then));
    check(&sim, 0..next.load(SeqCst));
}
