//! Pools of others: their trans_id, version and uuid are given back as they were found, whatever we write.

use crate::{
    disk::Disk,
    pools::{new_pool, new_pool_of, snapshot, write},
};
use umbra_thin::{Format, LogUse, Owner, Pool, Superblock, ThinId, format};

#[test]
fn a_foreign_pool_keeps_its_trans_id_and_gets_its_uuid_back() {
    let (disk, pool) = new_pool_of([0; 16], 1000, 200);
    let found = Superblock { trans_id: 77, version: 1, ..pool.superblock().clone() };
    disk.put(0, &found.encode());
    let mut pool = Pool::open(disk.clone()).unwrap();
    assert_eq!((pool.owner(), pool.generation()), (Owner::Foreign, 0));
    pool.seed_generation(5000);
    pool.end_replay();
    let mut generations = vec![pool.generation()];
    for i in 0..3 {
        pool.create(ThinId(i)).unwrap();
        write(&mut pool, i, 7).unwrap();
        let commit = pool.begin_commit(LogUse::MayHoldWrites { boot: [1; 16] }).unwrap();
        disk.write(&commit);
        pool.commit_durable(commit.transaction);
        assert_eq!((commit.trans_id, commit.generation), (77, pool.generation()));
        generations.push(commit.generation);
    }
    assert_eq!(generations, [5001, 5002, 5003, 5004]);
    // A crash: the mark and the number of the commit are found again.
    let identity = pool.log_identity();
    let mut pool = Pool::open(disk.clone()).unwrap();
    pool.superblock().check_writable().unwrap();
    assert_eq!((pool.owner(), pool.generation()), (Owner::Foreign, 5004));
    assert_eq!(pool.log_identity(), identity);
    pool.seed_generation(9);
    assert_eq!(pool.generation(), 5004, "a session that goes on is not numbered anew");
    disk.commit(&mut pool);
    disk.check_twice();
    let closed = Pool::open(disk).unwrap();
    let superblock = closed.superblock();
    assert_eq!((superblock.trans_id, superblock.version, superblock.uuid), (77, 1, [0; 16]));
    assert_eq!((superblock.incompat, closed.generation()), (0, 0));
}

#[test]
fn our_own_pools_are_known_by_their_identity() {
    let (disk, mut pool) = new_pool(1000, 200);
    assert_eq!((pool.owner(), pool.log_identity()), (Owner::Ours, [3; 16]));
    pool.seed_generation(5);
    assert_eq!(pool.generation(), 0);
    disk.commit(&mut pool);
    assert_eq!((pool.generation(), pool.superblock().trans_id), (1, 1));
    assert_eq!(pool.superblock().uuid, [3; 16]);
    let mark = *b"umbra\0in12345678";
    let wish = Format { uuid: mark, data_block_sectors: 128, data_blocks: 10, metadata_blocks: 100 };
    assert!(format(&wish).is_err(), "an identity that looks like a foreign pool in use");
}

#[test]
fn a_foreign_pool_is_cut_like_any_other() {
    let (disk, mut pool) = new_pool_of([0; 16], 1000, 200);
    pool.create(ThinId(1)).unwrap();
    write(&mut pool, 1, 0).unwrap();
    snapshot(&mut pool, 1, 0xFF_FFFF);
    disk.commit(&mut pool);
    disk.check_twice();
    let pool: Pool<Disk> = Pool::open(disk).unwrap();
    assert_eq!(pool.device_ids().collect::<Vec<_>>(), [ThinId(1), ThinId(0xFF_FFFF)]);
}
