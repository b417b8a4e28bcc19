//! What happens when space runs out (A5, A7).

use crate::{
    judge::check_closed,
    support::{BLOCK, cut, params, read, volume},
};
use std::{
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};
use umbra_base::ErrorCode;
use umbra_store::{
    Allowance, Background, Extend, Level, LunStore, PoolParams, SpacePolicy, ThinId, ThinPoolStore,
    Thresholds, Usage,
};

const PATIENT: Duration = Duration::from_secs(30);

fn store(dir: &Path, blocks: u64, full_wait: Duration) -> Arc<ThinPoolStore> {
    let thresholds = Thresholds { full_wait, ..Thresholds::default() };
    let params = PoolParams { data_bytes: blocks * BLOCK, thresholds, ..params() };
    Arc::new(ThinPoolStore::create_or_open(dir, params).unwrap())
}

fn blocks(count: u64) -> Vec<u8> {
    vec![1; (count * BLOCK) as usize]
}

#[test]
fn a_write_to_a_full_pool_waits_for_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 4, PATIENT);
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    volume.write(0, &blocks(4)).unwrap();
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
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn a_write_to_a_full_pool_fails_when_nothing_comes_and_everything_else_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 4, Duration::from_millis(30));
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    volume.write(0, &blocks(4)).unwrap();
    let error = volume.write(8 * BLOCK, &[2; 512]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InsufficientStorage);
    volume.write(0, &[3; 512]).unwrap();
    volume.flush().unwrap();
    assert_eq!(read(&volume, 0, 512), [3; 512]);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn a_waiting_write_goes_on_when_the_pool_is_extended() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 4, PATIENT);
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    volume.write(0, &blocks(4)).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| volume.write(8 * BLOCK, &blocks(3)));
        let before = store.usage();
        let metadata = (before.metadata_total + 100) * 4096;
        store.extend(Extend { data_bytes: Some(8 * BLOCK), metadata_bytes: Some(metadata) }).unwrap();
        writer.join().unwrap().unwrap();
        let after = store.usage();
        assert_eq!((after.data_total, after.metadata_total), (8, before.metadata_total + 100));
    });
    // A wish already met.
    let usage = store.usage();
    let same = Extend { data_bytes: Some(8 * BLOCK), metadata_bytes: Some(usage.metadata_total * 4096) };
    store.extend(same).unwrap();
    assert_eq!(store.usage(), usage);
    for wrong in [
        Extend { data_bytes: Some(BLOCK), ..Extend::default() },
        Extend { metadata_bytes: Some(4096), ..Extend::default() },
        Extend { data_bytes: Some(u64::MAX), ..Extend::default() },
    ] {
        assert_eq!(store.extend(wrong).unwrap_err().code(), ErrorCode::InvalidArgument);
    }
    store.close().unwrap();
    check_closed(dir.path());
    drop((volume, store));
    let store = self::store(dir.path(), 1, PATIENT);
    assert_eq!(store.usage().data_total, 8);
    store.close().unwrap();
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

fn expendable(store: &Arc<ThinPoolStore>, devices: &[u32]) -> mpsc::Receiver<Level> {
    let (levels, told) = mpsc::channel();
    let (devices, levels) = (Mutex::new(devices.to_vec()), Mutex::new(levels));
    store.set_policy(Arc::new(Expendable { store: Arc::downgrade(store), devices, levels }));
    told
}

