//! The direct door: extents that a caller reads and writes himself.

use crate::{
    judge::check_closed,
    support::{BLOCK, SECOND, cut, open, params, read, volume},
};
use std::{os::unix::fs::FileExt, sync::Arc, thread, time::Duration};
use umbra_base::ErrorCode;
use umbra_store::{Extent, LunStore, PoolParams, ThinId, ThinPoolStore, Volume};

fn planned(volume: &Arc<dyn Volume>, offset: u64, len: u64) -> Option<Vec<Extent>> {
    let mut extents = Vec::new();
    let ticket = volume.direct_read(offset, len, &mut extents);
    ticket.map(|ticket| {
        volume.finish(ticket, true).unwrap();
        extents
    })
}

/// Writes through the direct door, or says that it is shut.
fn write_direct(store: &ThinPoolStore, volume: &Arc<dyn Volume>, offset: u64, bytes: &[u8]) -> bool {
    let mut extents = Vec::new();
    let Some(ticket) = volume.direct_write(offset, bytes.len() as u64, &mut extents) else { return false };
    let file = store.data_file().unwrap();
    let mut rest = bytes;
    for Extent { at, len } in extents {
        let (part, left) = rest.split_at(len as usize);
        file.write_all_at(part, at.unwrap()).unwrap();
        rest = left;
    }
    assert!(rest.is_empty());
    volume.finish(ticket, true).unwrap();
    true
}

#[test]
fn extents_are_where_the_bytes_are_and_cover_the_range_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    volume.write(0, &vec![1; BLOCK as usize]).unwrap();
    volume.write(2 * BLOCK, &vec![2; BLOCK as usize]).unwrap();
    let extents = planned(&volume, 512, 3 * BLOCK - 512).unwrap();
    let lens: Vec<_> = extents.iter().map(|extent| (extent.at.is_some(), extent.len)).collect();
    assert_eq!(lens, [(true, BLOCK - 512), (false, BLOCK), (true, BLOCK)]);
    let file = store.data_file().unwrap();
    for (extent, byte) in [(extents[0], 1), (extents[2], 2)] {
        let mut bytes = vec![0; extent.len as usize];
        file.read_exact_at(&mut bytes, extent.at.unwrap()).unwrap();
        assert!(bytes.iter().all(|found| *found == byte));
    }
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn what_is_written_directly_is_read_by_every_way_and_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    let first = volume(&store, 1);
    first.write(0, &vec![1; 2 * BLOCK as usize]).unwrap();
    assert!(write_direct(&store, &first, BLOCK - 512, &[7; 1024]));
    assert_eq!(read(&first, BLOCK - 1024, 2048), [[1; 512], [7; 512], [7; 512], [1; 512]].concat());
    drop((first, store));
    let store = open(dir.path());
    assert_eq!(read(&volume(&store, 1), BLOCK - 512, 1024), [7; 1024]);
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn the_door_is_shut_to_whatever_needs_more_than_a_write_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    let origin = volume(&store, 1);
    assert!(!write_direct(&store, &origin, 0, &[1; 512]), "not mapped");
    origin.write(0, &vec![1; BLOCK as usize]).unwrap();
    assert!(write_direct(&store, &origin, 0, &[2; 512]));
    cut(&store, &[(1, 2)]);
    assert!(!write_direct(&store, &origin, 0, &[3; 512]), "shared with a copy");
    assert!(planned(&origin, 0, BLOCK).is_some(), "reads need no block of their own");
    origin.write(0, &[3; 512]).unwrap();
    assert!(write_direct(&store, &origin, 512, &[4; 512]), "its own again");
    assert_eq!(read(&volume(&store, 2), 0, 1024), [[2; 512], [1; 512]].concat());
    origin.discard(0, BLOCK).unwrap();
    assert!(!write_direct(&store, &origin, 0, &[5; 512]), "discarded");
    for (offset, len) in [(1, 512), (0, 511), (16 << 20, 512), (u64::MAX - 511, 1024)] {
        assert_eq!(planned(&origin, offset, len), None);
    }
    store.close().unwrap();
    assert!(planned(&origin, 0, 512).is_none() && !write_direct(&store, &origin, 0, &[1; 512]));
    check_closed(dir.path());
}

