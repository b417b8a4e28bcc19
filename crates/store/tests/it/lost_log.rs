//! A log that is gone, or damaged: as long as the kernel runs that wrote it, that is no end of a log but a loss, and told (A6).

use crate::{
    recorded::{try_open, try_open_with},
    sim::{META, Sim},
};
use umbra_base::ErrorCode;
use umbra_store::{LunStore, ThinId, limits::LOG_SEGMENT_BYTES};
use umbra_thin::log::{HEADER_BYTES, RECORD_BYTES};

const BLOCK: u64 = 64 << 10;
const BLOCKS: u64 = 6;
const BOOT: u8 = 1;

/// A pool whose process has died with acknowledged writes in the log alone.
fn killed() -> Sim {
    let sim = Sim::new();
    let store = try_open(&sim, BOOT).unwrap();
    store.create(ThinId(1)).unwrap();
    let volume = store.open(ThinId(1), BLOCKS * BLOCK).unwrap();
    for block in 0..BLOCKS {
        volume.write(block * BLOCK, &[block as u8 + 1; 512]).unwrap();
    }
    drop((volume, store));
    sim
}

fn flip(sim: &Sim, at: u64) {
    let log = sim.backing(BOOT).log;
    let mut byte = [0];
    log.read_at(&mut byte, at).unwrap();
    log.write_at(&[byte[0] ^ 1], at).unwrap();
}

fn written(sim: &Sim, boot: u8, accept: bool) -> u64 {
    let store = try_open_with(sim, boot, accept).unwrap();
    store.mapped_blocks(ThinId(1)).unwrap()
}

/// A log, and what was done to it.
type Damage = (&'static str, fn(&Sim));

const DAMAGES: [Damage; 3] = [
    ("emptied", |sim| sim.backing(BOOT).log.set_size(0).unwrap()),
    ("a bit of each header", |sim| (0..3).for_each(|i| flip(sim, i * LOG_SEGMENT_BYTES + 20))),
    ("a bit of each second record", |sim| {
        (0..3).for_each(|i| flip(sim, i * LOG_SEGMENT_BYTES + (HEADER_BYTES + RECORD_BYTES + 8) as u64));
    }),
];

#[test]
fn a_log_that_is_there_is_entered() {
    assert_eq!(written(&killed(), BOOT, false), BLOCKS);
}

#[test]
fn a_log_that_is_missing_or_damaged_is_refused_until_that_is_accepted() {
    for (what, damage) in DAMAGES {
        let sim = killed();
        damage(&sim);
        let before = sim.content(META).bytes().to_vec();
        let error = try_open(&sim, BOOT).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadState, "{what}");
        assert!(sim.content(META).bytes() == before, "{what}: something was changed");
        assert!(written(&sim, BOOT, true) < BLOCKS, "{what}");
        // That was for once.
        assert!(try_open(&sim, BOOT).is_ok(), "{what}");
    }
}

/// It is never flushed: nothing of it is owed then.
#[test]
fn after_a_loss_of_the_machine_no_log_is_missed() {
    for (what, damage) in DAMAGES {
        let sim = killed();
        damage(&sim);
        assert_eq!(written(&sim, BOOT + 1, false), 0, "{what}");
    }
}

#[test]
fn no_pool_is_made_over_one_whose_metadata_is_gone() {
    let sim = killed();
    let backing = sim.backing(BOOT);
    backing.meta.write_at(&[0; 4096], 0).unwrap();
    backing.data.set_size(0).unwrap();
    let log = sim.content(crate::sim::LOG).bytes().to_vec();
    let error = try_open(&sim, BOOT).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadState);
    assert!(sim.content(crate::sim::LOG).bytes() == log, "the log was emptied");
}

/// A damaged pool whose log is lost: nobody knows which devices are behind.
#[test]
fn a_damaged_pool_whose_log_is_lost_serves_nothing_older_than_was_acknowledged() {
    let image = killed().content(META).bytes();
    let opened = |block: u64, lose_log: bool| {
        let sim = killed();
        flip_meta(&sim, block * 4096 + 40);
        if lose_log {
            sim.backing(BOOT).log.set_size(0).unwrap();
        }
        let volume = try_open(&sim, BOOT).and_then(|store| store.open(ThinId(1), BLOCKS * BLOCK));
        volume.map(drop).map_err(|error| error.code())
    };
    for block in (1..20u64).filter(|block| image[*block as usize * 4096..][..4096].iter().any(|b| *b != 0)) {
        if opened(block, false) == Err(ErrorCode::Corrupt) {
            assert!(
                opened(block, true).is_err(),
                "block {block}: device 1 is served without its last writes"
            );
        }
    }
}

fn flip_meta(sim: &Sim, at: u64) {
    let meta = sim.backing(BOOT).meta;
    let mut byte = [0];
    meta.read_at(&mut byte, at).unwrap();
    meta.write_at(&[byte[0] ^ 1], at).unwrap();
}
