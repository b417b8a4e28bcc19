//! What happens when space runs out (A5, A7).

use crate::{
    judge::check_closed,
    support::{BLOCK, SECOND, cut, open, params, read, volume},
};
use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};
use tempfile::TempDir;
use umbra_base::{ErrorCode, Result};
use umbra_store::{
    Allowance, Background, Extend, Level, LunStore, PoolParams, Snapshot, SpacePolicy, ThinId, ThinPoolStore,
    Thresholds, Usage, Volume,
};

const PATIENT: Duration = Duration::from_secs(30);

/// A small pool, which is looked at in the end.
struct Pool {
    dir: TempDir,
    store: Arc<ThinPoolStore>,
}

impl Pool {
    fn new(blocks: u64, full_wait: Duration) -> Pool {
        let thresholds = Thresholds { full_wait, ..Thresholds::default() };
        Pool::with(PoolParams { data_bytes: blocks * BLOCK, thresholds, ..params() })
    }

    /// One that looks at its space by itself.
    fn watchful(blocks: u64, thresholds: Thresholds) -> Pool {
        let background = Background::Every(Duration::from_millis(5));
        Pool::with(PoolParams { data_bytes: blocks * BLOCK, thresholds, background, ..params() })
    }

    fn with(params: PoolParams) -> Pool {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(ThinPoolStore::create_or_open(dir.path(), params).unwrap());
        Pool { dir, store }
    }

    /// One whose device 1 has all of its blocks.
    fn full(blocks: u64, full_wait: Duration) -> (Pool, Arc<dyn Volume>) {
        let pool = Pool::new(blocks, full_wait);
        let volume = pool.device(1);
        volume.write(0, &self::blocks(blocks)).unwrap();
        (pool, volume)
    }

    fn device(&self, id: u32) -> Arc<dyn Volume> {
        self.store.create(ThinId(id)).unwrap();
        volume(&self.store, id)
    }

    fn devices(&self) -> Vec<u32> {
        self.store.device_ids().unwrap().iter().map(|id| id.0).collect()
    }

    fn allow(&self, id: u32, reserved: u64, quota: Option<u64>) -> Result<()> {
        let (reserved_bytes, quota_bytes) = (reserved * BLOCK, quota.map(|blocks| blocks * BLOCK));
        self.store.allow(ThinId(id), Allowance { reserved_bytes, quota_bytes })
    }

    /// Stops it cleanly; the folder stays.
    fn end(self) -> TempDir {
        self.store.close().unwrap();
        check_closed(self.dir.path());
        self.dir
    }
}

fn code<T: std::fmt::Debug>(refused: Result<T>) -> ErrorCode {
    refused.unwrap_err().code()
}

fn blocks(count: u64) -> Vec<u8> {
    vec![1; (count * BLOCK) as usize]
}

#[test]
fn a_write_to_a_full_pool_waits_for_room() {
    let (pool, volume) = Pool::full(4, PATIENT);
    thread::scope(|scope| {
        let writer = scope.spawn(|| volume.write(8 * BLOCK, &[2; 512]));
        // Whether it waits already or not yet: it must find the room, and the rest works meanwhile.
        assert_eq!(read(&volume, 0, 512), [1; 512]);
        volume.flush().unwrap();
        volume.discard(0, BLOCK).unwrap();
        volume.flush().unwrap();
        writer.join().unwrap().unwrap();
    });
    assert_eq!(read(&volume, 8 * BLOCK, 512), [2; 512]);
    pool.end();
}

#[test]
fn a_write_to_a_full_pool_fails_when_nothing_comes_and_everything_else_goes_on() {
    let (pool, volume) = Pool::full(4, Duration::from_millis(30));
    assert_eq!(code(volume.write(8 * BLOCK, &[2; 512])), ErrorCode::InsufficientStorage);
    volume.write(0, &[3; 512]).unwrap();
    volume.flush().unwrap();
    assert_eq!(read(&volume, 0, 512), [3; 512]);
    pool.end();
}

