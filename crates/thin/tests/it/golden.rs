//! Pools made by kernels, LVM, thin_restore and by another engine: read as expected, written to, handed back.
//! Their metadata lies packed in the project's `testdata`.

use crate::disk::Disk;
use sha2::{Digest, Sha256};
use std::{fs::File, io::Read, path::Path};
use umbra_thin::{LogUse, Owner, Plan, Pool, Snapshot, ThinId};

/// A file of the project's collection.
pub fn kept(name: &str) -> File {
    File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/dm-thin").join(name)).unwrap()
}

/// The unpacked image.
pub fn image(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packed = kept(&format!("{name}.bin.zst"));
    ruzstd::decoding::StreamingDecoder::new(packed).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// What is known of each golden pool.
pub fn expected() -> serde_json::Value {
    serde_json::from_reader(kept("expected.json")).unwrap()
}

#[test]
fn golden_pools_read_as_expected() {
    for (name, want) in expected().as_object().unwrap() {
        let image = image(name);
        let mut pool = Pool::open(Disk::from_image(&image)).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (id, want) in want["devices"].as_object().unwrap() {
            let id = ThinId(id.parse().unwrap());
            let details = pool.details(id).unwrap();
            assert_eq!(details.mapped_blocks, want["mapped_blocks"].as_u64().unwrap(), "{name} {id}");
            let (hash, count) = hash_mappings(&mut pool, id);
            assert_eq!(count, details.mapped_blocks, "{name} {id}");
            assert_eq!(hash, want["mappings_sha256"].as_str().unwrap(), "{name} {id}");
        }
        assert_eq!(pool.data_fill().used, want["allocated_counted"]["data"].as_u64().unwrap(), "{name}");
    }
}

#[test]
fn golden_pools_are_written_to_and_handed_back() {
    for (name, want) in expected().as_object().unwrap() {
        use_and_close(name, &image(name), want);
    }
}

/// A session as a driver has it: a crash in it, a clean end.
fn use_and_close(name: &str, image: &[u8], want: &serde_json::Value) {
    let disk = Disk::from_image(image);
    let mut pool = Pool::open(disk.clone()).unwrap();
    let found = pool.superblock().clone();
    assert_eq!(pool.owner(), Owner::Foreign, "{name}");
    found.check_writable().unwrap();
    pool.check_sizes(image.len() as u64 / 4096, found.data_map.nr_blocks).unwrap();
    let ids: Vec<_> = pool.device_ids().collect();
    pool.create(ThinId(7_000_000)).unwrap();
    write_all(&mut pool, ThinId(7_000_000), 0..40);
    for (id, n) in ids.iter().take(4).zip(8_000_000..) {
        pool.snapshot(&[Snapshot { origin: *id, copy: ThinId(n) }]).unwrap();
        write_all(&mut pool, *id, 0..30);
        pool.discard(*id, 10..1500).unwrap();
    }
    let commit = pool.begin_commit(LogUse::MayHoldWrites { boot: [1; 16] }).unwrap();
    disk.write(&commit);
    let mut pool = Pool::open(disk.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((pool.owner(), pool.generation()), (Owner::Foreign, 1), "{name}: a crash is known as one");
    if let Some(id) = ids.first() {
        pool.delete(*id).unwrap();
    }
    if found.held_root != 0 {
        assert!(!pool.held_devices().unwrap().is_empty());
        disk.commit(&mut pool);
        disk.check_twice();
        pool.release_metadata_snapshot().unwrap();
    }
    disk.commit(&mut pool);
    disk.check_twice();
    let pool = Pool::open(disk).unwrap();
    let left = pool.superblock();
    assert_eq!(
        (left.trans_id, left.version, left.uuid, left.incompat, left.nr_meta_blocks),
        (found.trans_id, found.version, found.uuid, found.incompat, found.nr_meta_blocks),
        "{name}"
    );
    assert_eq!(left.trans_id, want["superblock"]["trans_id"].as_u64().unwrap(), "{name}");
}

/// Writes these blocks, as far as there is room.
pub fn write_all(pool: &mut Pool<Disk>, id: ThinId, range: std::ops::Range<u64>) {
    for vblock in range {
        match pool.plan_write(id, vblock) {
            Ok(Plan::Fresh { to } | Plan::Copy { to, .. }) => pool.finish_write(id, vblock, to).unwrap(),
            Ok(Plan::InPlace(_)) => {}
            Err(error) => assert!(error.is_full(), "{error}"),
        }
    }
}

fn hash_mappings(pool: &mut Pool<Disk>, id: ThinId) -> (String, u64) {
    let (mut hash, mut count) = (Sha256::new(), 0);
    for start in (0..1 << 24).step_by(1 << 20) {
        for (vblock, value) in pool.mappings(id, start..start + (1 << 20)).unwrap() {
            hash.update(vblock.to_le_bytes());
            hash.update(value.pack().to_le_bytes());
            count += 1;
        }
    }
    let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    (hex, count)
}
