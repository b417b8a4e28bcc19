//! Trees of three levels, full pools, growing pools, the end of time, replays.

use crate::{
    disk::Disk,
    pools::{fill, new_pool, snapshot, write},
};
use std::collections::BTreeMap;
use umbra_base::ErrorCode;
use umbra_thin::{
    LogUse, Plan, Pool, Snapshot, Superblock, ThinError, ThinId,
    limits::{META_BLOCKS_MAX, META_RESERVE_MAX},
    log::{Change, Record},
};

#[test]
fn trees_of_three_levels_stay_valid_through_every_operation() {
    let (disk, mut pool) = new_pool(200_000, 8192);
    pool.create(ThinId(1)).unwrap();
    let mut model = BTreeMap::new();
    let mut put = |pool: &mut Pool<Disk>, vblock: u64| {
        write(pool, 1, vblock).unwrap();
        model.insert(vblock, ());
    };
    (0..30_000).for_each(|vblock| put(&mut pool, vblock));
    (0..16_000u64).for_each(|i| put(&mut pool, i.wrapping_mul(0x9E37_79B9) % 1_000_000));
    disk.commit(&mut pool);
    disk.check();
    snapshot(&mut pool, 1, 2);
    (0..3000u64).for_each(|i| put(&mut pool, i * 331 % 900_000));
    snapshot(&mut pool, 1, 3);
    disk.commit(&mut pool);
    disk.check();
    // Ranges that begin and end anywhere, small and large.
    for (from, len) in [(100, 1), (0, 84), (29_000, 700_000), (10, 20_000), (950_000, 90_000), (24_000, 3000)]
    {
        let before = model.len();
        model.retain(|at, ()| !(from..from + len).contains(at));
        let removed = pool.discard(ThinId(1), from..from + len).unwrap();
        assert_eq!(removed as usize, before - model.len());
        disk.commit(&mut pool);
        disk.check();
    }
    let found: Vec<_> = pool.mappings(ThinId(1), 0..1 << 20).unwrap().iter().map(|(at, _)| *at).collect();
    assert_eq!(found, model.keys().copied().collect::<Vec<_>>());
    pool.delete(ThinId(2)).unwrap();
    disk.commit(&mut pool);
    disk.check();
    pool.discard(ThinId(1), 0..1 << 20).unwrap();
    assert_eq!(pool.details(ThinId(1)).unwrap().mapped_blocks, 0);
    pool.delete(ThinId(3)).unwrap();
    disk.commit(&mut pool);
    disk.check_twice();
    disk.commit(&mut pool);
    assert_eq!(pool.data_fill().used, 0);
    assert_eq!(pool.data_fill().free, 200_000);
}

#[test]
fn many_copies_and_devices_stay_valid() {
    let (disk, mut pool) = new_pool(3000, 2048);
    pool.create(ThinId(0)).unwrap();
    for vblock in 0..600 {
        write(&mut pool, 0, vblock * 3).unwrap();
    }
    // Counts far above two, and more devices than a leaf of details holds.
    for round in 0..12 {
        let pairs: Vec<_> = (0..25)
            .map(|i| Snapshot { origin: ThinId(round * i), copy: ThinId(1000 * (round + 1) + i) })
            .filter(|pair| pool.details(pair.origin).is_ok())
            .collect();
        pool.snapshot(&pairs).unwrap();
        for i in 0..20 {
            write(&mut pool, 0, i * 90).unwrap();
        }
        let last = pairs.last().unwrap().copy.0;
        for i in 0..10 {
            write(&mut pool, last, i * 177).unwrap();
        }
        disk.commit(&mut pool);
    }
    for i in 1..400 {
        pool.create(ThinId(50_000 + i * 7)).unwrap();
    }
    disk.commit(&mut pool);
    disk.check_twice();
    let ids: Vec<_> = pool.device_ids().collect();
    for (n, id) in ids.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
        pool.delete(*id).unwrap();
        if n % 50 == 1 {
            disk.commit(&mut pool);
            disk.check();
        }
    }
    disk.commit(&mut pool);
    disk.check_twice();
}

