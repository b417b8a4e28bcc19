//! What a pool keeps of each device: the transaction and the time in which it was made, and the time of the last
//! snapshot in which it took part. Judged by the checker, from the disk.

use crate::{
    disk::Disk,
    golden::{expected, image, write_all},
    pools::{fill, new_pool_of, snapshot, write},
};
use std::collections::BTreeMap;
use umbra_thin::{LogUse, Pool, Snapshot, Superblock, ThinId};

/// Transaction and time of the making, time of the last snapshot.
type Kept = (u64, u32, u32);

/// What the disk has of each device; the open pool must say the same.
fn kept(disk: &Disk, pool: &Pool<Disk>) -> BTreeMap<u32, Kept> {
    let devices = disk.summary().devices;
    let stored = devices.iter().map(|(id, device)| (*id as u32, device.details.unwrap()));
    let stored =
        stored.map(|(id, it)| (id, (it.transaction_id, it.creation_time, it.snapshotted_time))).collect();
    assert_eq!(known(pool), stored);
    stored
}

fn known(pool: &Pool<Disk>) -> BTreeMap<u32, Kept> {
    let details = pool.device_ids().map(|id| (id.0, pool.details(id).unwrap()));
    details.map(|(id, it)| (id, (it.transaction_id, it.creation_time, it.snapshotted_time))).collect()
}

/// Four transactions: devices 1, 2 and 5 are made, 3 is a snapshot of 1 and 4 of 3 at one instant, 6 of 2, 7 of 6.
/// Everything else that is done to them must leave no trace in what is kept.
fn history(disk: &Disk, mut pool: Pool<Disk>) -> Pool<Disk> {
    let pair = |origin, copy| Snapshot { origin: ThinId(origin), copy: ThinId(copy) };
    pool.create(ThinId(1)).unwrap();
    fill(&mut pool, 1, 0..300);
    disk.commit(&mut pool);
    pool.create(ThinId(2)).unwrap();
    pool.snapshot(&[pair(1, 3), pair(3, 4)]).unwrap();
    disk.commit(&mut pool);
    pool.create(ThinId(5)).unwrap();
    snapshot(&mut pool, 2, 6);
    [1, 3, 4].into_iter().for_each(|id| fill(&mut pool, id, [7]));
    pool.discard(ThinId(4), 10..90).unwrap();
    disk.commit(&mut pool);
    let mut pool = Pool::open(disk.clone()).unwrap();
    snapshot(&mut pool, 6, 7);
    pool.share(ThinId(1), 0, ThinId(5), 0, 20).unwrap();
    disk.commit(&mut pool);
    write(&mut pool, 5, 3).unwrap();
    disk.commit(&mut pool);
    pool
}

#[test]
fn devices_keep_when_they_were_made_and_when_they_were_last_cut() {
    let (disk, pool) = new_pool_of([3; 16], 1000, 400);
    let pool = history(&disk, pool);
    let ours = [
        (1, (0, 1, 2)),
        (2, (1, 1, 3)),
        (3, (1, 2, 2)),
        (4, (1, 2, 2)),
        (5, (2, 2, 2)),
        (6, (2, 3, 4)),
        (7, (3, 4, 4)),
    ];
    assert_eq!(kept(&disk, &pool), BTreeMap::from(ours));
    disk.check_twice();
}

/// The transaction there is the volume manager's; time begins at 0, as with a kernel.
#[test]
fn devices_of_a_foreign_pool_are_made_in_its_transaction() {
    let (disk, pool) = new_pool_of([0; 16], 1000, 400);
    let found = Superblock { trans_id: 77, ..pool.superblock().clone() };
    disk.put(0, &found.encode());
    let pool = history(&disk, Pool::open(disk.clone()).unwrap());
    let times = [(0, 1), (0, 2), (1, 1), (1, 1), (1, 1), (2, 3), (3, 3)];
    let theirs = (1..).zip(times.map(|(made, cut)| (77, made, cut)));
    assert_eq!(kept(&disk, &pool), theirs.collect());
    disk.check_twice();
}

#[test]
fn devices_of_golden_pools_keep_theirs_when_the_pool_is_used_and_closed() {
    for (name, want) in expected().as_object().unwrap() {
        let image = image(name);
        let disk = Disk::from_image(&image);
        let pool = Pool::open(disk.clone()).unwrap();
        let mut theirs = known(&pool);
        for (id, recorded) in recorded(want) {
            assert_eq!(theirs[&id], recorded, "{name} {id}");
        }
        let pool = used_and_closed(&disk, pool);
        let (transaction, time) = (pool.superblock().trans_id, pool.superblock().time);
        theirs.insert(NEW, (transaction, time, time));
        assert_eq!(kept(&disk, &pool), theirs, "{name}");
        cut_one(name, &disk, pool, theirs);
    }
}

/// A device that no golden pool has, and its copy.
const NEW: u32 = 7_000_000;

fn recorded(want: &serde_json::Value) -> BTreeMap<u32, Kept> {
    let devices = want["devices"].as_object().unwrap().iter();
    let number = |device: &serde_json::Value, key: &str| device[key].as_u64().unwrap();
    devices
        .map(|(id, device)| {
            let times = ["creation_time", "snapshotted_time"].map(|key| number(device, key) as u32);
            (id.parse().unwrap(), (number(device, "transaction_id"), times[0], times[1]))
        })
        .collect()
}

/// Everything but a snapshot, with a crash in it and a clean end.
fn used_and_closed(disk: &Disk, mut pool: Pool<Disk>) -> Pool<Disk> {
    let ids: Vec<_> = pool.device_ids().collect();
    pool.create(ThinId(NEW)).unwrap();
    write_all(&mut pool, ThinId(NEW), 0..40);
    for id in ids.into_iter().take(9) {
        write_all(&mut pool, id, 0..30);
        pool.discard(id, 10..1500).unwrap();
    }
    let commit = pool.begin_commit(LogUse::MayHoldWrites { boot: [1; 16] }).unwrap();
    disk.write(&commit);
    let mut pool = Pool::open(disk.clone()).unwrap();
    disk.commit(&mut pool);
    Pool::open(disk.clone()).unwrap()
}

/// A snapshot says so of its origin and of itself, and of nobody else.
fn cut_one(name: &str, disk: &Disk, mut pool: Pool<Disk>, mut want: BTreeMap<u32, Kept>) {
    let origin = *want.keys().next().unwrap();
    snapshot(&mut pool, origin, NEW + 1);
    disk.commit(&mut pool);
    let (transaction, time) = (pool.superblock().trans_id, pool.superblock().time);
    want.get_mut(&origin).unwrap().2 = time;
    want.insert(NEW + 1, (transaction, time, time));
    assert_eq!(kept(disk, &Pool::open(disk.clone()).unwrap()), want, "{name}");
}
