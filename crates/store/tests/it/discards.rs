//! A discard that fails has unmapped a part of its range, or all of it; whoever reads afterwards reads the same again after
//! the death of the process (A2).

use crate::{
    recorded::{BLOCK, open},
    sim::{Failure, Faults, How, META, Operation, Sim, node},
    support::share,
};
use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use umbra_base::ErrorCode;
use umbra_store::{LunStore, ThinId, ThinPoolStore};

const SIZE: u64 = 1000 * BLOCK;
/// What the device maps, in several leaves.
const BLOCKS: u64 = 600;

/// What the blocks of device 1 begin with, as runs; `None` where that cannot be read.
fn look(store: &ThinPoolStore) -> Vec<(Option<u8>, usize)> {
    let volume = store.open(ThinId(1), SIZE);
    let look = |block| {
        let mut sector = [0; 512];
        let read = volume.as_ref().ok()?.read(block * BLOCK, &mut sector);
        read.map(|()| sector[0]).ok()
    };
    let found: Vec<_> = (0..BLOCKS).map(look).collect();
    found.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

/// A pool with device 1, closed; a piece of a discard is the smaller, the more bitmaps there are and the less room.
fn disk(metadata_blocks: u64, bitmaps: u64, others: u32) -> Sim {
    let sim = Sim::with_pool(metadata_blocks, bitmaps * 16_320, BLOCK);
    let store = open(&sim, 1);
    store.create(ThinId(1)).unwrap();
    let volume = store.open(ThinId(1), SIZE).unwrap();
    (0..BLOCKS).for_each(|block| volume.write(block * BLOCK, &[7; 512]).unwrap());
    (0..others).for_each(|other| store.create(ThinId(10 + other)).unwrap());
    store.close().unwrap();
    sim
}

/// From now on the metadata's read number `fails` fails, and only that.
fn let_a_read_fail(sim: &Sim, fails: usize) {
    let (disk, reads) = (sim.clone(), AtomicUsize::new(0));
    sim.set_hook(Some(Arc::new(move |file, what| {
        if (file, what) == (META, Operation::Read) && reads.fetch_add(1, SeqCst) == fails {
            let failure = Some(Failure { at: 0, how: How::Once(ErrorKind::Other) });
            disk.set_faults(Faults { failure, ..Faults::default() });
        }
    })));
}

#[test]
fn what_a_discard_unmapped_before_it_failed_stays_so_after_the_death_of_the_process() {
    let disk = disk(1300, 600, 200);
    let mut in_part = 0;
    for fails in 0..5 {
        let sim = disk.copy();
        let store = open(&sim, 1);
        let volume = store.open(ThinId(1), SIZE).unwrap();
        let_a_read_fail(&sim, fails);
        let discarded = volume.discard(0, BLOCKS * BLOCK);
        sim.set_hook(None);
        let before = look(&store);
        in_part += usize::from(discarded.is_err() && before.len() > 1);
        drop((volume, store));
        assert_eq!(look(&open(&sim, 1)), before, "read {fails} failed");
    }
    assert!(in_part > 0, "no discard was done in part");
}

/// Disks on which one leaf of device 1 is damaged, behind another and before a third.
fn with_a_damaged_leaf(disk: &Sim) -> Vec<Sim> {
    let is_second = |node: &[u8]| {
        let first = node::keys(node).next();
        node::is_mapping_leaf(node) && first.is_some_and(|key| (100..BLOCKS / 2).contains(&key))
    };
    let image = disk.content(META).bytes();
    let seconds = node::blocks(&image).filter(|(_, node)| is_second(node));
    let damaged = seconds.map(|(block, _)| {
        let mut meta = disk.content(META);
        meta.write(&[0xAB; 8], block * 4096 + 40);
        disk.with_metadata(meta)
    });
    // An old version of the leaf does no harm.
    damaged.filter(|sim| look(&open(sim, 1)).iter().any(|(kind, _)| kind.is_none())).collect()
}

#[test]
fn what_a_discard_unmapped_before_it_met_damage_stays_so_after_the_death_of_the_process() {
    let damaged = with_a_damaged_leaf(&disk(1300, 600, 200));
    let [sim] = &damaged[..] else { panic!("{} disks", damaged.len()) };
    let store = open(sim, 1);
    store.open(ThinId(1), SIZE).unwrap().discard(0, SIZE).unwrap_err();
    let before = look(&store);
    let kinds: Vec<_> = before.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Some(0), Some(7), None, Some(7)], "{before:?}");
    drop(store);
    assert_eq!(look(&open(sim, 1)), before);
}

#[test]
fn a_discard_beside_damage_is_done_or_refused_and_the_pool_goes_on() {
    let damaged = with_a_damaged_leaf(&disk(200, 1, 1));
    let [disk] = &damaged[..] else { panic!("{} disks", damaged.len()) };
    for end in [100, 150, 200, 251, 252] {
        let sim = disk.copy();
        let store = open(&sim, 1);
        if let Err(error) = store.open(ThinId(1), SIZE).unwrap().discard(0, end * BLOCK) {
            assert!(error.chain().contains("device 1 (metadata block"), "{}", error.chain());
        }
        let before = look(&store);
        let other = store.open(ThinId(10), SIZE).unwrap();
        other.write(0, &[8; 512]).unwrap();
        other.flush().unwrap();
        assert_eq!(store.trouble(), None);
        drop((other, store));
        assert_eq!(look(&open(&sim, 1)), before, "blocks 0 to {end}");
    }
}

/// What `to` has is unmapped where `from` has nothing.
#[test]
fn sharing_beside_damage_is_refused_and_the_pool_goes_on() {
    let damaged = with_a_damaged_leaf(&disk(200, 1, 1));
    let [sim] = &damaged[..] else { panic!("{} disks", damaged.len()) };
    let store = open(sim, 1);
    let error = store.share(share((10, 0), (1, 0), 200)).unwrap_err();
    assert!(error.chain().contains("device 1 (metadata block"), "{}", error.chain());
    store.open(ThinId(10), SIZE).unwrap().write(0, &[8; 512]).unwrap();
    store.flush().unwrap();
}

/// The device is said to have fewer mappings than it has, which is found out when all of them are gone. Then it is not
/// served any more, because the log cannot be entered.
#[test]
fn what_a_discard_unmapped_in_vain_is_not_there_again_after_the_death_of_the_process() {
    let sim = disk(200, 1, 0);
    let mut meta = sim.content(META);
    for (block, table) in node::blocks(&sim.content(META).bytes()) {
        if let Some(table) = node::with_mapped_blocks(table, 1, 1) {
            meta.write(&table, block * 4096);
        }
    }
    let sim = sim.with_metadata(meta);
    let store = open(&sim, 1);
    let failed = store.open(ThinId(1), SIZE).unwrap().discard(0, SIZE).unwrap_err();
    assert_eq!(failed.code(), ErrorCode::Corrupt, "{failed}");
    let before = look(&store);
    drop(store);
    let after = look(&open(&sim, 1));
    let refused = [(None, BLOCKS as usize)];
    assert!(after == before || after == refused, "before: {before:?}, after: {after:?}");
}
