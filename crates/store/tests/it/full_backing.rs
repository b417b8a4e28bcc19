//! A file system under the pool that has less room than the pool (A5).

use crate::support::{BLOCK, params};
use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use umbra_base::{ErrorCode, limits::HOLD_MAX};
use umbra_store::{
    Allowance, Level, LunStore, PoolParams, Snapshot, SpacePolicy, ThinId, ThinPoolStore, Thresholds, Usage,
    Volume,
    backing::{Backing, BlockFile},
};

/// How a file system takes space for what is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// All of a range, or nothing.
    Whole,
    /// What there is, also where that is not all.
    Part,
    /// It cannot.
    Nothing,
}

/// A data file on a file system that has room for so many blocks.
struct Small {
    file: Arc<dyn BlockFile>,
    taken: Mutex<BTreeSet<u64>>,
    room: usize,
    takes: Takes,
}

impl Small {
    fn take(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut taken = self.taken.lock().unwrap();
        let blocks = offset / BLOCK..(offset + len).div_ceil(BLOCK);
        let more: Vec<u64> = blocks.filter(|block| !taken.contains(block)).collect();
        if taken.len() + more.len() > self.room {
            return Err(ErrorKind::StorageFull.into());
        }
        taken.extend(more);
        Ok(())
    }
}

impl BlockFile for Small {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.file.set_size(bytes)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.take(offset, buf.len() as u64)?;
        self.file.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match self.takes {
            Takes::Whole => self.take(offset, len),
            Takes::Part => {
                (offset..offset + len).step_by(BLOCK as usize).try_for_each(|at| self.take(at, BLOCK))
            }
            Takes::Nothing => Err(ErrorKind::Unsupported.into()),
        }
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch(offset, len)?;
        let blocks = offset / BLOCK..(offset + len) / BLOCK;
        self.taken.lock().unwrap().retain(|block| !blocks.contains(block));
        Ok(())
    }
}

/// A pool of `blocks` blocks with room for `room`, with two empty devices.
fn pool(blocks: u64, room: usize, takes: Takes) -> (tempfile::TempDir, ThinPoolStore, [Arc<dyn Volume>; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let mut backing = Backing::in_dir(dir.path()).unwrap();
    let (file, taken) = (backing.data.clone(), Mutex::default());
    backing.data = Arc::new(Small { file, taken, room, takes });
    let thresholds = Thresholds { full_wait: Duration::from_millis(100), ..Thresholds::default() };
    let params = PoolParams { data_bytes: blocks * BLOCK, thresholds, ..params() };
    let store = ThinPoolStore::on(backing, params).unwrap();
    let device = |id| {
        store.create(ThinId(id)).unwrap();
        store.open(ThinId(id), 2 * blocks * BLOCK).unwrap()
    };
    let volumes = [1, 2].map(device);
    (dir, store, volumes)
}

/// Blocks from `first` on that can be written.
fn fill(volume: &Arc<dyn Volume>, first: u64, bytes: u64) -> u64 {
    let blocks = first..volume.size_bytes() / BLOCK;
    blocks.take_while(|block| volume.write(block * BLOCK, &vec![1; bytes as usize]).is_ok()).count() as u64
}

/// In more runs than the commits give back to the file system.
#[test]
fn what_is_given_up_can_be_used_again_when_the_file_system_is_full() {
    const ROOM: u64 = 400;
    for bytes in [512, BLOCK] {
        let (_dir, store, [volume, _]) = pool(1024, ROOM as usize, Takes::Whole);
        assert_eq!(fill(&volume, 0, bytes), ROOM);
        (0..ROOM).step_by(2).for_each(|block| volume.discard(block * BLOCK, BLOCK).unwrap());
        store.flush().unwrap();
        assert_eq!(fill(&volume, 1024, bytes), ROOM / 2, "in pieces of {bytes} bytes");
        let full = volume.write(1023 * BLOCK, &[1; 512]).unwrap_err();
        assert_eq!(full.code(), ErrorCode::InsufficientStorage);
    }
}

/// A block that is mapped can be written from then on (A5).
#[test]
fn a_first_write_writes_the_whole_block_where_space_cannot_be_taken_otherwise() {
    let (_dir, _store, [volume, _]) = pool(64, 8, Takes::Nothing);
    assert_eq!(fill(&volume, 0, 512), 8);
    (0..8).for_each(|block| volume.write(block * BLOCK, &vec![2; BLOCK as usize]).unwrap());
}

/// Space that free blocks got beside a write, and of which nobody was told.
#[test]
fn what_free_blocks_got_of_a_range_that_was_not_to_be_had_whole_can_be_used() {
    const ROOM: usize = 24;
    let (_dir, _store, [one, two]) = pool(1024, ROOM, Takes::Part);
    one.write(0, &[1; 512]).unwrap();
    two.write(0, &[1; 512]).unwrap();
    let more = (1..64).take_while(|block| one.write(block * BLOCK, &vec![1; BLOCK as usize]).is_ok()).count();
    assert_eq!(more, ROOM - 2);
}

/// Gives up device 2.
struct GivesUp(Weak<ThinPoolStore>);

impl SpacePolicy for GivesUp {
    fn level_changed(&self, _: Level, _: &Usage) {}

    fn give_something_up(&self) -> bool {
        let store = self.0.upgrade().unwrap();
        store.device_ids().unwrap().contains(&ThinId(2)) && store.delete(ThinId(2)).is_ok()
    }
}

/// The write's own block, which is given up again, is no room.
#[test]
fn what_is_expendable_goes_when_the_file_system_is_full() {
    let (_dir, store, [one, two]) = pool(64, 16, Takes::Whole);
    let store = Arc::new(store);
    for volume in [&one, &two] {
        (0..8).for_each(|block| volume.write(block * BLOCK, &vec![1; BLOCK as usize]).unwrap());
    }
    drop(two);
    store.set_policy(Arc::new(GivesUp(Arc::downgrade(&store))));
    one.write(9 * BLOCK, &vec![2; BLOCK as usize]).unwrap();
}

/// A data file whose holes take their time, and are counted.
struct Holes {
    file: Arc<dyn BlockFile>,
    full: AtomicBool,
    begun: AtomicU32,
    ended: AtomicU32,
}

impl Holes {
    /// Waits until some more were made.
    fn wait_for_more(&self) {
        let before = self.ended.load(SeqCst);
        while self.ended.load(SeqCst) < before + 3 {
            thread::yield_now();
        }
    }
}

impl BlockFile for Holes {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.file.set_size(bytes)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        match self.full.load(SeqCst) {
            true => Err(ErrorKind::StorageFull.into()),
            false => self.file.write_at(buf, offset),
        }
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.begun.fetch_add(1, SeqCst);
        thread::sleep(Duration::from_millis(5));
        let result = self.file.punch(offset, len);
        self.ended.fetch_add(1, SeqCst);
        result
    }
}