#[test]
fn a_commit_can_always_be_written_when_metadata_is_full() {
    let (disk, mut pool) = new_pool(20_000, 160);
    pool.create(ThinId(1)).unwrap();
    let mut refused = 0;
    for i in 0..20_000u64 {
        match write(&mut pool, 1, i.wrapping_mul(0x9E37_79B9) % (1 << 24)) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::InsufficientStorage);
                refused += 1;
                disk.commit(&mut pool);
                if refused > 5 {
                    break;
                }
            }
        }
        if i % 3000 == 100 {
            let copy = ThinId(i as u32);
            drop(pool.snapshot(&[Snapshot { origin: ThinId(1), copy }]));
        }
    }
    assert!(refused > 5, "the metadata never ran full");
    disk.check_twice();
    // Giving up works when taking no longer does.
    pool.discard(ThinId(1), 0..1 << 20).unwrap();
    disk.commit(&mut pool);
    disk.check();
    for id in pool.device_ids().collect::<Vec<_>>() {
        pool.delete(id).unwrap();
        disk.commit(&mut pool);
        disk.check();
    }
    pool.create(ThinId(7)).unwrap();
    write(&mut pool, 7, 3).unwrap();
    disk.commit(&mut pool);
    disk.check_twice();
}

#[test]
fn a_pool_grows_in_both_directions() {
    let (disk, mut pool) = new_pool(1000, 300);
    pool.create(ThinId(1)).unwrap();
    for vblock in 0..1000 {
        write(&mut pool, 1, vblock).unwrap();
    }
    assert!(matches!(write(&mut pool, 1, 1000), Err(ThinError::DataFull { total: 1000 })));
    disk.commit(&mut pool);
    pool.extend_data(40_000).unwrap();
    // A record of the log may name only what a durable superblock has.
    assert!(write(&mut pool, 1, 1000).is_err_and(|error| error.is_full()));
    let commit = pool.begin_commit(LogUse::Empty).unwrap();
    assert_eq!(commit.freed_data.first(), Some(&(1000..40_000)));
    assert!(write(&mut pool, 1, 1000).is_err_and(|error| error.is_full()));
    disk.write(&commit);
    pool.commit_durable(commit.transaction);
    for vblock in 1000..30_000 {
        write(&mut pool, 1, vblock).unwrap();
    }
    disk.commit(&mut pool);
    disk.check_twice();
    let disk = disk.grown(40_000);
    let mut pool = Pool::open(disk.clone()).unwrap();
    let free = pool.metadata_fill().free;
    pool.extend_metadata(40_000).unwrap();
    assert!(pool.metadata_fill().free <= free, "only a commit may use the new ones yet");
    disk.commit(&mut pool);
    assert!(pool.metadata_fill().free > 35_000);
    for vblock in 30_000..40_000 {
        write(&mut pool, 1, vblock * 5).unwrap();
    }
    disk.commit(&mut pool);
    disk.check_twice();
    assert!(pool.extend_data(100).is_err());
    assert!(pool.extend_metadata(100).is_err());
}

