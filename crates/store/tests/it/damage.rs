//! Pools that are damaged, or marked as if they were (A6).

use crate::{
    judge::check_closed,
    sim::node,
    support::{BLOCK, cut, open, params, volume},
};
use std::{fs, path::Path};
use umbra_base::ErrorCode;
use umbra_store::{LunStore, Mode, ThinId, ThinPoolStore};

const DEVICES: [u32; 3] = [1, 2, 3];

/// Three devices with bytes of their own; the third is a copy of the first.
fn make(dir: &Path) {
    let store = open(dir);
    for id in [1, 2] {
        store.create(ThinId(id)).unwrap();
        let volume = volume(&store, id);
        (0..40).step_by(2).for_each(|block| volume.write(block * BLOCK, &[id as u8; 512]).unwrap());
    }
    cut(&store, &[(1, 3)]);
    volume(&store, 1).write(0, &[11; 512]).unwrap();
    store.close().unwrap();
    check_closed(dir);
}

fn expected(id: u32, block: u64) -> u8 {
    match (id, block) {
        (_, block) if block % 2 == 1 => 0,
        (1, 0) => 11,
        (3, _) => 1,
        (id, _) => id as u8,
    }
}

/// How many of a device's blocks can be read; panics if one reads wrongly.
fn readable(store: &ThinPoolStore, id: u32) -> usize {
    let Ok(volume) = store.open(ThinId(id), 16 << 20) else { return 0 };
    let good = |block: &u64| {
        let mut bytes = [0xEE; 512];
        let read = volume.read(block * BLOCK, &mut bytes);
        match &read {
            Ok(()) => assert_eq!(bytes, [expected(id, *block); 512], "device {id}, block {block}"),
            Err(error) => assert_eq!(error.code(), ErrorCode::Corrupt, "{error}"),
        }
        read.is_ok()
    };
    (0..40).filter(good).count()
}

#[test]
fn whatever_metadata_block_is_damaged_nothing_wrong_is_read_and_the_rest_is_served() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let path = dir.path().join("pool.meta");
    let sound = fs::read(&path).unwrap();
    let (mut served_in_part, mut refused) = (0, 0);
    for block in 0..64usize {
        let mut damaged = sound.clone();
        damaged[block * 4096 + 40] ^= 0x10;
        if sound[block * 4096..][..4096].iter().all(|byte| *byte == 0) {
            continue;
        }
        fs::write(&path, &damaged).unwrap();
        match ThinPoolStore::create_or_open(dir.path(), params()) {
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Corrupt, "{error}");
                refused += 1;
            }
            Ok(store) => {
                let counts = DEVICES.map(|id| readable(&store, id));
                let all = counts.iter().all(|count| *count == 40);
                let named =
                    store.damage().iter().any(|what| what.contains(&format!("(metadata block {block})")));
                assert!(all || named, "block {block} is damaged: {:?}", store.damage());
                served_in_part += usize::from(!all && counts.iter().any(|count| *count > 0));
                if store.usage().mode == Mode::ReadOnly {
                    assert!(store.trouble().unwrap().contains(&block.to_string()), "{:?}", store.trouble());
                    let change = store.create(ThinId(9)).unwrap_err();
                    assert_eq!(change.code(), ErrorCode::BadState);
                }
                drop(store);
            }
        }
        fs::write(dir.path().join("pool.log"), []).unwrap();
    }
    assert!(served_in_part >= 2, "a damaged leaf costs its own keys alone ({served_in_part})");
    assert!(refused >= 1, "without a superblock there is nothing to serve");
    fs::write(&path, &sound).unwrap();
    let store = open(dir.path());
    assert_eq!(DEVICES.map(|id| readable(&store, id)), [40; 3]);
    assert_eq!(store.damage(), Vec::<String>::new());
    store.close().unwrap();
    check_closed(dir.path());
}

fn mark(image: &mut [u8]) {
    let page: &[u8; 4096] = image[..4096].try_into().unwrap();
    let marked = umbra_thin::Superblock::set_needs_check(page).unwrap();
    image[..4096].copy_from_slice(&marked[..]);
}

#[test]
fn a_mark_is_lifted_from_a_sound_pool_and_from_no_other() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let path = dir.path().join("pool.meta");
    let mut image = fs::read(&path).unwrap();
    mark(&mut image);
    fs::write(&path, &image).unwrap();
    let store = open(dir.path());
    assert_eq!((store.usage().mode, store.trouble()), (Mode::ReadWrite, None));
    volume(&store, 2).write(BLOCK, &[9; 512]).unwrap();
    volume(&store, 2).discard(BLOCK, BLOCK).unwrap();
    store.close().unwrap();
    check_closed(dir.path());
    drop(store);

    // The same with a mapping leaf that does not hold: a count is wrong, which only the whole check sees.
    let mut image = fs::read(&path).unwrap();
    mark(&mut image);
    let (leaf, _) = node::blocks(&image).find(|(_, block)| node::is_mapping_leaf(block)).unwrap();
    image[leaf as usize * 4096 + 40] ^= 0x10;
    fs::write(&path, &image).unwrap();
    let store = open(dir.path());
    assert_eq!(store.usage().mode, Mode::ReadOnly);
    assert!(store.trouble().unwrap().contains("needs_check"), "{:?}", store.trouble());
    assert!(DEVICES.map(|id| readable(&store, id)).contains(&40));
    drop(store);
    assert_eq!(fs::read(&path).unwrap(), image, "a pool that is served read-only is not written");
}

#[test]
fn damage_that_copies_share_is_named_once_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let copies = 3..80;
    {
        let store = open(dir.path());
        for id in [1, 2] {
            store.create(ThinId(id)).unwrap();
            (0..20).for_each(|block| volume(&store, id).write(block * BLOCK, &[id as u8; 512]).unwrap());
        }
        copies.clone().for_each(|copy| cut(&store, &[(1, copy)]));
        store.close().unwrap();
    }
    let path = dir.path().join("pool.meta");
    let mut image = fs::read(&path).unwrap();
    // The list of devices has other numbers of entries, but for what is left over of its beginnings and is nobody's.
    let leaves = node::blocks(&image)
        .filter(|(_, block)| node::is_mapping_leaf(block) && block[16..20] == 20u32.to_le_bytes());
    let leaves: Vec<_> = leaves.map(|(leaf, _)| leaf as usize).collect();
    leaves.iter().for_each(|leaf| image[leaf * 4096 + 40] ^= 0x10);
    fs::write(&path, &image).unwrap();

    let store = open(dir.path());
    for id in [1, 2].into_iter().chain(copies) {
        assert!(volume(&store, id).read(0, &mut [0; 512]).is_err(), "device {id}");
    }
    store.delete(ThinId(2)).unwrap();
    let (damage, shared) = (store.damage(), "; others have that block too");
    assert_eq!(damage.len(), 2, "{damage:?}");
    for (id, is_shared) in [(1, true), (2, false)] {
        let of = format!(" of device {id} (metadata block ");
        let what = damage.iter().find(|what| what.contains(&of));
        assert_eq!(what.map(|what| what.ends_with(shared)), Some(is_shared), "{damage:?}");
    }
}
