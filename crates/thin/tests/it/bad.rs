//! Corrupt pools: every dangerous corruption of the golden collection is refused or named before it can spread, and
//! what is not damaged is still served.

use crate::{
    disk::Disk,
    golden::{image, kept},
};
use std::error::Error as _;
use umbra_thin::{Plan, Pool, ThinError, ThinId, TreeName};
use umbra_thin_check::Severity;

struct Case {
    name: String,
    expect: String,
    image: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let base = image("writer/mid");
    let cases: serde_json::Value = serde_json::from_reader(kept("bad/cases.json")).unwrap();
    let text = |case: &serde_json::Value, key: &str| case[key].as_str().unwrap().to_owned();
    let patched = |case: &serde_json::Value| {
        let mut image = base.clone();
        for patch in case["patches"].as_array().unwrap() {
            let at = patch[0].as_u64().unwrap() as usize;
            for (i, pair) in patch[1].as_str().unwrap().as_bytes().chunks(2).enumerate() {
                image[at + i] = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            }
        }
        image.resize(case["length"].as_u64().unwrap() as usize, 0);
        image
    };
    let case = |case: &serde_json::Value| Case {
        name: text(case, "name"),
        expect: text(case, "expect"),
        image: patched(case),
    };
    cases.as_array().unwrap().iter().map(case).collect()
}

/// Reads everything, then changes everything, down to an empty pool; what our checker thinks of that.
fn use_up(disk: &Disk) -> Result<Severity, ThinError> {
    let mut pool = Pool::open(disk.clone())?;
    pool.superblock().check_writable()?;
    let nr_data = pool.superblock().data_map.nr_blocks;
    pool.check_sizes(disk.size(), nr_data)?;
    let ids: Vec<_> = pool.device_ids().collect();
    for id in &ids {
        let mapped = pool.mappings(*id, 0..1 << 20)?;
        for (vblock, _) in mapped {
            let plan = pool.plan_write(*id, vblock)?;
            pool.abort_write(plan);
        }
    }
    for id in &ids {
        pool.begin_delete(*id)?;
        while pool.delete_step(100)?.left {}
        disk.commit(&mut pool);
    }
    Ok(disk.report().verdict())
}

/// Counts that are too high: whoever believes them loses space, which nobody but a repair finds again.
fn costs_space(name: &str) -> bool {
    ["data count 1 -> 2", "data leak", "data overflow", "metadata leak", "metadata count 1 -> 2"]
        .iter()
        .any(|damage| name.starts_with(damage))
}

#[test]
fn every_dangerous_corruption_is_refused_or_named() {
    for Case { name, expect, image } in cases() {
        let result = use_up(&Disk::from_image(&image));
        match expect.as_str() {
            "error" => assert!(!matches!(result, Ok(Severity::Ok)), "{name}: not noticed"),
            // Sound, but not to be written: as marked, and as a version that nobody has defined yet.
            "ok" if name == "sb version 3" || name == "sb flags needs_check" => {
                assert!(
                    matches!(result, Err(ThinError::NeedsCheck | ThinError::Superblock { .. })),
                    "{name}"
                );
            }
            // Legal to the tools, and not to us.
            "repairable" if name == "sb metadata_block_size 0" => {
                assert!(matches!(result, Err(ThinError::Superblock { .. })), "{name}");
            }
            // Space that nobody has stays taken; nothing worse.
            "repairable" if costs_space(&name) => assert_is(&name, result, Severity::Repairable),
            // What is left is a hint; nobody believes it, and the next commit writes it anew.
            "ok" | "repairable" => assert_is(&name, result, Severity::Ok),
            other => panic!("{name}: nobody knows what {other} is"),
        }
    }
}

fn assert_is(name: &str, result: Result<Severity, ThinError>, want: Severity) {
    let found = result.unwrap_or_else(|error| panic!("{name}: {error}: {:?}", error.source()));
    assert_eq!(found, want, "{name}");
}

#[test]
fn a_damaged_pool_is_read_as_far_as_it_goes_and_never_changed() {
    for Case { name, image, .. } in cases() {
        let Ok((mut pool, _)) = Pool::open_damaged(Disk::from_image(&image)) else {
            assert!(name.starts_with("sb "), "{name}: not even opened for reading");
            continue;
        };
        let ids: Vec<_> = pool.device_ids().collect();
        for id in ids {
            drop(pool.lookup(id, 0..5000));
            drop(pool.allocated(id, 0, 5));
            assert!(matches!(pool.plan_write(id, 0), Err(ThinError::ReadOnly)), "{name}");
            assert!(matches!(pool.discard(id, 0..9), Err(ThinError::ReadOnly)), "{name}");
            assert!(pool.delete(id).is_err() && pool.begin_delete(id).is_err(), "{name}");
        }
        assert!(pool.create(ThinId(77)).is_err(), "{name}");
        assert!(pool.begin_commit(umbra_thin::LogUse::Empty).is_err(), "{name}");
    }
}

