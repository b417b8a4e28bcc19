//! Leaves as a cache above the pool sees them, and writes that never go in place.

use crate::{
    disk::Disk,
    pools::{new_pool, snapshot, write},
};
use umbra_thin::{Plan, Pool, ThinId};

/// Every leaf from the first to the last, each asked for by several of its virtual blocks.
fn check_leaves(pool: &mut Pool<Disk>, id: u32, end: u64) -> usize {
    let all = pool.mappings(ThinId(id), 0..end).unwrap();
    let (mut found, mut leaf, mut again) = (Vec::new(), Vec::new(), Vec::new());
    let (mut at, mut leaves) = (0, 0);
    while at < u64::MAX {
        let keys = pool.leaf(ThinId(id), at, &mut leaf).unwrap();
        assert_eq!(keys.start, at, "a gap or an overlap between leaves");
        assert!(leaf.iter().all(|(vblock, _)| keys.contains(vblock)));
        let middle = keys.start + (keys.end - keys.start) / 2;
        for probe in [middle, keys.end - 1] {
            assert_eq!(pool.leaf(ThinId(id), probe, &mut again).unwrap(), keys);
            assert_eq!(again, leaf);
        }
        found.append(&mut leaf);
        at = keys.end;
        leaves += 1;
    }
    assert_eq!(found, all);
    leaves
}

#[test]
fn leaves_cover_every_block_exactly_once() {
    let (disk, mut pool) = new_pool(100_000, 2048);
    pool.create(ThinId(1)).unwrap();
    assert_eq!(check_leaves(&mut pool, 1, 1), 1, "an empty device is one leaf");
    (0..200).for_each(|i| {
        write(&mut pool, 1, 1000 + i * 7).unwrap();
    });
    assert_eq!(check_leaves(&mut pool, 1, 10_000), 1, "the root is a leaf");
    (0..60_000u64).for_each(|i| {
        write(&mut pool, 1, 5000 + i.wrapping_mul(0x9E37_79B9) % 900_000).unwrap();
    });
    disk.commit(&mut pool);
    assert!(check_leaves(&mut pool, 1, 1 << 20) > 252, "three levels");
    // Holes that remove whole leaves, and their left neighbours answer for them.
    pool.discard(ThinId(1), 0..9000).unwrap();
    pool.discard(ThinId(1), 300_000..420_000).unwrap();
    snapshot(&mut pool, 1, 2);
    write(&mut pool, 1, 350_000).unwrap();
    write(&mut pool, 1, 3).unwrap();
    check_leaves(&mut pool, 1, 1 << 20);
    check_leaves(&mut pool, 2, 1 << 20);
    let mut out = vec![(1, umbra_thin::BlockTime { block: 1, time: 1 })];
    pool.leaf(ThinId(9), 0, &mut out).unwrap_err();
    assert!(out.is_empty(), "an error leaves no entries behind");
}

#[test]
fn a_redirected_write_never_goes_in_place() {
    let (disk, mut pool) = new_pool(100, 100);
    pool.create(ThinId(1)).unwrap();
    let Plan::Fresh { to } = write(&mut pool, 1, 5).unwrap() else { panic!("not mapped yet") };
    disk.commit(&mut pool);
    assert_eq!(pool.plan_write(ThinId(1), 5).unwrap(), Plan::InPlace(to));
    let plan = pool.plan_redirect(ThinId(1), 5).unwrap();
    let Plan::Copy { from, to: new } = plan else { panic!("{plan:?}") };
    assert!(from == to && new != to);
    pool.finish_write(ThinId(1), 5, new).unwrap();
    assert!(matches!(pool.plan_redirect(ThinId(1), 6).unwrap(), Plan::Fresh { .. }));
    assert_eq!(pool.details(ThinId(1)).unwrap().mapped_blocks, 1);
    assert_eq!(pool.plan_write(ThinId(1), 5).unwrap(), Plan::InPlace(new));
    disk.commit(&mut pool);
    assert_eq!(pool.data_fill().used, 1);
    disk.check_twice();
}
