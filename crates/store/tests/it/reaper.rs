//! A damaged device that is deleted keeps what cannot be read of it, and costs nobody else anything (A6).

use crate::{
    heard::errors_of,
    recorded::{BLOCK, open},
    sim::{Faults, META, Operation, Sim, node},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};
use umbra_store::{Background, LunStore, Mode, PoolParams, ThinId, ThinPoolStore};

/// What the device that gets damaged maps, in several leaves, and what another does.
const DAMAGED: u64 = 600;
const SOUND: u64 = 300;
const SIZE: u64 = 1000 * BLOCK;
/// More reads of metadata than any of this takes.
const ENDLESS: usize = 10_000;

/// Devices 1 and 2; the second has its blocks where the first has none.
fn closed_pool() -> Sim {
    let sim = Sim::with_pool(300, 1200, BLOCK);
    let store = open(&sim, 1);
    for (id, blocks) in [(1, 0..DAMAGED), (2, 1000 - SOUND..1000)] {
        store.create(ThinId(id)).unwrap();
        let volume = store.open(ThinId(id), SIZE).unwrap();
        blocks.for_each(|block| volume.write(block * BLOCK, &[id as u8; 512]).unwrap());
    }
    store.close().unwrap();
    sim
}

/// How the mappings of device 1 are damaged.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// A block has a wrong checksum.
    Wrong(u64),
    /// A block cannot be read.
    Unreadable(u64),
    /// The device has more mappings than it is said to have.
    Count,
}

impl Damage {
    /// What must be said of it.
    fn named(self) -> [String; 2] {
        let place = |block| format!("(metadata block {block})");
        match self {
            Damage::Wrong(block) => [place(block), "checksum".to_owned()],
            Damage::Unreadable(block) => [place(block), format!("read metadata block {block}: injected")],
            Damage::Count => [format!("{} mappings", DAMAGED - 1), format!("{DAMAGED} were found")],
        }
    }
}

/// Every damage to the mappings of device 1; there are old versions of its nodes as well, which harm nothing.
fn damages(sim: &Sim) -> Vec<Damage> {
    let image = sim.content(META).bytes();
    let mappings = |node: &[u8]| node::is_mapping_leaf(node) || node::is_inner(node);
    let of_the_first = |node: &[u8]| mappings(node) && node::keys(node).all(|key| key < DAMAGED);
    let nodes = node::blocks(&image).filter(|(_, node)| of_the_first(node)).map(|(block, _)| block);
    nodes.flat_map(|block| [Damage::Wrong(block), Damage::Unreadable(block)]).chain([Damage::Count]).collect()
}

fn damaged(sim: &Sim, damage: Damage) -> Sim {
    let mut meta = sim.content(META);
    match damage {
        Damage::Wrong(block) => meta.write(&[0xAB; 8], block * 4096 + 40),
        Damage::Unreadable(_) => {}
        Damage::Count => {
            let image = meta.bytes();
            for (block, table) in node::blocks(&image) {
                if let Some(table) = node::with_mapped_blocks(table, 1, DAMAGED - 1) {
                    meta.write(&table, block * 4096);
                }
            }
        }
    }
    let sim = sim.with_metadata(meta);
    if let Damage::Unreadable(block) = damage {
        sim.set_faults(Faults { unreadable: Some(block), ..Faults::default() });
    }
    sim
}

/// Counts what is read of the metadata; panics where there is no end to it.
fn count_reads(sim: &Sim) -> Arc<AtomicUsize> {
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    sim.set_hook(Some(Arc::new(move |file, what| {
        if (file, what) == (META, Operation::Read) {
            assert!(counted.fetch_add(1, SeqCst) < ENDLESS, "the metadata is read again and again");
        }
    })));
    reads
}

/// A store that works, whose devices are these.
fn is_well(store: &ThinPoolStore, devices: &[u32]) {
    assert_eq!((store.usage().mode, store.trouble()), (Mode::ReadWrite, None));
    assert_eq!(store.device_ids().unwrap(), devices.iter().map(|id| ThinId(*id)).collect::<Vec<_>>());
}

#[test]
fn a_damaged_device_that_is_deleted_is_named_and_nobody_else_is_held_up() {
    let sim = closed_pool();
    let mut met = 0;
    for damage in damages(&sim) {
        eprintln!("{damage:?}");
        let sim = damaged(&sim, damage);
        count_reads(&sim);
        let store = open(&sim, 1);
        let ((), told) = errors_of(|| [1, 2].iter().for_each(|id| store.delete(ThinId(*id)).unwrap()));
        is_well(&store, &[]);
        let left = store.usage().data_used;
        assert!(left <= DAMAGED, "{left} blocks are in use: the sound device's did not come back");
        assert_eq!(left > 0, told.contains("a deleted device is damaged"), "{left} blocks are left: {told}");
        if left > 0 {
            met += 1;
            damage.named().iter().for_each(|words| assert!(told.contains(words), "{words}: {told}"));
        }
        store.create(ThinId(3)).unwrap();
        let volume = store.open(ThinId(3), SIZE).unwrap();
        volume.write(0, &vec![3; 100 * BLOCK as usize]).unwrap();
        volume.flush().unwrap();
        store.close().unwrap();
        drop((volume, store));
        // The next start tries again, and goes on all the same.
        let store = open(&sim, 1);
        is_well(&store, &[3]);
        store.delete(ThinId(3)).unwrap();
        is_well(&store, &[]);
        assert_eq!(store.usage().data_used, left);
        store.close().unwrap();
    }
    assert!(met >= 7, "only {met} damages were met");
}

#[test]
fn the_background_gives_a_damaged_device_up_and_rests() {
    const PATIENT: Duration = Duration::from_secs(30);
    let sim = closed_pool();
    let reads_of_a_leaf = |damage: &Damage| matches!(damage, Damage::Wrong(_));
    for damage in damages(&sim).into_iter().filter(reads_of_a_leaf) {
        let sim = damaged(&sim, damage);
        let background = Background::Every(Duration::from_millis(1));
        let store =
            ThinPoolStore::on(sim.backing(1), PoolParams { background, ..PoolParams::new(BLOCK) }).unwrap();
        [1, 2].iter().for_each(|id| store.delete(ThinId(*id)).unwrap());
        let begun = Instant::now();
        while store.usage().data_used > DAMAGED {
            assert!(begun.elapsed() < PATIENT, "the sound device's blocks did not come back");
            thread::yield_now();
        }
        store.create(ThinId(3)).unwrap();
        let volume = store.open(ThinId(3), SIZE).unwrap();
        volume.write(0, &[3; 512]).unwrap();
        volume.flush().unwrap();
        let reads = count_reads(&sim);
        for block in 1..6 {
            let commits = sim.holes_after_commits().len();
            volume.write(block * BLOCK, &[3; 512]).unwrap();
            while sim.holes_after_commits().len() == commits {
                assert!(begun.elapsed() < PATIENT, "nobody commits");
                thread::yield_now();
            }
        }
        assert_eq!(reads.load(SeqCst), 0, "{damage:?} is read again");
        is_well(&store, &[3]);
        store.close().unwrap();
    }
}