#[test]
fn a_waiting_write_goes_on_when_the_pool_is_extended() {
    let (pool, volume) = Pool::full(4, PATIENT);
    let before = pool.store.usage();
    let metadata = (before.metadata_total + 100) * 4096;
    let larger = Extend { data_bytes: Some(8 * BLOCK), metadata_bytes: Some(metadata) };
    thread::scope(|scope| {
        let writer = scope.spawn(|| volume.write(8 * BLOCK, &blocks(3)));
        pool.store.extend(larger).unwrap();
        writer.join().unwrap().unwrap();
    });
    let usage = pool.store.usage();
    assert_eq!((usage.data_total, usage.metadata_total), (8, before.metadata_total + 100));
    // A wish already met.
    pool.store.extend(larger).unwrap();
    assert_eq!(pool.store.usage(), usage);
    for wrong in [
        Extend { data_bytes: Some(BLOCK), ..Extend::default() },
        Extend { metadata_bytes: Some(4096), ..Extend::default() },
        Extend { data_bytes: Some(u64::MAX), ..Extend::default() },
    ] {
        assert_eq!(code(pool.store.extend(wrong)), ErrorCode::InvalidArgument);
    }
    drop(volume);
    let dir = pool.end();
    let store = open(dir.path());
    assert_eq!(store.usage().data_total, 8);
    store.close().unwrap();
}

/// More than the metadata of a small pool has bitmaps for, and metadata that has.
const MUCH_DATA: u64 = 1 << 40;
const MORE_METADATA: u64 = 8192 * 4096;

#[test]
fn an_extension_that_is_refused_changes_nothing() {
    let pool = Pool::new(8, Duration::ZERO);
    let before = pool.store.usage();
    let sizes =
        || ["pool.data", "pool.meta"].map(|file| fs::metadata(pool.dir.path().join(file)).unwrap().len());
    let files = sizes();
    let refused = |data, metadata| {
        let wish = Extend { data_bytes: Some(data), metadata_bytes: metadata };
        let error = pool.store.extend(wish).unwrap_err();
        assert_eq!((pool.store.usage(), sizes()), (before, files), "{error}");
        error
    };
    assert_eq!(refused(BLOCK, Some(MORE_METADATA)).code(), ErrorCode::InvalidArgument);
    for metadata in [None, Some((before.metadata_total + 8) * 4096)] {
        let error = refused(MUCH_DATA, metadata);
        assert_eq!(error.code(), ErrorCode::InsufficientStorage);
        assert!(error.hint_text().unwrap().contains("--metadata"), "{error:?}");
    }
    pool.end();
}

#[test]
fn data_grows_with_the_metadata_that_came_in_the_same_extension() {
    let pool = Pool::new(8, Duration::ZERO);
    pool.store.extend(Extend { data_bytes: Some(MUCH_DATA), metadata_bytes: Some(MORE_METADATA) }).unwrap();
    assert_eq!(pool.store.usage().data_total, MUCH_DATA / BLOCK);
    pool.end();
}

/// Gives up the devices of a list, in its order, and says which levels it was told.
struct Expendable {
    store: std::sync::Weak<ThinPoolStore>,
    devices: Mutex<Vec<u32>>,
    levels: Mutex<mpsc::Sender<Level>>,
}

impl SpacePolicy for Expendable {
    fn level_changed(&self, level: Level, _: &Usage) {
        let _heard = self.levels.lock().unwrap().send(level);
    }

    fn give_something_up(&self) -> bool {
        let Some(store) = self.store.upgrade() else { return false };
        let next = self.devices.lock().unwrap().pop();
        next.is_some_and(|id| store.delete(ThinId(id)).is_ok())
    }
}

fn expendable(pool: &Pool, devices: &[u32]) -> mpsc::Receiver<Level> {
    let (levels, told) = mpsc::channel();
    let (devices, levels) = (Mutex::new(devices.to_vec()), Mutex::new(levels));
    pool.store.set_policy(Arc::new(Expendable { store: Arc::downgrade(&pool.store), devices, levels }));
    told
}

