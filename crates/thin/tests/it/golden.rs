//! Pools made by kernels, LVM, thin_restore and by another engine, compared with what a reader must find in them.
//! Their metadata lies in `tests/data`, packed; unpacking needs the `zstd` program.

use crate::disk::Disk;
use sha2::{Digest, Sha256};
use std::{path::Path, process::Command};
use umbra_thin::{Pool, ThinId};

fn unpack(path: &Path) -> Option<Vec<u8>> {
    match Command::new("zstd").arg("-dcq").arg(path).output() {
        Ok(output) if output.status.success() => Some(output.stdout),
        Ok(output) => panic!("zstd {}: {}", path.display(), String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            eprintln!("SKIPPED: golden pools: zstd: {error}");
            None
        }
    }
}

#[test]
fn golden_pools_read_as_expected() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let expected = std::fs::read_to_string(data.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let mut seen = 0;
    for (name, want) in expected.as_object().unwrap() {
        let path = data.join(format!("{name}.bin.zst"));
        if !path.exists() {
            continue;
        }
        let Some(image) = unpack(&path) else { return };
        check_pool(name, &image, want);
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} golden pools");
}

fn check_pool(name: &str, image: &[u8], want: &serde_json::Value) {
    let disk = Disk::from_image(image);
    let mut pool = Pool::open(disk.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let want_devices = want["devices"].as_object().unwrap();
    for (id, want) in want_devices {
        let id = ThinId(id.parse().unwrap());
        let details = pool.details(id).unwrap();
        assert_eq!(details.mapped_blocks, want["mapped_blocks"].as_u64().unwrap(), "{name} {id}");
        let (hash, count) = hash_mappings(&mut pool, id);
        assert_eq!(count, details.mapped_blocks, "{name} {id}");
        assert_eq!(hash, want["mappings_sha256"].as_str().unwrap(), "{name} {id}");
    }
    assert_eq!(pool.data_fill().used, want["allocated_counted"]["data"].as_u64().unwrap(), "{name}");
    // Changing them must leave them valid, too.
    if pool.superblock().held_root == 0 && pool.metadata_fill().free > 40 {
        let ids: Vec<_> = pool.device_ids().collect();
        for id in ids.iter().take(3) {
            pool.discard(*id, 0..5000).unwrap();
        }
        disk.commit(&mut pool);
        disk.check_twice();
        for id in ids.iter().take(5) {
            pool.delete(*id).unwrap();
        }
        disk.commit(&mut pool);
        disk.check_twice();
        assert!(!pool.is_changed());
        let reopened = Pool::open(disk).unwrap();
        assert_eq!(reopened.data_fill().used, pool.data_fill().used);
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