/// Where the block of a kind that `find` wants is, by its bytes.
fn first_block(image: &[u8], find: impl Fn(u64, &[u8]) -> bool) -> u64 {
    (1..image.len() as u64 / 4096).find(|n| find(*n, &image[*n as usize * 4096..][..4096])).unwrap()
}

#[test]
fn what_is_lost_is_named_and_the_rest_is_served() {
    let image = image("writer/mid");
    let mut whole = Pool::open(Disk::from_image(&image)).unwrap();
    let superblock = whole.superblock().clone();
    let ids: Vec<_> = whole.device_ids().collect();
    let healthy = whole.mappings(ids[0], 0..5000).unwrap();
    // A mapping leaf of the first device: its keys are lost, for the devices that share it, and no others.
    let mut leaf = Vec::new();
    let keys = whole.leaf(ids[0], 0, &mut leaf).unwrap();
    let bytes: Vec<u8> = leaf.iter().take(3).flat_map(|(_, to)| to.pack().to_le_bytes()).collect();
    let block = first_block(&image, |_, page| page[2048..].starts_with(&bytes));
    let mut bad = image.clone();
    bad[block as usize * 4096 + 2100] ^= 1;
    let (mut pool, errors) = Pool::open_damaged(Disk::from_image(&bad)).unwrap();
    assert!(errors.is_empty(), "mappings are read when they are asked for");
    let Err(ThinError::Damaged { lost, source }) = pool.lookup(ids[0], 0..5000) else {
        panic!("not noticed")
    };
    assert_eq!((lost.tree, lost.device, lost.block), (TreeName::Mappings, Some(ids[0]), block));
    assert_eq!(lost.keys, keys);
    assert!(matches!(*source, ThinError::Checksum { .. }));
    let rest: Vec<_> = healthy.iter().filter(|(at, _)| !keys.contains(at)).copied().collect();
    assert_eq!(pool.mappings(ids[0], keys.end..5000).unwrap(), rest);
    // Without its details a device is still served; without its space maps the whole pool is.
    for root in [superblock.details_root, superblock.data_map.bitmap_root, superblock.meta_map.bitmap_root] {
        let mut bad = image.clone();
        bad[root as usize * 4096 + 50] ^= 1;
        assert!(Pool::open(Disk::from_image(&bad)).is_err());
        let (mut pool, errors) = Pool::open_damaged(Disk::from_image(&bad)).unwrap();
        assert!(
            errors.iter().any(|error| matches!(error, ThinError::Damaged { lost, .. } if lost.block == root))
        );
        assert_eq!(pool.device_ids().collect::<Vec<_>>(), ids);
        assert_eq!(pool.mappings(ids[0], 0..5000).unwrap(), healthy);
        assert!(matches!(pool.create(ThinId(77)), Err(ThinError::ReadOnly)));
    }
    let mut bad = image;
    bad[superblock.mapping_root as usize * 4096 + 50] ^= 1;
    let (pool, errors) = Pool::open_damaged(Disk::from_image(&bad)).unwrap();
    assert_eq!((pool.device_ids().count(), errors.is_empty()), (0, false));
}

/// A write planned and entered beside damage does not stop the pool.
#[test]
fn a_damaged_leaf_stops_only_what_needs_it() {
    let image = image("writer/mid");
    let mut whole = Pool::open(Disk::from_image(&image)).unwrap();
    let id = whole.device_ids().next().unwrap();
    let mut leaf = Vec::new();
    let keys = whole.leaf(id, 0, &mut leaf).unwrap();
    let bytes: Vec<u8> = leaf.iter().take(3).flat_map(|(_, to)| to.pack().to_le_bytes()).collect();
    let block = first_block(&image, |_, page| page[2048..].starts_with(&bytes));
    let mut bad = image;
    bad[block as usize * 4096 + 2100] ^= 1;
    let mut pool = Pool::open(Disk::from_image(&bad)).unwrap();
    assert!(matches!(pool.plan_write(id, keys.start), Err(ThinError::Damaged { .. })));
    assert!(matches!(pool.discard(id, 0..5000), Err(ThinError::Damaged { .. })));
    pool.begin_delete(id).unwrap();
    while let Ok(step) = pool.delete_step(1) {
        assert!(step.left, "the damaged leaf was passed over");
    }
    pool.create(ThinId(900)).unwrap();
    let Plan::Fresh { to } = pool.plan_write(ThinId(900), 3).unwrap() else { panic!("mapped already") };
    pool.finish_write(ThinId(900), 3, to).unwrap();
}
