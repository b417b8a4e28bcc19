//! Sharing blocks between devices: contents, counts, and what may be written in place afterwards.

use crate::{
    disk::Disk,
    pools::{fill, new_pool, new_pool_of, snapshot, write},
};
use umbra_base::ErrorCode;
use umbra_thin::{Plan, Pool, ThinId};

fn blocks(pool: &mut Pool<Disk>, id: u32, from: u64, len: u64) -> Vec<(u64, u64)> {
    let found = pool.mappings(ThinId(id), from..from + len).unwrap();
    found.iter().map(|(vblock, to)| (vblock - from, to.block)).collect()
}

fn is_in_place(pool: &mut Pool<Disk>, id: u32, vblock: u64) -> bool {
    let plan = pool.plan_write(ThinId(id), vblock).unwrap();
    pool.abort_write(plan);
    matches!(plan, Plan::InPlace(_))
}

#[test]
fn shared_blocks_are_the_same_blocks_and_never_written_in_place() {
    for uuid in [[3; 16], [0; 16]] {
        let (disk, mut pool) = new_pool_of(uuid, 3000, 300);
        pool.create(ThinId(1)).unwrap();
        pool.create(ThinId(2)).unwrap();
        fill(&mut pool, 1, (0..500).map(|i| i * 2));
        fill(&mut pool, 2, 0..800);
        disk.commit(&mut pool);
        pool.share(ThinId(1), 100, ThinId(2), 50, 400).unwrap();
        assert_eq!(blocks(&mut pool, 1, 100, 400), blocks(&mut pool, 2, 50, 400));
        assert_eq!(blocks(&mut pool, 2, 50, 400).len(), 200);
        for i in (0..400).step_by(2) {
            assert!(!is_in_place(&mut pool, 1, 100 + i) && !is_in_place(&mut pool, 2, 50 + i), "{i}");
        }
        if uuid != [0; 16] {
            assert!(is_in_place(&mut pool, 1, 98) && is_in_place(&mut pool, 2, 450), "others are as before");
        }
        assert_eq!(pool.details(ThinId(2)).unwrap().mapped_blocks, 600);
        disk.commit(&mut pool);
        disk.check_twice();
        assert_eq!(pool.data_fill().used, 500 + 400);
        // After a write the two differ in that block and in no other.
        write(&mut pool, 2, 50).unwrap();
        let (left, right) = (blocks(&mut pool, 1, 100, 400), blocks(&mut pool, 2, 50, 400));
        assert_eq!(left.iter().zip(&right).filter(|(a, b)| a != b).count(), 1);
        assert!(is_in_place(&mut pool, 2, 50), "the copy is its own");
        pool.delete(ThinId(1)).unwrap();
        disk.commit(&mut pool);
        disk.check_twice();
    }
}

#[test]
fn sharing_what_is_shared_already_changes_nothing() {
    let (disk, mut pool) = new_pool(1000, 300);
    pool.create(ThinId(1)).unwrap();
    fill(&mut pool, 1, 0..300);
    snapshot(&mut pool, 1, 2);
    disk.commit(&mut pool);
    pool.share(ThinId(1), 0, ThinId(2), 0, 300).unwrap();
    assert!(!pool.is_changed());
    // A revert: the copy's blocks go back into the original.
    fill(&mut pool, 1, (0..40).map(|i| i * 3));
    write(&mut pool, 1, 900).unwrap();
    disk.commit(&mut pool);
    pool.share(ThinId(2), 0, ThinId(1), 0, 1000).unwrap();
    disk.commit(&mut pool);
    disk.check_twice();
    assert_eq!(blocks(&mut pool, 1, 0, 1000), blocks(&mut pool, 2, 0, 1000));
    assert_eq!(pool.data_fill().used, 300);
}

#[test]
fn a_device_shares_with_itself_where_ranges_do_not_overlap() {
    let (disk, mut pool) = new_pool(1000, 300);
    pool.create(ThinId(1)).unwrap();
    fill(&mut pool, 1, 0..300);
    pool.share(ThinId(1), 0, ThinId(1), 300, 300).unwrap();
    disk.commit(&mut pool);
    disk.check_twice();
    assert_eq!(blocks(&mut pool, 1, 0, 300), blocks(&mut pool, 1, 300, 300));
    assert_eq!((pool.data_fill().used, pool.details(ThinId(1)).unwrap().mapped_blocks), (300, 600));
    assert!(!is_in_place(&mut pool, 1, 5) && !is_in_place(&mut pool, 1, 305));
    for (from, to, len) in [(0, 299, 300), (299, 0, 300), (0, 0, 1), (0, 10, 1 << 40), (u64::MAX - 1, 0, 9)] {
        let error = pool.share(ThinId(1), from, ThinId(1), to, len).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{from} {to} {len}");
    }
    assert_eq!(pool.share(ThinId(1), 0, ThinId(9), 0, 1).unwrap_err().code(), ErrorCode::ObjectNotFound);
    assert!(!pool.is_changed());
}

#[test]
fn many_writes_at_once_are_as_one_by_one() {
    let writes: Vec<u64> = (0..2000).chain((5000..90_000).step_by(7)).chain(100_000..101_000).collect();
    let (one_disk, mut one) = new_pool(40_000, 1200);
    let (many_disk, mut many) = new_pool(40_000, 1200);
    for pool in [&mut one, &mut many] {
        pool.create(ThinId(1)).unwrap();
        fill(pool, 1, (0..500).map(|i| i * 50));
        snapshot(pool, 1, 2);
    }
    for vblock in &writes {
        write(&mut one, 1, *vblock).unwrap();
    }
    for part in writes.chunks(700) {
        let pairs: Vec<_> = part
            .iter()
            .map(|vblock| match many.plan_write(ThinId(1), *vblock).unwrap() {
                Plan::Fresh { to } | Plan::Copy { to, .. } => (*vblock, to),
                Plan::InPlace(block) => panic!("{vblock} at {block}"),
            })
            .collect();
        many.finish_writes(ThinId(1), &pairs).unwrap();
    }
    assert_eq!(blocks(&mut many, 1, 0, 1 << 20).len(), blocks(&mut one, 1, 0, 1 << 20).len());
    assert_eq!(many.details(ThinId(1)).unwrap(), one.details(ThinId(1)).unwrap());
    assert_eq!(many.data_fill().used, one.data_fill().used);
    assert!(many.finish_writes(ThinId(1), &[(5, 1), (5, 2)]).is_err(), "not ascending");
    for (disk, pool) in [(one_disk, &mut one), (many_disk, &mut many)] {
        disk.commit(pool);
        disk.check_twice();
    }
}

#[test]
fn sequential_writers_fill_their_leaves() {
    let (disk, mut pool) = new_pool(60_000, 1200);
    pool.create(ThinId(1)).unwrap();
    fill(&mut pool, 1, 0..50_400);
    disk.commit(&mut pool);
    disk.check();
    let (mut leaf, mut at, mut leaves) = (Vec::new(), 0, 0);
    while at < u64::MAX {
        at = pool.leaf(ThinId(1), at, &mut leaf).unwrap().end;
        leaves += 1;
    }
    assert!(leaves <= 50_400 / 252 + 2, "{leaves} leaves");
}