#[test]
fn copies_go_before_a_write_to_an_original_fails() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 8, Duration::ZERO);
    store.create(ThinId(1)).unwrap();
    let origin = volume(&store, 1);
    origin.write(0, &blocks(3)).unwrap();
    cut(&store, &[(1, 2)]);
    origin.write(0, &blocks(3)).unwrap();
    cut(&store, &[(1, 3)]);
    origin.write(0, &blocks(2)).unwrap();
    let _told = expendable(&store, &[2, 3]);
    // Device 3 goes first and gives back two blocks, then device 2.
    origin.write(4 * BLOCK, &blocks(2)).unwrap();
    assert_eq!(store.device_ids().unwrap(), [ThinId(1), ThinId(2)]);
    origin.write(6 * BLOCK, &blocks(3)).unwrap();
    assert_eq!(store.device_ids().unwrap(), [ThinId(1)]);
    let error = origin.write(9 * BLOCK, &blocks(2)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InsufficientStorage);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn a_critical_level_is_told_and_acted_upon_before_the_pool_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let thresholds = Thresholds { low_percent: 50, critical_percent: 75, full_wait: PATIENT };
    let background = Background::Every(Duration::from_millis(5));
    let params = PoolParams { data_bytes: 16 * BLOCK, thresholds, background, ..params() };
    let store = Arc::new(ThinPoolStore::create_or_open(dir.path(), params).unwrap());
    store.create(ThinId(1)).unwrap();
    let origin = volume(&store, 1);
    let told = expendable(&store, &[2]);
    let next = || told.recv_timeout(PATIENT).unwrap();
    origin.write(0, &blocks(6)).unwrap();
    cut(&store, &[(1, 2)]);
    origin.write(0, &blocks(3)).unwrap();
    assert_eq!(next(), Level::Low);
    origin.write(3 * BLOCK, &blocks(3)).unwrap();
    assert_eq!((next(), next()), (Level::Critical, Level::Plenty));
    assert_eq!(store.device_ids().unwrap(), [ThinId(1)]);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn what_is_reserved_is_there_for_its_owner_also_after_a_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 8, Duration::ZERO);
    store.create(ThinId(1)).unwrap();
    store.create(ThinId(2)).unwrap();
    let (owner, other) = (volume(&store, 1), volume(&store, 2));
    owner.write(0, &blocks(1)).unwrap();
    store.allow(ThinId(1), Allowance { reserved_bytes: 3 * BLOCK, quota_bytes: None }).unwrap();
    assert_eq!(store.usage().data_owed, 2);
    let too_much = Allowance { reserved_bytes: 9 * BLOCK, quota_bytes: None };
    assert_eq!(store.allow(ThinId(2), too_much).unwrap_err().code(), ErrorCode::InsufficientStorage);
    other.write(0, &blocks(4)).unwrap();
    let error = other.write(4 * BLOCK, &blocks(2)).unwrap_err();
    assert!(
        error.code() == ErrorCode::InsufficientStorage && error.message().contains("reserved"),
        "{error}"
    );
    // A cut would owe the owner three blocks, and only three are free.
    cut(&store, &[(1, 3)]);
    assert_eq!(store.usage().data_owed, 3);
    assert!(other.write(4 * BLOCK, &blocks(1)).is_err());
    owner.write(0, &blocks(3)).unwrap();
    assert_eq!((store.usage().data_owed, store.usage().data_used), (0, 8));
    let hold = store.hold(&[ThinId(1)], Duration::from_secs(1)).unwrap();
    let pair = umbra_store::Snapshot { origin: ThinId(1), copy: ThinId(4) };
    assert_eq!(store.cut(&hold, &[pair]).unwrap_err().code(), ErrorCode::InsufficientStorage);
    drop(hold);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn a_quota_ends_a_device_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 8, Duration::ZERO);
    store.create(ThinId(1)).unwrap();
    store.create(ThinId(2)).unwrap();
    store.allow(ThinId(1), Allowance { reserved_bytes: 0, quota_bytes: Some(2 * BLOCK) }).unwrap();
    let (bounded, other) = (volume(&store, 1), volume(&store, 2));
    assert_eq!(bounded.write(0, &blocks(3)).unwrap_err().code(), ErrorCode::LimitReached);
    bounded.write(0, &blocks(2)).unwrap();
    assert_eq!(bounded.write(2 * BLOCK, &[1; 512]).unwrap_err().code(), ErrorCode::LimitReached);
    bounded.write(0, &[2; 512]).unwrap();
    other.write(0, &blocks(4)).unwrap();
    bounded.discard(0, BLOCK).unwrap();
    bounded.write(2 * BLOCK, &[1; 512]).unwrap();
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn writers_that_fight_for_the_last_blocks_all_get_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 64, PATIENT);
    for id in 0..4 {
        store.create(ThinId(id)).unwrap();
    }
    // Four times twelve blocks fit; what is discarded and not committed yet must be found again and again.
    thread::scope(|scope| {
        for id in 0..4u32 {
            let store = &store;
            scope.spawn(move || {
                let volume = volume(store, id);
                for round in 0..60u64 {
                    let at = round % 8 * 12 * BLOCK;
                    volume.write(at, &blocks(12)).unwrap();
                    volume.discard(at, 12 * BLOCK).unwrap();
                }
            });
        }
    });
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn a_write_that_waits_for_room_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), 4, Duration::from_secs(3600));
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    volume.write(0, &blocks(4)).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| volume.write(8 * BLOCK, &[2; 512]));
        store.end_waiting();
        assert_eq!(writer.join().unwrap().unwrap_err().code(), ErrorCode::InsufficientStorage);
    });
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn what_is_reserved_counts_as_used_in_the_level() {
    let dir = tempfile::tempdir().unwrap();
    let background = Background::Every(Duration::from_millis(5));
    let params = PoolParams { data_bytes: 16 * BLOCK, background, ..params() };
    let store = Arc::new(ThinPoolStore::create_or_open(dir.path(), params).unwrap());
    store.create(ThinId(1)).unwrap();
    let told = expendable(&store, &[]);
    store.allow(ThinId(1), Allowance { reserved_bytes: 13 * BLOCK, quota_bytes: None }).unwrap();
    assert_eq!(told.recv_timeout(PATIENT).unwrap(), Level::Low);
    store.close().unwrap();
}
