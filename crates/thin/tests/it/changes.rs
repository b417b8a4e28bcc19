//! Changed and allocated blocks against what the mappings say, at a cost in proportion to the difference.

use crate::{
    disk::Disk,
    pools::{fill, new_pool, snapshot, write},
};
use std::collections::BTreeMap;
use umbra_thin::{Changed, Difference, Pool, Source, ThinId};

/// Every block that differs, and how, from two complete listings.
fn expected(left: &[(u64, u64)], right: &[(u64, u64)]) -> BTreeMap<u64, Difference> {
    let (left, right): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (left.iter().copied().collect(), right.iter().copied().collect());
    let mut all = BTreeMap::new();
    for (at, block) in &left {
        match right.get(at) {
            None => drop(all.insert(*at, Difference::LeftOnly)),
            Some(other) if other != block => drop(all.insert(*at, Difference::Different)),
            Some(_) => {}
        }
    }
    all.extend(right.keys().filter(|at| !left.contains_key(at)).map(|at| (*at, Difference::RightOnly)));
    all
}

fn listing(pool: &mut Pool<Disk>, id: u32) -> Vec<(u64, u64)> {
    pool.mappings(ThinId(id), 0..1 << 20).unwrap().into_iter().map(|(at, to)| (at, to.block)).collect()
}

/// All differences, asked for in steps of `budget` nodes.
pub fn changed(pool: &mut Pool<Disk>, left: Source, right: Source, budget: u64) -> Vec<Changed> {
    let (mut from, mut runs) = (0, Vec::new());
    loop {
        let step = pool.changed(left, right, from, budget).unwrap();
        runs.extend(step.runs);
        match step.next {
            Some(next) => assert!(next > from, "no progress"),
            None => return runs,
        }
        from = step.next.unwrap();
    }
}

/// Asks in both directions, with several budgets.
pub fn check_changed(pool: &mut Pool<Disk>, left: u32, right: u32) {
    let want = expected(&listing(pool, left), &listing(pool, right));
    for budget in [1, 3, u64::MAX] {
        let runs = changed(pool, ThinId(left).into(), ThinId(right).into(), budget);
        let found: Vec<_> =
            runs.iter().flat_map(|run| (run.vblock..run.vblock + run.len).map(|at| (at, run.kind))).collect();
        assert_eq!(found, want.iter().map(|(at, kind)| (*at, *kind)).collect::<Vec<_>>(), "{left} {right}");
    }
    let mapped: Vec<_> = listing(pool, left).iter().map(|(at, _)| *at).collect();
    for budget in [1, u64::MAX] {
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let step = pool.allocated(ThinId(left), at, budget).unwrap();
            found.extend(step.runs.iter().flat_map(|run| run.vblock..run.vblock + run.len));
            from = step.next;
        }
        assert_eq!(found, mapped);
    }
}

#[test]
fn differences_of_trees_of_any_shape_are_found() {
    let (disk, mut pool) = new_pool(150_000, 8192);
    (1..=3).for_each(|id| pool.create(ThinId(id)).unwrap());
    for i in 0..50_000u64 {
        write(&mut pool, 1, i.wrapping_mul(0x9E37_79B9) % 900_000).unwrap();
    }
    write(&mut pool, 2, 77).unwrap();
    disk.commit(&mut pool);
    snapshot(&mut pool, 1, 4);
    snapshot(&mut pool, 1, 5);
    fill(&mut pool, 1, (0..30u64).map(|i| i * 30_011 % 900_000));
    fill(&mut pool, 4, (0..9000).map(|i| 1_000_000 + i));
    fill(&mut pool, 4, (0..4000).map(|i| 10_000 + i));
    pool.discard(ThinId(4), 200_000..700_000).unwrap();
    pool.discard(ThinId(5), 40_000..1 << 20).unwrap();
    disk.commit(&mut pool);
    // 1 has three levels, 5 one or two, 2 a single leaf, 3 none; 4 lost its middle and grew at its end.
    for left in 1..=5 {
        for right in 1..=5 {
            check_changed(&mut pool, left, right);
        }
    }
}

#[test]
fn what_both_share_is_not_read() {
    let (disk, mut pool) = new_pool(100_000, 4096);
    pool.create(ThinId(1)).unwrap();
    fill(&mut pool, 1, 0..60_000);
    snapshot(&mut pool, 1, 2);
    fill(&mut pool, 1, (0..5).map(|i| i * 11_003));
    disk.commit(&mut pool);
    let mut pool = Pool::open(disk.clone()).unwrap();
    let before = disk.reads();
    let runs = changed(&mut pool, ThinId(1).into(), ThinId(2).into(), u64::MAX);
    assert_eq!(runs.len(), 5);
    // Two paths of three nodes, and the two leaves of each place that differs with the nodes above them.
    let read = disk.reads() - before;
    assert!(read <= 6 + 5 * 4, "{read} nodes read of {}", 60_000 / 252);
    let before = disk.reads();
    assert!(changed(&mut pool, ThinId(2).into(), ThinId(2).into(), 1).is_empty());
    assert_eq!(disk.reads(), before);
}
