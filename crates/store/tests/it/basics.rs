//! One promise a test, on real files; what blocks have to do with, for several sizes of them.

use crate::{
    judge::check_closed,
    support::{BLOCK, SECOND, cut, each_size, open, open_of, params, read, volume},
};
use std::{sync::Arc, thread, time::Duration};
use umbra_base::{ErrorCode, limits::HOLD_MAX};
use umbra_store::{LunStore, Mode, PoolParams, Snapshot, ThinId, ThinPoolStore};

#[test]
fn what_was_written_reads_back_and_the_rest_is_zero() {
    each_size(|dir, block| {
        let store = open_of(dir, block);
        store.create(ThinId(1)).unwrap();
        let volume = volume(&store, 1);
        volume.write(block - 512, &[7; 1024]).unwrap();
        let mut expected = vec![0; 3 * block as usize];
        expected[block as usize - 512..][..1024].fill(7);
        assert_eq!(read(&volume, 0, expected.len()), expected);
        assert_eq!(store.mapped_blocks(ThinId(1)).unwrap(), 2);
        let runs = volume.mapped(0, 16 << 20).unwrap();
        assert_eq!(
            runs.iter().map(|run| (run.offset, run.len, run.mapped)).collect::<Vec<_>>(),
            [(0, 2 * block, true), (2 * block, (16 << 20) - 2 * block, false)]
        );
        store.close().unwrap();
        check_closed(dir);
    });
}

#[test]
fn a_cut_keeps_its_content_whatever_is_written_later() {
    each_size(|dir, block| {
        let store = open_of(dir, block);
        store.create(ThinId(1)).unwrap();
        let origin = volume(&store, 1);
        origin.write(0, &vec![1; 4 * block as usize]).unwrap();
        cut(&store, &[(1, 2)]);
        let used = store.usage().data_used;
        origin.write(0, &[2; 512]).unwrap();
        origin.write(block, &vec![3; block as usize]).unwrap();
        origin.discard(2 * block, block).unwrap();
        origin.write(4 * block, &[4; 512]).unwrap();
        let copy = volume(&store, 2);
        assert!(read(&copy, 0, 4 * block as usize).iter().all(|byte| *byte == 1));
        assert!(read(&copy, 4 * block, 512).iter().all(|byte| *byte == 0));
        assert_eq!(store.usage().data_used, used + 3);
        copy.write(3 * block, &[9; 512]).unwrap();
        let mut merged = vec![1; block as usize];
        merged[..512].fill(2);
        assert_eq!(read(&origin, 0, block as usize), merged);
        assert!(read(&origin, 2 * block, block as usize).iter().all(|byte| *byte == 0));
        assert!(read(&origin, 3 * block, 512).iter().all(|byte| *byte == 1));
        store.close().unwrap();
        check_closed(dir);
    });
}

#[test]
fn pristine_and_working_come_from_one_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    volume(&store, 1).write(0, &[1; 512]).unwrap();
    let hold = store.hold(&[ThinId(1)], SECOND).unwrap();
    let pairs = [(1, 2), (2, 3)].map(|(o, c)| Snapshot { origin: ThinId(o), copy: ThinId(c) });
    let cut = store.cut(&hold, &pairs).unwrap();
    drop(hold);
    store.wait_durable(&cut).unwrap();
    volume(&store, 3).write(0, &[3; 512]).unwrap();
    assert_eq!(read(&volume(&store, 2), 0, 512), [1; 512]);
    assert_eq!(read(&volume(&store, 3), 0, 512), [3; 512]);
    store.delete(ThinId(1)).unwrap();
    store.delete(ThinId(2)).unwrap();
    assert_eq!(read(&volume(&store, 3), 0, 512), [3; 512]);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn acknowledged_writes_survive_the_death_of_the_process() {
    each_size(|dir, block| {
        let store = open_of(dir, block);
        store.create(ThinId(1)).unwrap();
        {
            let volume = volume(&store, 1);
            volume.write(0, &vec![1; 3 * block as usize]).unwrap();
            volume.discard(block, block).unwrap();
            volume.write(5 * block + 512, &[5; 512]).unwrap();
        }
        drop(store);
        let store = open_of(dir, block);
        let again = volume(&store, 1);
        assert!(read(&again, 0, block as usize).iter().all(|byte| *byte == 1));
        assert!(read(&again, block, block as usize).iter().all(|byte| *byte == 0));
        assert_eq!(read(&again, 5 * block + 512, 512), [5; 512]);
        assert_eq!(store.mapped_blocks(ThinId(1)).unwrap(), 3);
        again.write(0, &[6; 512]).unwrap();
        drop((again, store));
        let store = open_of(dir, block);
        assert_eq!(read(&volume(&store, 1), 0, 512), [6; 512]);
        store.close().unwrap();
        check_closed(dir);
    });
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = ThinPoolStore::create_or_open(dir.path(), params()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VolumeInUse);
    drop(store);
    open(dir.path()).close().unwrap();
}

