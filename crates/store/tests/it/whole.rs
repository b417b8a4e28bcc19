//! Whole blocks in new places, through the direct door.

use crate::{
    judge::check_closed,
    recorded::{BLOCK as SIM_BLOCK, open as open_sim},
    sim::{Failure, Faults, How, Sim},
    support::{BLOCK, SECOND, cut, open, params, read, volume},
};
use std::{io::ErrorKind, os::unix::fs::FileExt, sync::Arc, thread, time::Duration};
use umbra_base::ErrorCode;
use umbra_store::{Extent, LunStore, PoolParams, ThinId, ThinPoolStore, Ticket, Volume};

/// A pool with one device of four blocks of ones, which a copy shares.
fn shared(dir: &std::path::Path, blocks: u64) -> (ThinPoolStore, Arc<dyn Volume>) {
    let small = PoolParams { data_bytes: blocks * BLOCK, ..params() };
    let store = ThinPoolStore::create_or_open(dir, small).unwrap();
    store.create(ThinId(1)).unwrap();
    let origin = volume(&store, 1);
    origin.write(0, &vec![1; 4 * BLOCK as usize]).unwrap();
    cut(&store, &[(1, 2)]);
    // A cut makes the cache doubt what it knew; any access teaches it again.
    read(&origin, 0, 512);
    (store, origin)
}

/// Plans blocks `first..first + count`.
fn plan(volume: &Arc<dyn Volume>, first: u64, count: u64) -> Option<(Ticket, Vec<Extent>)> {
    let mut extents = Vec::new();
    let ticket = volume.direct_write(first * BLOCK, count * BLOCK, &mut extents)?;
    Some((ticket, extents))
}

fn fill(store: &ThinPoolStore, extents: &[Extent], byte: u8) {
    let file = store.data_file().unwrap();
    for extent in extents {
        file.write_all_at(&vec![byte; extent.len as usize], extent.at.unwrap()).unwrap();
    }
}

#[track_caller]
fn holds(volume: &Arc<dyn Volume>, block: u64, byte: u8) {
    assert!(read(volume, block * BLOCK, BLOCK as usize).iter().all(|found| *found == byte), "block {block}");
}

#[test]
fn they_leave_the_copy_as_it_was_and_survive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (store, origin) = shared(dir.path(), 64);
    let (ticket, extents) = plan(&origin, 1, 2).unwrap();
    assert_eq!(extents.iter().map(|extent| extent.len).sum::<u64>(), 2 * BLOCK);
    fill(&store, &extents, 7);
    holds(&origin, 1, 1);
    origin.finish(ticket, true).unwrap();
    // Now they are its own, and every write to them is in place.
    let mut again = Vec::new();
    let ticket = origin.direct_write(BLOCK, 512, &mut again).unwrap();
    origin.finish(ticket, true).unwrap();
    assert_eq!(again[0].at, extents[0].at);
    drop((origin, store));
    let store = open(dir.path());
    for (device, expected) in [(1, [1, 7, 7, 1]), (2, [1; 4])] {
        let volume = volume(&store, device);
        (0..4).zip(expected).for_each(|(block, byte)| holds(&volume, block, byte));
    }
    store.close().unwrap();
    check_closed(dir.path());
}

