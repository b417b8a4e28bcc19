//! Damage done on purpose: each case with the verdict that it deserves, and where and what the finding names.

use crate::support::{block_of, golden, json, nodes_below, seal};
use serde_json::Value;
use std::cell::RefCell;
use umbra_thin_check::{
    BlockKind, Expect, Finding, LOG_FEATURE, Listing, MemoryImage, Problem, Report, Runs, Severity, Use,
    Version, check, check_watched, for_each_mapping, limits::DEVICES_NAMED,
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

/// A case of damage and the verdict that it deserves.
struct Case {
    name: String,
    image: MemoryImage,
    verdict: String,
    /// Whether thin_check 1.3.3 complains.
    tool_complains: bool,
}

/// The recorded cases, and some that were added here.
fn cases() -> Vec<Case> {
    let base = golden("writer/mid");
    let recorded = json("bad/cases.json");
    let recorded = recorded.as_array().unwrap().iter().map(|case| Case {
        name: case["name"].as_str().unwrap().to_owned(),
        image: patched(&base, case),
        verdict: case["expect"].as_str().unwrap().to_owned(),
        tool_complains: case["thin_check_1_3_3"] != 0,
    });
    let superblock = Listing::open(&base, Version::Live).unwrap().superblock;
    let added = [
        ("snapshotted_time back to 0", superblock.details_root, 1040 + 20, vec![0; 4]),
        ("device id of 25 bits", superblock.mapping_root, 32 + 3 * 8, (1u64 << 24).to_le_bytes().to_vec()),
        ("two devices with one root", superblock.mapping_root, 2048, root_of_second(&base)),
        ("held root beyond the end", 0, 56, (1u64 << 20).to_le_bytes().to_vec()),
        ("held root is a tree node", 0, 56, superblock.details_root.to_le_bytes().to_vec()),
        ("details tree is the top-level tree", 0, 328, superblock.mapping_root.to_le_bytes().to_vec()),
        (
            "data map is the metadata map's overflow tree",
            0,
            64 + 16,
            superblock.metadata_map.overflow_root.to_le_bytes().to_vec(),
        ),
        ("data block size 0", 0, 336, vec![0; 4]),
        ("data map ends before the last mapping", 0, 64, 100u64.to_le_bytes().to_vec()),
        ("metadata map of no blocks", 0, 192, vec![0; 8]),
        ("time of the pool back to 0", 0, 44, vec![0; 4]),
    ];
    let added = added.into_iter().map(|(name, block, offset, bytes)| Case {
        name: name.to_owned(),
        image: changed(&base, block, offset, &bytes),
        verdict: "error".to_owned(),
        tool_complains: false,
    });
    recorded.chain(added).collect()
}

fn root_of_second(base: &MemoryImage) -> Vec<u8> {
    let second = Listing::open(base, Version::Live).unwrap().devices().nth(1).unwrap().unwrap();
    second.root.to_le_bytes().to_vec()
}

fn changed(base: &MemoryImage, block: u64, offset: usize, bytes: &[u8]) -> MemoryImage {
    let mut image = base.clone();
    let block = block_of(&mut image, block as usize);
    let kind = BlockKind::of(block).unwrap();
    block[offset..offset + bytes.len()].copy_from_slice(bytes);
    seal(block, kind);
    image
}

/// All cases are judged before any is complained of, so that a mistake shows in full.
#[test]
fn every_case_of_damage_gets_its_verdict_and_none_that_thin_check_finds_passes() {
    let cases = cases();
    assert_eq!(cases.len(), 48 + 11);
    let mut wrong = Vec::new();
    for Case { name, image, verdict, tool_complains } in cases {
        let report = check(&image, Expect::default());
        let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        let said = report.verdict();
        if said.to_string() != verdict || (tool_complains && said == Severity::Ok) {
            wrong.push(format!("{name}: {said} where {verdict} is right: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{} cases are misjudged:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn damage_that_devices_share_names_each_of_them() {
    // Every node below a root is lost in turn: the devices named are those that cannot list their mappings.
    for name in ["writer/mid", "kernel/snaps", "writer/fuzz5"] {
        let base = golden(name);
        let roots: Vec<u64> =
            Listing::open(&base, Version::Live).unwrap().devices().map(|d| d.unwrap().root).collect();
        let nodes = nodes_below(&base, &roots);
        assert!(!nodes.is_empty(), "{name}");
        for block in nodes {
            let mut image = base.clone();
            block_of(&mut image, block as usize)[200] ^= 1;
            let report = check(&image, Expect::default());
            let finding = report.findings.iter().find(|f| {
                matches!(f.problem, Problem::BadChecksum { .. }) && f.tree.unwrap().version == Version::Live
            });
            let mut named = finding.map(|finding| finding.devices.clone()).unwrap_or_default();
            named.sort_unstable();
            let listing = Listing::open(&image, Version::Live).unwrap();
            let lost = listing
                .devices()
                .map(Result::unwrap)
                .filter(|d| Runs::below(&image, d.root).any(|run| run.is_err()));
            assert_eq!(named, lost.map(|device| device.id).collect::<Vec<_>>(), "{name} block {block}");
        }
    }
}

#[test]
fn a_lost_node_of_the_top_level_tree_names_the_devices_that_are_lost_with_it() {
    let base = golden("restore/manydev");
    let sound = check(&base, Expect::default()).summary.unwrap();
    let nodes = nodes_below(&base, &[sound.superblock.mapping_root]);
    assert!(nodes.len() > 2, "more than a root");
    for block in nodes {
        let mut image = base.clone();
        block_of(&mut image, block as usize)[200] ^= 1;
        let report = check(&image, Expect::default());
        let in_list = |finding: &&Finding| finding.tree.is_some_and(|tree| tree.kind == Use::TopLevel);
        let finding = report.findings.iter().find(in_list).unwrap();
        let keys = finding.keys.clone().unwrap();
        let gone: Vec<u64> = sound.devices.keys().copied().filter(|id| keys.contains(id)).collect();
        assert!(!gone.is_empty());
        assert_eq!(finding.devices, gone[..gone.len().min(DEVICES_NAMED)], "{finding}");
        assert_eq!(report.summary.unwrap().lost, gone);
    }
}

#[test]
fn a_pool_behind_its_log_is_sound_to_those_who_know_logs() {
    let image = changed(&golden("writer/mid"), 0, 360, &LOG_FEATURE.to_le_bytes());
    let report = check(&image, Expect { known_features: LOG_FEATURE, ..Expect::default() });
    assert_eq!((report.verdict(), report.findings.total()), (Severity::Ok, 0));
    assert!(report.summary.unwrap().superblock.behind_log());
    assert_eq!(check(&image, Expect::default()).verdict(), Severity::Error);
}

#[test]
fn progress_grows_and_ends_within_what_is_expected() {
    let image = golden("restore/manydev");
    let told = RefCell::new(Vec::new());
    check_watched(&image, Expect::default(), &|progress| told.borrow_mut().push(progress));
    let told = told.into_inner();
    assert!(!told.is_empty());
    assert!(told.windows(2).all(|pair| pair[0].done < pair[1].done), "{told:?}");
    assert!(told.iter().all(|progress| progress.done <= progress.expected), "{told:?}");
}

fn case(name: &str) -> Report {
    let cases = json("bad/cases.json");
    let case = cases.as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
    check(&patched(&golden("writer/mid"), case), Expect::default())
}

#[test]
fn a_lost_leaf_names_its_path_and_the_keys_that_it_costs() {
    let report = case("node csum broken");
    let finding = report.findings.iter().find(|f| matches!(f.problem, Problem::BadChecksum { .. })).unwrap();
    let tree = finding.tree.unwrap();
    assert_eq!((tree.kind, tree.version, tree.device.is_some()), (Use::Mapping, Version::Live, true));
    assert_eq!((finding.block, finding.path.len(), finding.path.last()), (Some(41), 2, Some(&41)));
    let keys = finding.keys.clone().unwrap();
    let image = golden("writer/mid");
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
    let cases = cases();
    let case = cases.iter().find(|case| case.name == "snapshotted_time back to 0").unwrap();
    let report = check(&case.image, Expect::default());
    assert!(report.findings.iter().any(|f| matches!(f.problem, Problem::PrivateButShared { .. })));
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
    let mut image = golden("writer/mid");
    let block = block_of(&mut image, 0);
    block[360] = 2;
    seal(block, BlockKind::Superblock);
    assert_eq!(check(&image, Expect::default()).verdict(), Severity::Error);
    assert_eq!(check(&image, Expect { known_features: 2, ..Expect::default() }).verdict(), Severity::Ok);
    assert_eq!(check(&image, Expect { known_features: 1, ..Expect::default() }).verdict(), Severity::Error);
}