#[test]
fn copies_go_before_a_write_to_an_original_fails() {
    let pool = Pool::new(8, Duration::ZERO);
    let origin = pool.device(1);
    origin.write(0, &blocks(3)).unwrap();
    cut(&pool.store, &[(1, 2)]);
    origin.write(0, &blocks(3)).unwrap();
    cut(&pool.store, &[(1, 3)]);
    origin.write(0, &blocks(2)).unwrap();
    let _told = expendable(&pool, &[2, 3]);
    // Device 3 goes first and gives back two blocks, then device 2.
    origin.write(4 * BLOCK, &blocks(2)).unwrap();
    assert_eq!(pool.devices(), [1, 2]);
    origin.write(6 * BLOCK, &blocks(3)).unwrap();
    assert_eq!(pool.devices(), [1]);
    assert_eq!(code(origin.write(9 * BLOCK, &blocks(2))), ErrorCode::InsufficientStorage);
    pool.end();
}

#[test]
fn a_critical_level_is_told_and_acted_upon_before_the_pool_is_full() {
    let pool = Pool::watchful(16, Thresholds { low_percent: 50, critical_percent: 75, full_wait: PATIENT });
    let origin = pool.device(1);
    let told = expendable(&pool, &[2]);
    let next = || told.recv_timeout(PATIENT).unwrap();
    origin.write(0, &blocks(6)).unwrap();
    cut(&pool.store, &[(1, 2)]);
    origin.write(0, &blocks(3)).unwrap();
    assert_eq!(next(), Level::Low);
    origin.write(3 * BLOCK, &blocks(3)).unwrap();
    assert_eq!((next(), next()), (Level::Critical, Level::Plenty));
    assert_eq!(pool.devices(), [1]);
    pool.end();
}

#[test]
fn what_is_reserved_is_there_for_its_owner_also_after_a_cut() {
    let pool = Pool::new(8, Duration::ZERO);
    let (owner, other) = (pool.device(1), pool.device(2));
    owner.write(0, &blocks(1)).unwrap();
    pool.allow(1, 3, None).unwrap();
    assert_eq!(pool.store.usage().data_owed, 2);
    assert_eq!(code(pool.allow(2, 9, None)), ErrorCode::InsufficientStorage);
    other.write(0, &blocks(4)).unwrap();
    let error = other.write(4 * BLOCK, &blocks(2)).unwrap_err();
    assert!(
        error.code() == ErrorCode::InsufficientStorage && error.message().contains("reserved"),
        "{error}"
    );
    // A cut would owe the owner three blocks, and only three are free.
    cut(&pool.store, &[(1, 3)]);
    assert_eq!(pool.store.usage().data_owed, 3);
    assert!(other.write(4 * BLOCK, &blocks(1)).is_err());
    owner.write(0, &blocks(3)).unwrap();
    assert_eq!((pool.store.usage().data_owed, pool.store.usage().data_used), (0, 8));
    let hold = pool.store.hold(&[ThinId(1)], SECOND).unwrap();
    let pair = Snapshot { origin: ThinId(1), copy: ThinId(4) };
    assert_eq!(code(pool.store.cut(&hold, &[pair])), ErrorCode::InsufficientStorage);
    drop(hold);
    pool.end();
}

#[test]
fn a_quota_ends_a_device_and_nobody_else() {
    let pool = Pool::new(8, Duration::ZERO);
    let (bounded, other) = (pool.device(1), pool.device(2));
    pool.allow(1, 0, Some(2)).unwrap();
    assert_eq!(code(bounded.write(0, &blocks(3))), ErrorCode::LimitReached);
    bounded.write(0, &blocks(2)).unwrap();
    assert_eq!(code(bounded.write(2 * BLOCK, &[1; 512])), ErrorCode::LimitReached);
    bounded.write(0, &[2; 512]).unwrap();
    other.write(0, &blocks(4)).unwrap();
    bounded.discard(0, BLOCK).unwrap();
    bounded.write(2 * BLOCK, &[1; 512]).unwrap();
    pool.end();
}

#[test]
fn writers_that_fight_for_the_last_blocks_all_get_theirs() {
    let pool = Pool::new(64, PATIENT);
    let volumes = [0, 1, 2, 3].map(|id| pool.device(id));
    // Four times twelve blocks fit; what is discarded and not committed yet must be found again and again.
    thread::scope(|scope| {
        for volume in &volumes {
            scope.spawn(move || {
                for round in 0..60u64 {
                    let at = round % 8 * 12 * BLOCK;
                    volume.write(at, &blocks(12)).unwrap();
                    volume.discard(at, 12 * BLOCK).unwrap();
                }
            });
        }
    });
    pool.end();
}

