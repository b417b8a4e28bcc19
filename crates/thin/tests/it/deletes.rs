//! Deleting in steps: bounded, valid at every commit, resumed after a crash, whatever is shared.

use crate::{
    disk::Disk,
    pools::{fill, new_pool, new_pool_of, snapshot, write},
};
use std::collections::BTreeSet;
use umbra_base::ErrorCode;
use umbra_thin::{Owner, Pool, ThinId};

/// Three levels, and snapshots that share some, most and all of it.
fn large_pool(uuid: [u8; 16]) -> (Disk, Pool<Disk>) {
    let (disk, mut pool) = new_pool_of(uuid, 120_000, 4096);
    pool.create(ThinId(1)).unwrap();
    for i in 0..45_000u64 {
        write(&mut pool, 1, i.wrapping_mul(0x9E37_79B9) % 900_000).unwrap();
    }
    snapshot(&mut pool, 1, 2);
    for i in 0..700u64 {
        write(&mut pool, 1, i * 1009 % 900_000).unwrap();
    }
    snapshot(&mut pool, 1, 3);
    write(&mut pool, 1, 450_000).unwrap();
    disk.commit(&mut pool);
    (disk, pool)
}

/// Steps until nothing is left, with a commit and a reopening after each; returns the mappings freed by each step.
fn delete_in_steps(disk: &Disk, pool: &mut Pool<Disk>, budget: u64) -> Vec<u64> {
    let mut freed = Vec::new();
    loop {
        let step = pool.delete_step(budget).unwrap();
        freed.push(step.freed_mappings);
        disk.commit(pool);
        if freed.len() % 16 == 1 {
            disk.check();
        }
        *pool = Pool::open(disk.clone()).unwrap();
        assert_eq!(pool.has_doomed(), step.left, "what is left is known after reopening");
        if !step.left {
            disk.check_twice();
            return freed;
        }
    }
}

#[test]
fn a_deletion_in_steps_frees_what_a_whole_one_frees() {
    for budget in [1, 40, 10_000] {
        let (disk, mut pool) = large_pool([5; 16]);
        let mapped = pool.details(ThinId(1)).unwrap().mapped_blocks;
        let used = {
            let mut other = Pool::open(disk.clone()).unwrap();
            assert_eq!(other.delete(ThinId(1)).unwrap(), mapped);
            other.data_fill().used
        };
        let before = pool.metadata_fill().free;
        pool.begin_delete(ThinId(1)).unwrap();
        assert!(before - pool.metadata_fill().free <= 6, "the move takes a few blocks, whatever the size");
        assert_eq!(pool.begin_delete(ThinId(1)).unwrap_err().code(), ErrorCode::ObjectNotFound);
        disk.commit(&mut pool);
        disk.check();
        // The step of one leaf is shown on a part of it only: it takes hundreds of commits.
        if budget == 1 {
            for _ in 0..40 {
                let step = pool.delete_step(1).unwrap();
                assert!(step.left && (1..=252).contains(&step.freed_mappings), "{step:?}");
                disk.commit(&mut pool);
                disk.check();
            }
        }
        let steps = delete_in_steps(&disk, &mut pool, budget.max(40));
        assert!(steps.iter().all(|freed| *freed <= budget.max(40) * 252));
        assert_eq!(pool.data_fill().used, used);
        assert_eq!(pool.device_ids().collect::<Vec<_>>(), [ThinId(2), ThinId(3)]);
        pool.begin_delete(ThinId(2)).unwrap();
        pool.begin_delete(ThinId(3)).unwrap();
        delete_in_steps(&disk, &mut pool, 500);
        assert_eq!((pool.data_fill().used, pool.device_ids().count()), (0, 0));
    }
}

#[test]
fn a_wholly_shared_device_goes_in_one_step() {
    let (disk, mut pool) = large_pool([5; 16]);
    snapshot(&mut pool, 3, 4);
    let mapped = pool.details(ThinId(3)).unwrap().mapped_blocks;
    pool.begin_delete(ThinId(3)).unwrap();
    let step = pool.delete_step(1).unwrap();
    assert_eq!((step.freed_mappings, step.left), (mapped, false));
    disk.commit(&mut pool);
    disk.check();
}