#[test]
fn what_does_not_exist_or_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    let code = |error: umbra_base::Error| error.code();
    assert_eq!(code(store.create(ThinId(1)).unwrap_err()), ErrorCode::ObjectAlreadyExists);
    assert_eq!(code(store.create(ThinId(1 << 24)).unwrap_err()), ErrorCode::InvalidArgument);
    assert_eq!(code(store.open(ThinId(2), 512).err().unwrap()), ErrorCode::ObjectNotFound);
    assert_eq!(code(store.hold(&[ThinId(2)], SECOND).unwrap_err()), ErrorCode::ObjectNotFound);
    assert_eq!(code(store.hold(&[ThinId(1)], 11 * SECOND).unwrap_err()), ErrorCode::InvalidArgument);
    store.delete(ThinId(2)).unwrap();
    let volume = volume(&store, 1);
    for (offset, len) in [(1, 512), (512, 511), (16 << 20, 512), (u64::MAX - 511, 1024)] {
        assert_eq!(code(volume.write(offset, &vec![0; len]).unwrap_err()), ErrorCode::InvalidArgument);
    }
    let hold = store.hold(&[ThinId(1)], SECOND).unwrap();
    let foreign = [Snapshot { origin: ThinId(3), copy: ThinId(4) }];
    assert_eq!(code(store.cut(&hold, &foreign).unwrap_err()), ErrorCode::InvalidArgument);
    drop(hold);
    store.delete(ThinId(1)).unwrap();
    assert_eq!(code(volume.write(0, &[0; 512]).unwrap_err()), ErrorCode::ObjectNotFound);
    store.close().unwrap();
    assert_eq!(store.usage().mode, Mode::Closed);
    assert_eq!(code(volume.write(0, &[0; 512]).unwrap_err()), ErrorCode::BadState);
    assert_eq!(code(store.create(ThinId(5)).unwrap_err()), ErrorCode::BadState);
    store.close().unwrap();
}

#[test]
fn a_full_pool_refuses_and_takes_writes_again_when_there_is_room() {
    each_size(|dir, block| {
        let small = PoolParams { data_bytes: 8 * block, block_bytes: block, ..params() };
        let store = ThinPoolStore::create_or_open(dir, small).unwrap();
        store.create(ThinId(1)).unwrap();
        let volume = volume(&store, 1);
        volume.write(0, &vec![1; 8 * block as usize]).unwrap();
        let error = volume.write(8 * block, &[2; 512]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InsufficientStorage);
        assert!(error.message().contains("thin device 1"), "{error}");
        volume.write(0, &[3; 512]).unwrap();
        volume.discard(0, 2 * block).unwrap();
        volume.write(8 * block, &vec![2; block as usize + 512]).unwrap();
        assert_eq!(read(&volume, 0, 512), [0; 512]);
        assert_eq!(read(&volume, 9 * block, 1024), [[2; 512], [0; 512]].concat());
        store.close().unwrap();
        check_closed(dir);
    });
}

#[test]
fn zeroing_part_of_a_block_keeps_the_rest_and_maps_nothing() {
    each_size(|dir, block| {
        let store = open_of(dir, block);
        store.create(ThinId(1)).unwrap();
        let volume = store.open(ThinId(1), 3 * block + 1024).unwrap();
        volume.write(0, &vec![1; 3 * block as usize + 1024]).unwrap();
        volume.write_zeroes(block - 512, 2 * block).unwrap();
        assert_eq!(store.mapped_blocks(ThinId(1)).unwrap(), 3);
        let all = read(&volume, 0, 3 * block as usize + 1024);
        let zeroes = block as usize - 512..3 * block as usize - 512;
        assert!(all.iter().enumerate().all(|(at, byte)| *byte == u8::from(!zeroes.contains(&at))));
        // The last block is cut short by the size, and goes as a whole.
        volume.discard(3 * block, 1024).unwrap();
        assert_eq!(store.mapped_blocks(ThinId(1)).unwrap(), 2);
        volume.discard(3 * block, 512).unwrap();
        assert_eq!(store.mapped_blocks(ThinId(1)).unwrap(), 2);
        store.close().unwrap();
        check_closed(dir);
    });
}

