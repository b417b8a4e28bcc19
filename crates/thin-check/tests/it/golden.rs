//! Pools that are sound, and what must be found in them.

use crate::support::{golden, json};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use umbra_thin_check::{
    Device, Expect, FileImage, MapRoot, MapSummary, MemoryImage, Problem, ReadBlock, Severity, Summary,
    check, for_each_mapping,
};

fn each_golden(mut test: impl FnMut(&str, &Value, MemoryImage)) {
    for (name, expected) in json("expected.json").as_object().unwrap() {
        test(name, expected, golden(name));
    }
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn histogram(value: &Value) -> BTreeMap<u32, u64> {
    value
        .as_object()
        .unwrap()
        .iter()
        .map(|(count, n)| (count.parse().unwrap(), n.as_u64().unwrap()))
        .collect()
}

#[test]
fn sound_pools_have_no_findings() {
    each_golden(|name, _, image| {
        let report = check(&image, Expect::default());
        if name.starts_with("restore/") {
            // That tool leaves wrong hints behind; nothing worse.
            for finding in &report.findings {
                let hint = matches!(
                    finding.problem,
                    Problem::Allocated { .. }
                        | Problem::FreeHint { .. }
                        | Problem::FreeHintClipped { .. }
                        | Problem::SearchHint { .. }
                );
                assert!(hint, "{name}: {finding}");
            }
            assert_eq!(report.verdict(), Severity::Repairable, "{name}");
        } else {
            assert_eq!(report.findings.iter().next(), None, "{name}");
        }
    });
}

#[test]
fn summaries_hold_what_is_in_the_pools() {
    each_golden(|name, expected, image| {
        assert_eq!(hex(Sha256::digest(&image.0)), expected["sha256"], "{name}");
        assert_eq!(image.blocks(), expected["file_blocks"], "{name}");
        let summary = check(&image, Expect::default()).summary.unwrap();
        check_superblock(name, expected, &summary);
        check_map(name, &expected["data_sm"], &summary.superblock.data_map, &summary.data);
        check_map(name, &expected["metadata_sm"], &summary.superblock.metadata_map, &summary.metadata);
        assert_eq!(summary.data.allocated, expected["allocated_counted"]["data"], "{name}");
        assert_eq!(summary.metadata.allocated, expected["allocated_counted"]["metadata"], "{name}");
        assert_eq!(summary.data.reference_counts, histogram(&expected["data_ref_counts"]), "{name}");
        assert_eq!(summary.metadata.reference_counts, histogram(&expected["metadata_ref_counts"]), "{name}");
        check_levels(name, &expected["depths"], &summary);
        let devices = expected["devices"].as_object().unwrap();
        let number = expected["nr_devices"].as_u64().unwrap_or(devices.len() as u64);
        assert_eq!(summary.devices.len() as u64, number, "{name}");
        for (id, expected) in devices {
            check_device(
                &format!("{name} device {id}"),
                expected,
                &summary.devices[&id.parse().unwrap()],
                &image,
            );
        }
    });
}

fn check_superblock(name: &str, expected: &Value, summary: &Summary) {
    let (found, expected) = (&summary.superblock, &expected["superblock"]);
    let pairs = [
        ("flags", u64::from(found.flags)),
        ("version", found.version.into()),
        ("time", found.time.into()),
        ("trans_id", found.transaction_id),
        ("held_root", found.held_root),
        ("map_root", found.mapping_root),
        ("det_root", found.details_root),
        ("dbs", found.data_block_sectors.into()),
        ("nr_mb", found.metadata_blocks_at_format),
    ];
    for (field, found) in pairs {
        assert_eq!(found, expected[field], "{name}: {field}");
    }
    assert_eq!(summary.held.is_some(), expected["held_root"] != 0, "{name}");
}

fn check_map(name: &str, expected: &Value, root: &MapRoot, summary: &MapSummary) {
    assert_eq!(summary.blocks, expected["nr_blocks"], "{name}");
    assert_eq!(summary.allocated_stored, expected["nr_allocated"], "{name}");
    assert_eq!(root.index_root, expected["index_root"], "{name}");
    assert_eq!(root.overflow_root, expected["overflow_root"], "{name}");
}

fn check_levels(name: &str, expected: &Value, summary: &Summary) {
    let [top, details, map] = summary.levels;
    assert_eq!(top, expected["top"], "{name}");
    assert_eq!(details, expected["details"], "{name}");
    assert_eq!(map, expected["map"].as_u64().unwrap_or(0) as u32, "{name}");
    assert_eq!(summary.data.levels[0], expected["dataidx"], "{name}");
    assert_eq!(summary.data.levels[1], expected["dataover"], "{name}");
    assert_eq!(summary.metadata.levels[1], expected["metaover"], "{name}");
}

fn check_device(name: &str, expected: &Value, device: &Device, image: &MemoryImage) {
    let details = device.details.unwrap();
    assert_eq!(device.root, expected["root"], "{name}");
    assert_eq!(device.mapped_blocks.unwrap(), expected["mapped_blocks"], "{name}");
    assert_eq!(details.mapped_blocks, expected["mapped_blocks"], "{name}");
    assert_eq!(details.transaction_id, expected["transaction_id"], "{name}");
    assert_eq!(details.creation_time, expected["creation_time"], "{name}");
    assert_eq!(details.snapshotted_time, expected["snapshotted_time"], "{name}");
    let mut digest = Sha256::new();
    for_each_mapping(image, device.root, &mut |mapping| {
        digest.update(mapping.virtual_block.to_le_bytes());
        digest.update((mapping.data_block << 24 | u64::from(mapping.time)).to_le_bytes());
    })
    .unwrap();
    assert_eq!(hex(digest.finalize()), expected["mappings_sha256"], "{name}");
}

#[test]
fn a_file_is_read_like_memory() {
    let image = golden("writer/mid");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &image.0).unwrap();
    let from_file = check(&FileImage::open(file.path()).unwrap(), Expect::default());
    assert_eq!(from_file.verdict(), Severity::Ok);
    assert_eq!(from_file.summary.unwrap().devices, check(&image, Expect::default()).summary.unwrap().devices);

    std::fs::write(file.path(), [0; 100]).unwrap();
    let error = FileImage::open(file.path()).unwrap_err();
    assert_eq!(error.code(), umbra_base::ErrorCode::InvalidArgument);
}

#[test]
fn a_data_device_that_is_too_small_is_an_error() {
    let image = golden("writer/mid");
    for (blocks, verdict) in [(20_000, Severity::Ok), (19_999, Severity::Error)] {
        let expect = Expect { data_blocks: Some(blocks), ..Expect::default() };
        assert_eq!(check(&image, expect).verdict(), verdict, "{blocks} blocks");
    }
}