#[test]
fn no_cut_happens_while_a_direct_write_is_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    volume.write(0, &[1; 512]).unwrap();
    let ticket = volume.direct_write(0, 512, &mut Vec::new()).unwrap();
    let error = store.hold(&[ThinId(1)], Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::HoldWritesTimeout);
    volume.finish(ticket, true).unwrap();
    let hold = store.hold(&[ThinId(1)], SECOND).unwrap();
    assert!(volume.direct_write(0, 512, &mut Vec::new()).is_none(), "held");
    drop(hold);
    store.close().unwrap();
}

#[test]
fn a_block_that_a_direct_read_is_on_goes_to_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let small = PoolParams { data_bytes: 2 * BLOCK, ..params() };
    let store = ThinPoolStore::create_or_open(dir.path(), small).unwrap();
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    volume.write(0, &vec![1; 2 * BLOCK as usize]).unwrap();
    let mut extents = Vec::new();
    let ticket = volume.direct_read(0, BLOCK, &mut extents).unwrap();
    volume.discard(0, BLOCK).unwrap();
    thread::scope(|scope| {
        // Needs the discarded block, and gets it only when the reader is done.
        let writer = scope.spawn(|| volume.write(4 * BLOCK, &vec![2; BLOCK as usize]));
        let file = store.data_file().unwrap();
        for _ in 0..50 {
            let mut bytes = vec![0; BLOCK as usize];
            file.read_exact_at(&mut bytes, extents[0].at.unwrap()).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 1));
            thread::yield_now();
        }
        volume.finish(ticket, true).unwrap();
        writer.join().unwrap().unwrap();
    });
    assert!(read(&volume, 4 * BLOCK, BLOCK as usize).iter().all(|byte| *byte == 2));
    store.close().unwrap();
    check_closed(dir.path());
}

#[test]
fn direct_writers_on_many_threads_lose_nothing_beside_cuts_and_atomic_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create(ThinId(1)).unwrap();
    let shared = volume(&store, 1);
    shared.write(0, &vec![0; 4 * BLOCK as usize]).unwrap();
    // Each writer has a sector of each block to itself and counts up in it; an atomic writer moves the blocks.
    let turns = 300u64;
    thread::scope(|scope| {
        for writer in 0..3u64 {
            let (store, volume) = (&store, &shared);
            scope.spawn(move || {
                for turn in 1..=turns {
                    let offset = turn % 4 * BLOCK + writer * 512;
                    let bytes = turn.to_le_bytes().repeat(64);
                    if !write_direct(store, volume, offset, &bytes) {
                        volume.write(offset, &bytes).unwrap();
                    }
                    assert_eq!(read(volume, offset, 512), bytes, "writer {writer}, turn {turn}");
                }
            });
        }
        let (store, volume) = (&store, &shared);
        scope.spawn(move || {
            for turn in 1..=40u64 {
                let bytes = turn.to_le_bytes().repeat(64);
                volume.write_atomic(turn % 4 * BLOCK + 5 * 512, &bytes).unwrap();
                if turn % 4 == 0 {
                    cut(store, &[(1, 100 + turn as u32)]);
                }
            }
        });
    });
    for (writer, block) in (0..3).flat_map(|writer| (0..4).map(move |block| (writer, block))) {
        let last = (1..=turns).rev().find(|turn| turn % 4 == block).unwrap();
        assert_eq!(read(&shared, block * BLOCK + writer * 512, 512), last.to_le_bytes().repeat(64));
    }
    store.close().unwrap();
    check_closed(dir.path());
}