#[test]
fn a_hold_that_ran_out_lets_writes_go_on_and_refuses_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    let hold = store.hold(&[ThinId(1)], Duration::from_millis(30)).unwrap();
    volume.write(0, &[1; 512]).unwrap();
    let pairs = [Snapshot { origin: ThinId(1), copy: ThinId(2) }];
    assert_eq!(store.cut(&hold, &pairs).unwrap_err().code(), ErrorCode::HoldWritesTimeout);
    assert_eq!(store.device_ids().unwrap(), [ThinId(1)]);
    let second = store.hold(&[ThinId(1)], SECOND).unwrap();
    drop(hold);
    store.cut(&second, &pairs).unwrap();
    drop(second);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn freed_blocks_go_back_to_the_file_system() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    volume.write(0, &vec![1; 16 << 20]).unwrap();
    store.flush().unwrap();
    let size = || std::fs::metadata(dir.path().join("pool.data")).unwrap().blocks() * 512;
    assert!(size() >= 16 << 20);
    volume.discard(0, 16 << 20).unwrap();
    store.close().unwrap();
    assert!(size() < 1 << 20, "{} bytes left", size());
    check_closed(dir.path());
}

#[test]
fn metadata_that_is_missing_beside_data_makes_no_new_pool() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    volume(&store, 1).write(0, &[7; 512]).unwrap();
    store.close().unwrap();
    drop(store);
    let (meta, kept) = (dir.path().join("pool.meta"), dir.path().join("kept"));
    std::fs::rename(&meta, &kept).unwrap();
    let refused = || ThinPoolStore::create_or_open(dir.path(), params()).unwrap_err();
    assert_eq!(refused().code(), ErrorCode::BadState, "lost");
    let mut damaged = std::fs::read(&kept).unwrap();
    damaged[..4096].fill(0);
    std::fs::write(&meta, damaged).unwrap();
    assert_eq!(refused().code(), ErrorCode::BadState, "its first block is zeroes");
    std::fs::rename(&kept, &meta).unwrap();
    assert_eq!(read(&volume(&open(dir.path()), 1), 0, 512), [7; 512]);
}

#[test]
fn one_file_is_not_taken_for_two() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    let at = |meta, data| umbra_store::backing::Backing::at(meta, data, &dir.path().join("log")).map(drop);
    assert_eq!(at(&one, &one).unwrap_err().code(), ErrorCode::InvalidArgument);
    std::fs::hard_link(&one, &other).unwrap();
    assert_eq!(at(&one, &other).unwrap_err().code(), ErrorCode::InvalidArgument);
}

#[test]
fn a_pool_is_not_put_on_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let [meta, data, log] = ["meta", "data", "log"].map(|name| dir.path().join(name));
    rustix::fs::mknodat(rustix::fs::CWD, &data, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    let refused = umbra_store::backing::Backing::at(&meta, &data, &log).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidArgument, "{refused}");
}

/// The hold was asked for when the device was there, and got its gate when it was gone.
#[test]
fn a_cut_under_a_hold_that_has_a_deleted_device_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    (1..=2).for_each(|id| store.create(ThinId(id)).unwrap());
    let origin = volume(&store, 2);
    origin.write(0, &vec![1; BLOCK as usize]).unwrap();
    let first = store.hold(&[ThinId(1)], SECOND).unwrap();
    let (hold, deleted) = thread::scope(|scope| {
        let deletion = scope.spawn(|| store.delete(ThinId(1)));
        thread::sleep(Duration::from_millis(50));
        let hold = scope.spawn(|| store.hold(&[ThinId(1), ThinId(2)], HOLD_MAX));
        thread::sleep(Duration::from_millis(50));
        drop(first);
        (hold.join().unwrap(), deletion.join().unwrap())
    });
    deleted.unwrap();
    // Where the deletion was first in both, there is nothing to show.
    let Ok(hold) = hold else { return };
    store.cut(&hold, &[Snapshot { origin: ThinId(2), copy: ThinId(3) }]).unwrap();
    drop(hold);
    origin.write(0, &[2; 512]).unwrap();
    assert_eq!(read(&volume(&store, 3), 0, 512), [1; 512], "the copy changes with its origin");
}