/// Beyond the 255 bitmaps that the format has room for the device is not used, however it got there.
#[test]
fn metadata_goes_up_to_the_limit_of_the_format_and_not_beyond() {
    let larger = META_BLOCKS_MAX + 70_000;
    let (made, _) = new_pool(100_000, larger);
    let (small, mut pool) = new_pool(100_000, 300);
    let grown = small.grown(larger);
    pool.create(ThinId(1)).unwrap();
    small.commit(&mut pool);
    let mut pool = Pool::open(grown.clone()).unwrap();
    pool.extend_metadata(larger).unwrap();
    grown.commit(&mut pool);
    for disk in [made, grown] {
        let mut pool = Pool::open(disk.clone()).unwrap();
        assert_eq!(pool.metadata_fill().total, META_BLOCKS_MAX);
        let used = pool.superblock().meta_map.nr_allocated;
        let reserve = META_RESERVE_MAX;
        assert_eq!(pool.metadata_fill().free, META_BLOCKS_MAX - used - reserve);
        // There is nothing more to be had, and nothing is given back.
        pool.extend_metadata(larger).unwrap();
        pool.extend_metadata(META_BLOCKS_MAX).unwrap();
        assert!(matches!(pool.extend_metadata(META_BLOCKS_MAX - 1), Err(ThinError::Argument { .. })));
        pool.create(ThinId(2)).unwrap();
        fill(&mut pool, 2, (0..3000).map(|i| i * 7));
        snapshot(&mut pool, 2, 3);
        fill(&mut pool, 2, 0..100);
        disk.commit(&mut pool);
        disk.check_twice();
        assert_eq!(disk.summary().metadata.blocks, META_BLOCKS_MAX);
        // Whoever says that there are more is not believed.
        let mut superblock = pool.superblock().clone();
        superblock.meta_map.nr_blocks += 1;
        disk.put(0, &superblock.encode());
        assert!(matches!(Pool::open(disk), Err(ThinError::Superblock { .. })));
    }
}

#[test]
fn the_last_snapshot_time_is_refused() {
    let (disk, pool) = new_pool(100, 100);
    let superblock = Superblock { time: (1 << 24) - 2, ..pool.superblock().clone() };
    disk.put(0, &superblock.encode());
    let mut pool = Pool::open(disk.clone()).unwrap();
    pool.create(ThinId(1)).unwrap();
    snapshot(&mut pool, 1, 2);
    let last = pool.snapshot(&[Snapshot { origin: ThinId(1), copy: ThinId(3) }]).unwrap_err();
    assert_eq!(last.code(), ErrorCode::LimitReached);
    write(&mut pool, 1, 5).unwrap();
    disk.commit(&mut pool);
    disk.check_twice();
}

#[test]
fn a_refused_group_changes_nothing() {
    let (disk, mut pool) = new_pool(100, 100);
    pool.create(ThinId(1)).unwrap();
    pool.create(ThinId(2)).unwrap();
    let pair = |origin, copy| Snapshot { origin: ThinId(origin), copy: ThinId(copy) };
    for pairs in [
        vec![],
        vec![pair(1, 3), pair(9, 4)],
        vec![pair(1, 3), pair(2, 3)],
        vec![pair(1, 2)],
        vec![pair(1, 3), pair(2, 1 << 24)],
        vec![pair(1, 1)],
    ] {
        pool.snapshot(&pairs).unwrap_err();
        assert_eq!(pool.device_ids().count(), 2, "{pairs:?}");
        assert_eq!(pool.superblock().time, 1);
    }
    snapshot(&mut pool, 1, 3);
    disk.commit(&mut pool);
    disk.check_twice();
}

#[test]
fn replaying_twice_is_replaying_once() {
    let (disk, mut pool) = new_pool(100, 200);
    pool.create(ThinId(1)).unwrap();
    write(&mut pool, 1, 0).unwrap();
    disk.commit(&mut pool);
    let device = ThinId(1);
    let changes = [
        Change::Map { device, vblock: 5, block: 40, len: 3 },
        Change::Unmap { device, vblock: 6, len: 1 },
        Change::Unmap { device, vblock: 0, len: 1 << 30 },
        Change::Map { device, vblock: 9, block: 50, len: 1 },
        Change::Map { device: ThinId(7), vblock: 9, block: 50, len: 1 },
    ];
    let replay = |pool: &mut Pool<Disk>, changes: &[Change]| {
        changes
            .iter()
            .zip(0..)
            .try_for_each(|(change, sequence)| pool.replay(&Record { sequence, change: *change }))
    };
    replay(&mut pool, &changes).unwrap();
    let after = pool.mappings(device, 0..100).unwrap();
    assert_eq!(after.iter().map(|(at, to)| (*at, to.block)).collect::<Vec<_>>(), [(9, 50)]);
    replay(&mut pool, &changes[3..]).unwrap();
    pool.end_replay();
    assert_eq!(pool.mappings(device, 0..100).unwrap(), after);
    // A block that is in use cannot be anybody else's, nor one that does not exist.
    for block in [50, 100, u64::MAX >> 1] {
        let error = replay(&mut pool, &[Change::Map { device, vblock: 20, block, len: 1 }]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Corrupt);
    }
    disk.commit(&mut pool);
    disk.check_twice();
}

