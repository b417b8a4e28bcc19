//! The metadata snapshot: it keeps mappings while the pool goes on, and gives everything back.

use crate::{
    changes::changed,
    disk::Disk,
    pools::{fill, new_pool, snapshot, write},
};
use umbra_base::ErrorCode;
use umbra_thin::{LogUse, Pool, Source, ThinId};

fn busy_pool() -> (Disk, Pool<Disk>) {
    let (disk, mut pool) = new_pool(20_000, 2048);
    pool.create(ThinId(1)).unwrap();
    pool.create(ThinId(2)).unwrap();
    fill(&mut pool, 1, (0..4000).map(|i| i * 3 % 5000));
    snapshot(&mut pool, 1, 3);
    fill(&mut pool, 1, (0..300).map(|i| i * 17));
    disk.commit(&mut pool);
    (disk, pool)
}

#[test]
fn a_metadata_snapshot_keeps_mappings_until_it_is_released() {
    let (disk, mut pool) = busy_pool();
    let frozen: Vec<_> = [1, 2, 3]
        .map(|id| (pool.details(ThinId(id)).unwrap(), pool.mappings(ThinId(id), 0..9000).unwrap()))
        .into();
    let used = (pool.data_fill().used, pool.metadata_fill().used);
    pool.reserve_metadata_snapshot().unwrap();
    assert_eq!(pool.reserve_metadata_snapshot().unwrap_err().code(), ErrorCode::ObjectAlreadyExists);
    assert_eq!(pool.metadata_snapshot().unwrap_err().code(), ErrorCode::BadState, "not on the disk yet");
    disk.commit(&mut pool);
    disk.check_twice();
    // Everything happens to the pool that can.
    fill(&mut pool, 1, (0..500).map(|i| i * 7));
    pool.discard(ThinId(1), 1000..2000).unwrap();
    pool.delete(ThinId(3)).unwrap();
    pool.begin_delete(ThinId(2)).unwrap();
    pool.create(ThinId(9)).unwrap();
    snapshot(&mut pool, 1, 10);
    disk.commit(&mut pool);
    disk.check_twice();
    let mut pool = Pool::open(disk.clone()).unwrap();
    while pool.delete_step(5).unwrap().left {}
    disk.commit(&mut pool);
    disk.check_twice();
    assert!(pool.metadata_snapshot().unwrap().is_some());
    let held = pool.held_devices().unwrap();
    assert_eq!(held.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 2, 3]);
    for ((id, details), want) in held.iter().zip(&frozen) {
        assert_eq!((*details, pool.held_mappings(*id, 0..9000).unwrap()), *want);
    }
    let runs = changed(&mut pool, Source::Held(ThinId(1)), ThinId(1).into(), 7);
    assert!(runs.iter().any(|run| (1000..2000).contains(&run.vblock)));
    assert!(pool.allocated(Source::Held(ThinId(9)), 0, 9).is_err());
    pool.release_metadata_snapshot().unwrap();
    assert_eq!(pool.release_metadata_snapshot().unwrap_err().code(), ErrorCode::ObjectNotFound);
    for id in [1, 9, 10] {
        pool.delete(ThinId(id)).unwrap();
    }
    disk.commit(&mut pool);
    disk.check_twice();
    assert_eq!((pool.data_fill().used, pool.superblock().held_root), (0, 0));
    assert!(pool.metadata_fill().used < used.1);
}

#[test]
fn it_is_made_of_a_committed_state_only() {
    let (disk, mut pool) = busy_pool();
    write(&mut pool, 2, 5).unwrap();
    assert_eq!(pool.reserve_metadata_snapshot().unwrap_err().code(), ErrorCode::BadState);
    let commit = pool.begin_commit(LogUse::MayHoldWrites { boot: [1; 16] }).unwrap();
    // The commit may still be on its way: the snapshot's own comes after it.
    pool.reserve_metadata_snapshot().unwrap();
    assert_eq!(pool.release_metadata_snapshot().unwrap_err().code(), ErrorCode::BadState);
    disk.write(&commit);
    pool.commit_durable(commit.transaction);
    assert_eq!(pool.release_metadata_snapshot().unwrap_err().code(), ErrorCode::BadState);
    disk.commit(&mut pool);
    disk.check_twice();
    let held = pool.metadata_snapshot().unwrap().unwrap();
    assert_eq!((held.trans_id, held.incompat), (commit.trans_id, 0));
    pool.release_metadata_snapshot().unwrap();
    disk.commit(&mut pool);
    disk.check_twice();
    assert_eq!(pool.metadata_snapshot().unwrap(), None);
}
