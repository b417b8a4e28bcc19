//! Images that lie: random changes with checksums made right again. Whatever they say, the check ends, within a bound
//! on reads that follows from the image's size, and nothing panics.

use crate::support::{block_of, counted, golden, seal};
use proptest::prelude::*;
use umbra_thin_check::{
    BlockKind, Delta, Expect, Listed, Listing, MemoryImage, Problem, ReadBlock, Severity, Version, check,
    for_each_mapping,
};

/// Checks the image under the bound, and lists whatever devices and mappings can be listed.
fn check_bounded(image: &MemoryImage) -> Severity {
    let limit = 16 * image.blocks() + 1000;
    let mut verdict = Severity::Ok;
    counted(image, limit, |image| {
        let report = check(image, Expect { data_blocks: Some(1000), known_features: 0 });
        report.findings.iter().for_each(|finding| drop(finding.to_string()));
        verdict = report.verdict();
    });
    for version in [Version::Live, Version::Held] {
        counted(image, limit, |counted| {
            let Ok(listing) = Listing::open(counted, version) else { return };
            list_bounded(image, limit, &listing.devices().map_while(Result::ok).collect::<Vec<_>>());
        });
    }
    verdict
}

/// Lists what each device maps, and what it has in common with the next.
fn list_bounded(image: &MemoryImage, limit: u64, devices: &[Listed]) {
    for device in devices.iter().take(20) {
        counted(image, limit, |image| {
            let _ = for_each_mapping(image, device.root, &mut |_| ());
        });
    }
    for pair in devices.windows(2).take(20) {
        for only_changes in [false, true] {
            counted(image, limit, |image| {
                if let Ok(delta) = Delta::between(image, pair[0].root, pair[1].root, only_changes) {
                    drop(delta.last());
                }
            });
        }
    }
}

/// One change: a block that has a kind, an offset in it, a value written there.
#[derive(Debug, Clone)]
struct Change {
    block: prop::sample::Index,
    offset: usize,
    bytes: Vec<u8>,
}

fn change() -> impl Strategy<Value = Change> {
    // Structure is where the lies are: headers, first keys, first values.
    let offset = prop_oneof![
        4 => 4usize..64,
        2 => 64usize..400,
        2 => 2048usize..2120,
        2 => 4usize..4088,
        1 => 1376usize..1424,
    ];
    let bytes = prop_oneof![
        3 => any::<u8>().prop_map(|byte| vec![byte]),
        2 => (0u64..600).prop_map(|small| small.to_le_bytes().to_vec()),
        1 => any::<u64>().prop_map(|word| word.to_le_bytes().to_vec()),
        1 => Just(vec![0xFF; 8]),
    ];
    (any::<prop::sample::Index>(), offset, bytes).prop_map(|(block, offset, bytes)| Change {
        block,
        offset,
        bytes,
    })
}

fn apply(image: &mut MemoryImage, changes: &[Change]) {
    let blocks = image.blocks() as usize;
    let kinds: Vec<_> = (0..blocks).map(|block| BlockKind::of(block_of(image, block))).collect();
    let used: Vec<usize> = (0..blocks).filter(|block| kinds[*block].is_some()).collect();
    for change in changes {
        let number = used[change.block.index(used.len())];
        let block = block_of(image, number);
        let end = (change.offset + change.bytes.len()).min(block.len());
        block[change.offset..end].copy_from_slice(&change.bytes[..end - change.offset]);
        seal(block, kinds[number].unwrap());
    }
}

fn lies_are_survived(name: &str) {
    let base = golden(name);
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(changes in prop::collection::vec(change(), 1..6))| {
        let mut image = base.clone();
        apply(&mut image, &changes);
        check_bounded(&image);
    });
}

#[test]
fn lies_in_a_pool_of_two_level_trees_are_survived() {
    lies_are_survived("writer/mid");
}

#[test]
fn lies_in_a_pool_with_a_metadata_snapshot_are_survived() {
    lies_are_survived("kernel/held");
}

#[test]
fn lies_in_a_pool_of_many_devices_are_survived() {
    lies_are_survived("restore/manydev");
}

#[test]
fn a_cut_off_image_is_survived() {
    let base = golden("writer/fuzz1");
    for blocks in (0..220).step_by(3) {
        let image = MemoryImage(base.0[..blocks * 4096].to_vec());
        assert_eq!(check_bounded(&image), Severity::Error, "{blocks} blocks");
    }
}

/// Makes internal node `number`'s first pointer lead to `to`.
fn point(image: &mut MemoryImage, number: usize, to: u64) {
    let block = block_of(image, number);
    block[2048..2056].copy_from_slice(&to.to_le_bytes());
    seal(block, BlockKind::Node);
}

fn an_internal_mapping_node(image: &mut MemoryImage) -> usize {
    let summary = check(image, Expect::default()).summary.unwrap();
    let roots = summary.devices.values().map(|device| device.root as usize);
    roots.into_iter().find(|root| block_of(image, *root)[4] == 1).unwrap()
}

#[test]
fn a_tree_that_loops_is_an_error_and_ends() {
    let mut image = golden("writer/mid");
    let node = an_internal_mapping_node(&mut image);
    point(&mut image, node, node as u64);
    let report = check(&image, Expect::default());
    assert!(report.findings.iter().any(|finding| finding.problem == Problem::Loop));
    check_bounded(&image);
}

#[test]
fn a_block_used_as_two_things_is_an_error() {
    for victim in [0, 66, 68] {
        // The superblock, the data index tree, the metadata index block.
        let mut image = golden("writer/mid");
        let node = an_internal_mapping_node(&mut image);
        point(&mut image, node, victim);
        let report = check(&image, Expect::default());
        assert!(
            report.findings.iter().any(|f| matches!(f.problem, Problem::TwoUses { .. })),
            "block {victim}"
        );
    }
}

#[test]
fn sizes_beyond_all_bounds_are_errors_and_cost_nothing() {
    for (offset, field) in [(64, "data blocks"), (192, "metadata blocks")] {
        for size in [u64::MAX, 1 << 40, 1 << 63] {
            let mut image = golden("writer/mid");
            let block = block_of(&mut image, 0);
            block[offset..offset + 8].copy_from_slice(&size.to_le_bytes());
            seal(block, BlockKind::Superblock);
            assert_eq!(check_bounded(&image), Severity::Error, "{field} {size}");
        }
    }
}