#[test]
fn the_log_bit_stands_in_the_superblock_while_a_log_may_hold_writes() {
    let (disk, mut pool) = new_pool(100, 100);
    let commit = pool.begin_commit(LogUse::MayHoldWrites { boot: [1; 16] }).unwrap();
    disk.write(&commit);
    assert!(matches!(pool.begin_commit(LogUse::Empty), Err(ThinError::CommitInFlight)));
    pool.commit_durable(commit.transaction);
    let superblock = Superblock::decode(&commit.superblock, 0).unwrap();
    assert_eq!(superblock.incompat, umbra_thin::INCOMPAT_LOG);
    assert_eq!(superblock.trans_id, 1);
    superblock.check_writable().unwrap();
    disk.commit(&mut pool);
    assert_eq!(pool.superblock().incompat, 0);
}

#[test]
fn a_record_of_any_length_costs_no_more_than_what_is_mapped() {
    let (disk, mut pool) = new_pool(100, 200);
    let device = ThinId(1);
    pool.create(device).unwrap();
    fill(&mut pool, 1, [0, 7, 1 << 20, 1 << 39]);
    disk.commit(&mut pool);
    let before = disk.reads();
    let all = Change::Unmap { device, vblock: 1, len: u64::MAX - 1 };
    pool.replay(&Record { sequence: 0, change: all }).unwrap();
    pool.end_replay();
    assert!(disk.reads() - before < 100, "{} blocks read", disk.reads() - before);
    assert_eq!(pool.details(device).unwrap().mapped_blocks, 1);
    disk.commit(&mut pool);
    disk.check_twice();
}

#[test]
fn what_a_pool_full_of_metadata_acknowledged_is_entered_again() {
    let (disk, mut pool) = new_pool(60_000, 200);
    let device = ThinId(1);
    pool.create(device).unwrap();
    disk.commit(&mut pool);
    // Scattered, so that leaves are made quickly; a commit in between that the crash finds in flight.
    let mut records = Vec::new();
    let mut write_until = |pool: &mut Pool<Disk>, most: usize| {
        for i in records.len() as u64.. {
            let vblock = i.wrapping_mul(0x9E37_79B9) % 1_000_000;
            if records.len() >= most {
                return;
            }
            match write(pool, 1, vblock) {
                Ok(Plan::Fresh { to }) => records.push(Change::Map { device, vblock, block: to, len: 1 }),
                Ok(_) => {}
                Err(error) => return assert!(error.is_full(), "{error}"),
            }
        }
    };
    write_until(&mut pool, 2000);
    let _lost = pool.begin_commit(LogUse::MayHoldWrites { boot: [1; 16] }).unwrap();
    write_until(&mut pool, usize::MAX);
    drop(pool);
    let mut pool = Pool::open(disk.clone()).unwrap();
    for (change, sequence) in records.iter().zip(0..) {
        pool.replay(&Record { sequence, change: *change }).unwrap();
    }
    pool.end_replay();
    assert_eq!(pool.details(device).unwrap().mapped_blocks, records.len() as u64);
    disk.commit(&mut pool);
    disk.check_twice();
}
