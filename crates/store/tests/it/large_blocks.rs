//! Blocks up to the largest that the format has, 1 GiB. What copies such a block whole is proven with smaller ones.

use crate::{
    judge::{Judges, check_closed, check_image},
    sim::{DATA, META, Sim},
    support::{cut, open_of, params, read},
};
use std::sync::Arc;
use umbra_store::{LunStore, PoolParams, Share, ThinId, ThinPoolStore, Volume};

const GIB: u64 = 1 << 30;
const BLOCKS: u64 = 7;
/// Blocks of a LUN, whose last one is cut short.
const SIZE: u64 = 5 * GIB + 512;

fn open(sim: &Sim) -> ThinPoolStore {
    let wish = PoolParams { data_bytes: BLOCKS * GIB, block_bytes: GIB, ..params() };
    ThinPoolStore::on(sim.backing(1), wish).unwrap()
}

fn volume(store: &ThinPoolStore, id: u32) -> Arc<dyn Volume> {
    store.open(ThinId(id), SIZE).unwrap()
}

/// Asserts what 1 KiB around `at` holds: the sector before, the sector after.
#[track_caller]
fn holds(volume: &Arc<dyn Volume>, at: u64, bytes: [u8; 2]) {
    assert_eq!(read(volume, at - 512, 1024), bytes.map(|byte| [byte; 512]).concat(), "at {at}");
}

/// The places that the test below looks at, with what the origin and its copy hold there in the end.
const PLACES: [(u64, [u8; 2], [u8; 2]); 6] = [
    (GIB, [0, 0], [1, 1]),
    (GIB + (1 << 29), [0, 0], [0, 0]),
    (2 * GIB, [0, 0], [1, 0]),
    (3 * GIB + 4096, [0, 4], [0, 0]),
    (4 * GIB + 8192, [5, 0], [0, 3]),
    (5 * GIB, [0, 9], [0, 0]),
];

#[test]
fn blocks_of_1_gib_are_written_cut_given_up_and_found_again() {
    let sim = Sim::new();
    let store = open(&sim);
    store.create(ThinId(1)).unwrap();
    let origin = volume(&store, 1);
    // Parts of blocks that nothing was in yet, over a border between two.
    origin.write(GIB - 512, &[1; 1024]).unwrap();
    origin.write(2 * GIB - 512, &[1; 512]).unwrap();
    origin.write(4 * GIB + 8192, &[3; 512]).unwrap();
    holds(&origin, GIB, [1, 1]);
    assert_eq!(store.mapped_blocks(ThinId(1)).unwrap(), 3);
    cut(&store, &[(1, 2)]);
    assert_eq!(store.usage().data_used, 3);
    // What is given up whole, and what was never there, needs no copy of what is shared.
    origin.discard(0, 2 * GIB).unwrap();
    origin.discard(4 * GIB, GIB).unwrap();
    origin.write(3 * GIB + 4096, &[4; 512]).unwrap();
    origin.write(4 * GIB + 7680, &[5; 512]).unwrap();
    origin.write(5 * GIB, &[9; 512]).unwrap();
    assert_eq!((store.usage().data_used, store.usage().data_total), (6, BLOCKS));
    let again = Share { from: ThinId(2), from_offset: 0, to: ThinId(1), to_offset: GIB, len: GIB };
    store.share(again).unwrap();
    holds(&origin, 2 * GIB, [1, 0]);
    origin.discard(GIB, GIB).unwrap();
    drop((origin, store));
    // The process died: what was acknowledged is in the log.
    let store = open(&sim);
    looks_right(&store);
    store.close().unwrap();
    check_image(sim.content(META).bytes(), Judges::AlsoThinCheck, 0);
    let store = open(&sim);
    looks_right(&store);
    gone_without_a_trace(&sim, store);
}

fn looks_right(store: &ThinPoolStore) {
    let (origin, copy) = (volume(store, 1), volume(store, 2));
    for (at, left, right) in PLACES {
        holds(&origin, at, left);
        holds(&copy, at, right);
    }
    let mapped = |volume: &Arc<dyn Volume>| {
        let runs = volume.mapped(0, SIZE).unwrap();
        runs.iter().map(|run| (run.offset, run.len, run.mapped)).collect::<Vec<_>>()
    };
    assert_eq!(mapped(&origin), [(0, 3 * GIB, false), (3 * GIB, 2 * GIB + 512, true)]);
    assert_eq!(
        mapped(&copy),
        [(0, 2 * GIB, true), (2 * GIB, 2 * GIB, false), (4 * GIB, GIB, true), (5 * GIB, 512, false)]
    );
    assert_eq!(store.usage().data_used, 6);
}

/// Every block is given up, and can be used once more.
fn gone_without_a_trace(sim: &Sim, store: ThinPoolStore) {
    volume(&store, 1).discard(0, SIZE).unwrap();
    store.delete(ThinId(2)).unwrap();
    store.flush().unwrap();
    assert_eq!(store.usage().data_used, 0);
    assert!(sim.content(DATA).is_hole());
    let all = store.open(ThinId(1), (BLOCKS + 1) * GIB).unwrap();
    (0..6).for_each(|block| all.write(block * GIB + 512, &[7; 512]).unwrap());
    (1..6).for_each(|block| holds(&all, block * GIB + 512, [0, 7]));
    (1..6).for_each(|block| holds(&all, block * GIB + 1024, [7, 0]));
    store.close().unwrap();
    check_image(sim.content(META).bytes(), Judges::AlsoThinCheck, 0);
}

/// The first write to a part of what a copy shares copies all of it.
#[test]
fn a_first_write_to_a_part_of_a_large_shared_block_keeps_all_the_rest_of_it() {
    const BLOCK: u64 = 64 << 20;
    let dir = tempfile::tempdir().unwrap();
    let wish = PoolParams { data_bytes: 3 * BLOCK, block_bytes: BLOCK, ..params() };
    let store = ThinPoolStore::create_or_open(dir.path(), wish).unwrap();
    store.create(ThinId(1)).unwrap();
    let origin = store.open(ThinId(1), BLOCK).unwrap();
    // Each sector says which it is.
    let mut whole: Vec<u8> = (0..BLOCK / 512).flat_map(|at| at.to_le_bytes().repeat(64)).collect();
    origin.write(0, &whole).unwrap();
    cut(&store, &[(1, 2)]);
    let copy = store.open(ThinId(2), BLOCK).unwrap();
    copy.write((33 << 20) - 512, &[7; 1024]).unwrap();
    assert!(read(&origin, 0, BLOCK as usize) == whole, "the origin has changed");
    whole[(33 << 20) - 512..][..1024].fill(7);
    assert!(read(&copy, 0, BLOCK as usize) == whole, "the copy is not complete");
    copy.discard(0, BLOCK).unwrap();
    copy.write(512, &[8; 512]).unwrap();
    assert_eq!(store.usage().data_used, 2);
    drop((origin, copy, store));
    let store = open_of(dir.path(), BLOCK);
    whole[(33 << 20) - 512..][..512].copy_from_slice(&((33u64 << 11) - 1).to_le_bytes().repeat(64));
    whole[33 << 20..][..512].copy_from_slice(&(33u64 << 11).to_le_bytes().repeat(64));
    let found = |id| read(&store.open(ThinId(id), BLOCK).unwrap(), 0, BLOCK as usize);
    assert!(found(1) == whole, "the origin has changed");
    let mut fresh = vec![0; BLOCK as usize];
    fresh[512..1024].fill(8);
    assert!(found(2) == fresh, "what was given up is still there");
    store.close().unwrap();
    check_closed(dir.path());
}