#[test]
fn a_write_that_waits_for_room_does_not_hold_up_the_end() {
    let (pool, volume) = Pool::full(4, Duration::from_secs(3600));
    thread::scope(|scope| {
        let writer = scope.spawn(|| volume.write(8 * BLOCK, &[2; 512]));
        pool.store.end_waiting();
        assert_eq!(code(writer.join().unwrap()), ErrorCode::InsufficientStorage);
    });
    pool.end();
}

#[test]
fn what_is_reserved_counts_as_used_in_the_level() {
    let pool = Pool::watchful(16, params().thresholds);
    pool.device(1);
    let told = expendable(&pool, &[]);
    pool.allow(1, 13, None).unwrap();
    assert_eq!(told.recv_timeout(PATIENT).unwrap(), Level::Low);
    pool.end();
}

#[test]
fn who_waits_for_room_gets_what_another_gives_back() {
    let (pool, one) = Pool::full(8, PATIENT);
    one.discard(6 * BLOCK, 2 * BLOCK).unwrap();
    pool.store.flush().unwrap();
    read(&one, 6 * BLOCK, 512);
    let mut extents = Vec::new();
    let ticket = one.direct_write(6 * BLOCK, 2 * BLOCK, &mut extents).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| one.write(20 * BLOCK, &[2; 512]));
        // It sleeps, in all likelihood.
        thread::sleep(Duration::from_millis(100));
        one.finish(ticket, false).unwrap();
        writer.join().unwrap().unwrap();
    });
    drop(one);
    pool.end();
}

/// What is counted before a cut is not what the device has after it.
#[test]
fn a_reservation_that_is_set_anew_over_a_cut_is_owed() {
    const OWN: u64 = 2000;
    let dir = tempfile::tempdir().unwrap();
    let large = PoolParams { data_bytes: 3 * OWN * BLOCK, ..params() };
    let store = ThinPoolStore::create_or_open(dir.path(), large).unwrap();
    store.create(ThinId(1)).unwrap();
    let one = store.open(ThinId(1), 2 * OWN * BLOCK).unwrap();
    // In runs of one block, each of which is looked up by itself.
    (0..OWN).for_each(|block| one.write(2 * block * BLOCK, &[1; 512]).unwrap());
    let allowance = Allowance { reserved_bytes: OWN * BLOCK, quota_bytes: None };
    let allow = || store.allow(ThinId(1), allowance).unwrap();
    allow();
    assert_eq!(store.usage().data_owed, 0);
    thread::scope(|scope| {
        let again = scope.spawn(allow);
        thread::sleep(Duration::from_millis(2));
        cut(&store, &[(1, 2)]);
        again.join().unwrap();
    });
    assert_eq!(store.usage().data_owed, OWN, "all of it is shared");
}

/// Another device's discards, of what it has not, are no reason to count again.
#[test]
fn a_reservation_counts_what_its_device_has_while_another_is_discarded() {
    const OWN: u64 = 2000;
    let dir = tempfile::tempdir().unwrap();
    let large = PoolParams { data_bytes: (OWN + 100) * BLOCK, ..params() };
    let store = ThinPoolStore::create_or_open(dir.path(), large).unwrap();
    (1..=2).for_each(|id| store.create(ThinId(id)).unwrap());
    let [one, two] = [1, 2].map(|id| store.open(ThinId(id), 2 * OWN * BLOCK).unwrap());
    (0..OWN).for_each(|block| one.write(2 * block * BLOCK, &[1; 512]).unwrap());
    let allowance = Allowance { reserved_bytes: OWN * BLOCK, quota_bytes: None };
    let over = AtomicBool::new(false);
    let allowed = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                two.discard(0, BLOCK).unwrap();
            }
        });
        thread::sleep(Duration::from_millis(5));
        let allowed = store.allow(ThinId(1), allowance);
        over.store(true, SeqCst);
        allowed
    });
    allowed.unwrap();
    assert_eq!(store.usage().data_owed, 0);
}