fn holes() -> (tempfile::TempDir, ThinPoolStore, Arc<Holes>) {
    let dir = tempfile::tempdir().unwrap();
    let mut backing = Backing::in_dir(dir.path()).unwrap();
    let [begun, ended] = [0, 0].map(AtomicU32::new);
    let data = Arc::new(Holes { file: backing.data.clone(), full: AtomicBool::new(false), begun, ended });
    backing.data = data.clone();
    let store = ThinPoolStore::on(backing, PoolParams { data_bytes: 1024 * BLOCK, ..params() }).unwrap();
    (1..=2).for_each(|id| store.create(ThinId(id)).unwrap());
    (dir, store, data)
}

/// One whose device 1 has given up every other of 400 blocks, more than the commit made holes for.
fn riddled() -> (tempfile::TempDir, ThinPoolStore, Arc<Holes>, Arc<dyn Volume>) {
    let (dir, store, data) = holes();
    let volume = store.open(ThinId(1), 400 * BLOCK).unwrap();
    (0..400).for_each(|block| volume.write(block * BLOCK, &vec![1; BLOCK as usize]).unwrap());
    (0..400).step_by(2).for_each(|block| volume.discard(block * BLOCK, BLOCK).unwrap());
    store.flush().unwrap();
    data.full.store(true, SeqCst);
    (dir, store, data, volume)
}

/// A kernel may have the pool from then on (A4), and write where blocks were free.
#[test]
fn no_hole_is_made_after_the_close_for_who_looks_for_room() {
    let (_dir, store, data, volume) = riddled();
    let begun = || data.begun.load(SeqCst);
    let at_close = thread::scope(|scope| {
        scope.spawn(|| volume.write(0, &vec![1; BLOCK as usize]).unwrap_err());
        data.wait_for_more();
        store.close().unwrap();
        assert_eq!(begun(), data.ended.load(SeqCst), "one is being made");
        begun()
    });
    assert_eq!(begun(), at_close);
}

/// The last commit may be another's.
#[test]
fn no_hole_is_made_after_the_close_for_what_the_last_commit_freed() {
    for round in 0..60 {
        let (_dir, store, data) = holes();
        let volume = store.open(ThinId(1), 400 * BLOCK).unwrap();
        thread::scope(|scope| {
            for first in [100, 200] {
                let store = &store;
                scope.spawn(move || (first..first + 50).find(|id| store.create(ThinId(*id)).is_err()));
            }
            for at in [BLOCK, 2 * BLOCK] {
                let volume = &volume;
                scope.spawn(
                    move || while volume.write(at, &[1; 512]).and(volume.discard(at, BLOCK)).is_ok() {},
                );
            }
            thread::sleep(Duration::from_micros(5000 + 300 * round));
            store.close().unwrap();
            let begun = data.begun.load(SeqCst);
            assert_eq!(begun, data.ended.load(SeqCst), "round {round}: one is being made after the close");
        });
    }
}

/// They are free, if out of reach for the moment.
#[test]
fn blocks_that_are_being_emptied_count_as_free_for_cuts_and_reservations() {
    let (_dir, store, data, volume) = riddled();
    let allowance = |blocks| Allowance { reserved_bytes: blocks * BLOCK, quota_bytes: None };
    store.allow(ThinId(1), allowance(200)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| volume.write(0, &vec![1; BLOCK as usize]).unwrap_err());
        data.wait_for_more();
        // 1024 blocks, of which 200 are used.
        store.allow(ThinId(2), allowance(10)).unwrap();
        let hold = store.hold(&[ThinId(1)], HOLD_MAX).unwrap();
        store.cut(&hold, &[Snapshot { origin: ThinId(1), copy: ThinId(3) }]).unwrap();
    });
}