#[test]
fn a_device_that_is_being_deleted_does_not_exist_and_its_id_is_free() {
    let (disk, mut pool) = new_pool(1000, 300);
    pool.create(ThinId(7)).unwrap();
    fill(&mut pool, 7, 0..500);
    pool.begin_delete(ThinId(7)).unwrap();
    assert_eq!(pool.device_ids().count(), 0);
    let doomed = ThinId(0xF0_0000);
    for id in [ThinId(7), doomed] {
        assert_eq!(pool.details(id).unwrap_err().code(), ErrorCode::ObjectNotFound, "{id}");
        pool.lookup(id, 0..10).unwrap_err();
        pool.mappings(id, 0..10).unwrap_err();
        pool.plan_write(id, 0).unwrap_err();
        pool.discard(id, 0..10).unwrap_err();
        pool.delete(id).unwrap_err();
        pool.begin_delete(id).unwrap_err();
    }
    assert_eq!(pool.create(doomed).unwrap_err().code(), ErrorCode::InvalidArgument);
    pool.create(ThinId(7)).unwrap();
    write(&mut pool, 7, 3).unwrap();
    disk.commit(&mut pool);
    delete_in_steps(&disk, &mut pool, 1);
    let mapped: BTreeSet<_> =
        pool.mappings(ThinId(7), 0..1000).unwrap().into_iter().map(|(at, _)| at).collect();
    assert_eq!(mapped, [3].into());
    assert_eq!(pool.data_fill().used, 1);
}

#[test]
fn a_foreign_pool_has_no_reserved_ids() {
    let (disk, mut pool) = large_pool([0; 16]);
    assert_eq!(pool.owner(), Owner::Foreign);
    pool.create(ThinId(0xF0_0000)).unwrap();
    write(&mut pool, 0xF0_0000, 9).unwrap();
    let mapped = pool.details(ThinId(2)).unwrap().mapped_blocks;
    pool.begin_delete(ThinId(2)).unwrap();
    pool.create(ThinId(2)).unwrap_err();
    let step = pool.delete_step(60).unwrap();
    assert!(step.left && step.freed_mappings > 0);
    disk.commit(&mut pool);
    disk.check();
    let mut pool = Pool::open(disk.clone()).unwrap();
    assert!(!pool.has_doomed());
    assert_eq!(pool.details(ThinId(2)).unwrap().mapped_blocks, mapped - step.freed_mappings);
    assert_eq!(pool.mappings(ThinId(0xF0_0000), 0..10).unwrap().len(), 1);
    pool.begin_delete(ThinId(2)).unwrap();
    while pool.delete_step(1000).unwrap().left {}
    disk.commit(&mut pool);
    disk.check_twice();
}

#[test]
fn a_deletion_goes_on_when_the_metadata_is_full() {
    let (disk, mut pool) = new_pool(200_000, 400);
    let mut id = 1;
    pool.create(ThinId(id)).unwrap();
    let mut refused = 0;
    for i in 0..200_000u64 {
        if write(&mut pool, id, i.wrapping_mul(0x9E37_79B9) % (1 << 20)).is_err() {
            disk.commit(&mut pool);
            refused += 1;
        } else if i % 2000 == 1999 {
            pool.snapshot(&[umbra_thin::Snapshot { origin: ThinId(id), copy: ThinId(id + 1) }]).unwrap_or(());
            id = pool.device_ids().last().unwrap().0;
        }
        if refused > 10 {
            break;
        }
    }
    assert!(refused > 10, "the metadata never ran full");
    for id in pool.device_ids().collect::<Vec<_>>() {
        pool.begin_delete(id).unwrap();
        disk.commit(&mut pool);
    }
    let mut steps = 0;
    while pool.delete_step(1000).unwrap().left {
        disk.commit(&mut pool);
        disk.check();
        steps += 1;
        assert!(steps < 1000, "no end");
    }
    disk.commit(&mut pool);
    disk.check_twice();
    assert_eq!(pool.data_fill().used, 0);
}
