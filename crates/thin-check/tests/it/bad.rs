//! Damage done on purpose: each case with the verdict that it deserves, and where and what the finding names.

use crate::support::{block_of, golden, json, seal};
use serde_json::Value;
use umbra_thin_check::{
    BlockKind, Expect, MemoryImage, Problem, Report, Severity, Use, Version, check, for_each_mapping,
};

fn patched(base: &MemoryImage, case: &Value) -> MemoryImage {
    let mut bytes = base.0.clone();
    for patch in case["patches"].as_array().unwrap() {
        let (offset, text) = (patch[0].as_u64().unwrap() as usize, patch[1].as_str().unwrap());
        for (index, digits) in text.as_bytes().chunks(2).enumerate() {
            let digits = std::str::from_utf8(digits).unwrap();
            bytes[offset + index] = u8::from_str_radix(digits, 16).unwrap();
        }
    }
    bytes.resize(case["length"].as_u64().unwrap() as usize, 0);
    MemoryImage(bytes)
}

#[test]
fn every_case_of_damage_gets_its_verdict() {
    let base = golden("writer/mid").unwrap();
    let cases = json("bad/cases.json");
    assert_eq!(cases.as_array().unwrap().len(), 48);
    for case in cases.as_array().unwrap() {
        let report = check(&patched(&base, case), Expect::default());
        let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert_eq!(report.verdict().to_string(), case["expect"], "{}: {found:#?}", case["name"]);
    }
}

fn case(name: &str) -> Report {
    let cases = json("bad/cases.json");
    let case = cases.as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
    check(&patched(&golden("writer/mid").unwrap(), case), Expect::default())
}

#[test]
fn a_lost_leaf_names_its_path_and_the_keys_that_it_costs() {
    let report = case("node csum broken");
    let finding = report.findings.iter().find(|f| matches!(f.problem, Problem::BadChecksum { .. })).unwrap();
    let tree = finding.tree.unwrap();
    assert_eq!((tree.kind, tree.version, tree.device.is_some()), (Use::Mapping, Version::Live, true));
    assert_eq!((finding.block, finding.path.len(), finding.path.last()), (Some(41), 2, Some(&41)));
    let keys = finding.keys.clone().unwrap();
    let image = golden("writer/mid").unwrap();
    let mut leaf_keys = Vec::new();
    for_each_mapping(&image, 41, &mut |mapping| leaf_keys.push(mapping.virtual_block)).unwrap();
    assert!(leaf_keys.iter().all(|key| keys.contains(key)), "{keys:?} must hold {leaf_keys:?}");
    assert!(report.into_result().unwrap_err().message().contains("block 41"));
}

#[test]
fn a_lost_leaf_is_not_mistaken_for_leaked_space() {
    let report = case("node csum broken");
    let too_high = |problem: &Problem| matches!(problem, Problem::CountTooHigh { .. });
    assert!(!report.findings.iter().any(|finding| too_high(&finding.problem)));
}

#[test]
fn a_private_looking_mapping_of_a_shared_block_is_found() {
    // Let the first device forget its snapshots: the kernel would now overwrite what they share in place.
    let mut image = golden("writer/mid").unwrap();
    let details_root = check(&image, Expect::default()).summary.unwrap().superblock.details_root;
    let block = block_of(&mut image, details_root as usize);
    let snapshotted_time = 1040 + 20;
    block[snapshotted_time..snapshotted_time + 4].fill(0);
    seal(block, BlockKind::Node);
    let report = check(&image, Expect::default());
    assert!(report.findings.iter().any(|f| matches!(f.problem, Problem::PrivateButShared { .. })));
    assert_eq!(report.verdict(), Severity::Error);
}

#[test]
fn a_pool_never_formatted_is_told_from_a_broken_one() {
    let report = check(&MemoryImage(vec![0; 1 << 20]), Expect::default());
    assert_eq!(report.findings.iter().next().unwrap().problem, Problem::Unformatted);
    assert_eq!(report.verdict(), Severity::Error);
    assert!(report.summary.is_none());
    assert_eq!(check(&MemoryImage(Vec::new()), Expect::default()).verdict(), Severity::Error);
}

#[test]
fn features_that_the_caller_knows_are_no_surprise() {
    let mut image = golden("writer/mid").unwrap();
    let block = block_of(&mut image, 0);
    block[360] = 2;
    seal(block, BlockKind::Superblock);
    assert_eq!(check(&image, Expect::default()).verdict(), Severity::Error);
    assert_eq!(check(&image, Expect { known_features: 2, ..Expect::default() }).verdict(), Severity::Ok);
    assert_eq!(check(&image, Expect { known_features: 1, ..Expect::default() }).verdict(), Severity::Error);
}