/// Blocks of a new pool are known to be zeroes until somebody writes them, through either door. More runs of them are
/// given up at once than one commit punches, so that some keep what they held.
#[test]
fn what_was_written_whole_and_given_up_does_not_show_in_a_block_that_is_written_partly() {
    const BLOCKS: u64 = 256;
    const CHUNK: u64 = 4;
    let by_direct_door = |store: &ThinPoolStore, volume: &Arc<dyn Volume>, first| {
        let (ticket, extents) = plan(volume, first, CHUNK).unwrap();
        fill(store, &extents, 7);
        volume.finish(ticket, true).unwrap();
    };
    let by_copy = |_: &ThinPoolStore, volume: &Arc<dyn Volume>, first| {
        volume.write(first * BLOCK, &vec![7; (CHUNK * BLOCK) as usize]).unwrap();
    };
    type Write<'a> = &'a dyn Fn(&ThinPoolStore, &Arc<dyn Volume>, u64);
    for (door, write) in [("direct", &by_direct_door as Write<'_>), ("other", &by_copy)] {
        let dir = tempfile::tempdir().unwrap();
        let small = PoolParams { data_bytes: BLOCKS * BLOCK, ..params() };
        let store = ThinPoolStore::create_or_open(dir.path(), small).unwrap();
        (1..=2).for_each(|id| store.create(ThinId(id)).unwrap());
        let (old, new) = (volume(&store, 1), volume(&store, 2));
        read(&old, 0, (BLOCKS * BLOCK) as usize);
        (0..BLOCKS).step_by(CHUNK as usize).for_each(|first| write(&store, &old, first));
        (0..BLOCKS).step_by(2).for_each(|block| old.discard(block * BLOCK, BLOCK).unwrap());
        old.flush().unwrap();
        for block in 0..BLOCKS / 2 {
            new.write(block * BLOCK, &[9; 512]).unwrap();
            let rest = read(&new, block * BLOCK + 512, BLOCK as usize - 512);
            assert!(rest.iter().all(|byte| *byte == 0), "{door} door, block {block}");
        }
        drop((old, new));
        store.close().unwrap();
        check_closed(dir.path());
    }
}

#[test]
fn they_fill_what_was_not_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, origin) = shared(dir.path(), 64);
    let (ticket, extents) = plan(&origin, 3, 3).unwrap();
    fill(&store, &extents, 9);
    holds(&origin, 5, 0);
    origin.finish(ticket, true).unwrap();
    (3..6).for_each(|block| holds(&origin, block, 9));
    assert_eq!(store.mapped_blocks(ThinId(1)).unwrap(), 6);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn a_write_that_failed_leaves_what_was_there_and_gives_its_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, origin) = shared(dir.path(), 6);
    // All free space of the pool, time and again.
    for _ in 0..5 {
        let (ticket, extents) = plan(&origin, 0, 2).unwrap();
        fill(&store, &extents, 3);
        origin.finish(ticket, false).unwrap();
        (0..4).for_each(|block| holds(&origin, block, 1));
    }
    let (ticket, extents) = plan(&origin, 0, 2).unwrap();
    fill(&store, &extents, 4);
    origin.finish(ticket, true).unwrap();
    holds(&origin, 1, 4);
    assert!(plan(&origin, 2, 1).is_none(), "the pool is full, which the other door says");
    let error = origin.write(2 * BLOCK, &vec![5; BLOCK as usize]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InsufficientStorage);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn while_one_is_out_no_cut_happens_and_its_blocks_are_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let (store, origin) = shared(dir.path(), 64);
    let (ticket, extents) = plan(&origin, 0, 2).unwrap();
    assert!(plan(&origin, 1, 1).is_none(), "in a write that is under way");
    let error = store.hold(&[ThinId(1)], Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::HoldWritesTimeout);
    thread::scope(|scope| {
        let later = scope.spawn(|| origin.write(BLOCK, &[8; 512]));
        fill(&store, &extents, 7);
        origin.finish(ticket, true).unwrap();
        later.join().unwrap().unwrap();
    });
    assert_eq!(read(&origin, BLOCK, 1024), [[8; 512], [7; 512]].concat(), "the later write came later");
    let hold = store.hold(&[ThinId(1)], SECOND).unwrap();
    assert!(plan(&origin, 2, 1).is_none(), "held");
    drop(hold);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn parts_of_blocks_are_for_the_other_door() {
    let dir = tempfile::tempdir().unwrap();
    let (store, origin) = shared(dir.path(), 64);
    for (offset, len) in [(512, BLOCK), (0, BLOCK - 512), (BLOCK - 512, 1024), (0, 65 * BLOCK)] {
        assert!(origin.direct_write(offset, len, &mut Vec::new()).is_none(), "{len} bytes at {offset}");
    }
    store.close().unwrap();
    check_closed(dir.path());
}

/// Through the other door, as one write: a block in place, and a whole new one that lies right behind it.
#[test]
fn what_was_written_behind_a_block_in_place_and_given_up_does_not_show_elsewhere() {
    const BLOCKS: u64 = 256;
    let dir = tempfile::tempdir().unwrap();
    let small = PoolParams { data_bytes: BLOCKS * BLOCK, ..params() };
    let store = ThinPoolStore::create_or_open(dir.path(), small).unwrap();
    (1..=2).for_each(|id| store.create(ThinId(id)).unwrap());
    let (old, new) = (volume(&store, 1), volume(&store, 2));
    for first in (0..BLOCKS).step_by(2) {
        old.write(first * BLOCK, &[7; 512]).unwrap();
        old.write(first * BLOCK + BLOCK / 2, &vec![7; (BLOCK + BLOCK / 2) as usize]).unwrap();
    }
    (0..BLOCKS).step_by(2).for_each(|block| old.discard((block + 1) * BLOCK, BLOCK).unwrap());
    old.flush().unwrap();
    for block in 0..BLOCKS / 2 {
        new.write(block * BLOCK, &[9; 512]).unwrap();
        let rest = read(&new, block * BLOCK + 512, BLOCK as usize - 512);
        assert!(rest.iter().all(|byte| *byte == 0), "block {block} shows what another device had");
    }
}

/// Its new block goes back at once, without a commit.
#[test]
fn what_a_failed_write_left_does_not_show_elsewhere() {
    let sim = Sim::new(); // Its pool is made by the store, and known to be zeroes.
    let store = open_sim(&sim, 1);
    (1..=2).for_each(|id| store.create(ThinId(id)).unwrap());
    let [old, new] = [1, 2].map(|id| store.open(ThinId(id), 32 * SIM_BLOCK).unwrap());
    old.write(0, &[7; 512]).unwrap();
    let failure = Some(Failure { at: 1, how: How::Once(ErrorKind::Other) });
    sim.set_faults(Faults { failure, ..Faults::default() });
    old.write(SIM_BLOCK / 2, &vec![7; 2 * SIM_BLOCK as usize]).unwrap_err();
    sim.set_faults(Faults::default());
    for block in 0..32 {
        if new.write(block * SIM_BLOCK, &[9; 512]).is_err() {
            return; // The pool is full.
        }
        let rest = read(&new, block * SIM_BLOCK + 512, SIM_BLOCK as usize - 512);
        assert!(rest.iter().all(|byte| *byte == 0), "block {block} shows what another device wrote in vain");
    }
}
