//! What listings promise by themselves: changes cost what changed, and damage is an error and no panic.

use crate::support::{block_of, counted, golden, goldens, nodes_below, seal};
use std::collections::BTreeSet;
use umbra_base::ErrorCode;
use umbra_thin_check::{BlockKind, Comparison, Delta, Difference, Listing, MemoryImage, Runs, Version};

fn roots(image: &MemoryImage) -> Vec<u64> {
    Listing::open(image, Version::Live).unwrap().devices().map(|device| device.unwrap().root).collect()
}

fn all(delta: Delta<'_>) -> Vec<Difference> {
    delta.map(Result::unwrap).collect()
}

#[test]
fn only_changes_are_all_differences_but_what_is_the_same() {
    for (name, image) in goldens() {
        for pair in roots(&image).windows(2).take(6) {
            let whole = all(Delta::between(&image, pair[0], pair[1], false).unwrap());
            let changes = all(Delta::between(&image, pair[0], pair[1], true).unwrap());
            let differ = |run: &Difference| run.comparison != Comparison::Same;
            let expected: Vec<Difference> = whole.into_iter().filter(differ).collect();
            assert_eq!(changes, expected, "{name} {pair:?}");
        }
    }
}

#[test]
fn a_difference_looked_at_from_the_other_side_is_its_mirror_image() {
    for (name, image) in goldens() {
        for pair in roots(&image).windows(2).take(6) {
            let there = all(Delta::between(&image, pair[0], pair[1], false).unwrap());
            let back = all(Delta::between(&image, pair[1], pair[0], false).unwrap());
            assert_eq!(there.iter().map(mirrored).collect::<Vec<_>>(), back, "{name} {pair:?}");
        }
    }
}

fn mirrored(run: &Difference) -> Difference {
    let comparison = match run.comparison {
        Comparison::LeftOnly => Comparison::RightOnly,
        Comparison::RightOnly => Comparison::LeftOnly,
        alike => alike,
    };
    Difference { comparison, left: run.right, right: run.left, ..*run }
}

#[test]
fn subtrees_that_both_devices_share_are_not_read_for_changes() {
    let mut spared = 0;
    for (name, image) in goldens() {
        let roots: Vec<u64> = roots(&image).into_iter().take(12).collect();
        let nodes: Vec<BTreeSet<u64>> = roots.iter().map(|root| nodes_below(&image, &[*root])).collect();
        for (left, right) in (0..roots.len()).flat_map(|l| (0..l).map(move |r| (l, r))) {
            let own = nodes[left].symmetric_difference(&nodes[right]).count() as u64;
            spared += nodes[left].intersection(&nodes[right]).count();
            // To know how tall both trees are takes a way down each.
            let limit = own + 2 * 4;
            counted(&image, limit, |image| {
                let delta = Delta::between(image, roots[left], roots[right], true).unwrap();
                delta.for_each(|run| assert!(run.is_ok(), "{name}"));
            });
        }
    }
    assert!(spared > 100, "the golden pools share hardly anything ({spared}): nothing was shown");
}

#[test]
fn a_device_against_itself_costs_its_root_alone() {
    let image = golden("writer/mid");
    let root = roots(&image)[0];
    let reads = counted(&image, u64::MAX, |image| {
        assert_eq!(Delta::between(image, root, root, true).unwrap().count(), 0);
    });
    assert!(reads <= 4, "{reads} reads to find the height of a tree of two levels, twice");
}

#[test]
fn a_listing_of_a_damaged_tree_ends_with_an_error_that_names_the_block() {
    let mut image = golden("writer/mid");
    block_of(&mut image, 41)[100] ^= 1;
    let failed = |root: &u64| Runs::below(&image, *root).find_map(Result::err);
    let errors: Vec<_> = roots(&image).iter().filter_map(failed).collect();
    assert!(!errors.is_empty());
    for error in errors {
        assert_eq!(error.code(), ErrorCode::Corrupt);
        assert!(error.message().contains("block 41"), "{error}");
    }
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let image = golden("writer/mid");
    let listing = Listing::open(&image, Version::Live).unwrap();
    let error = listing.device(99).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ObjectNotFound);
    assert!(error.message().contains("99"), "{error}");
    let error = Listing::open(&image, Version::Held).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ObjectNotFound);
    assert!(error.message().contains("snapshot"), "{error}");
}

#[test]
fn a_device_that_only_one_tree_knows_is_an_error() {
    let mut image = golden("writer/mid");
    let details = Listing::open(&image, Version::Live).unwrap().superblock.details_root as usize;
    let block = block_of(&mut image, details);
    block[16] -= 1;
    seal(block, BlockKind::Node);
    let listing = Listing::open(&image, Version::Live).unwrap();
    let error = listing.devices().find_map(Result::err).unwrap();
    assert_eq!(error.code(), ErrorCode::Corrupt);
    assert_eq!(listing.devices().filter(Result::is_err).count(), 1, "it ends with the error");
}

#[test]
fn something_else_is_no_pool() {
    for bytes in [vec![0; 8192], vec![0x5A; 8192], Vec::new()] {
        let error = Listing::open(&MemoryImage(bytes), Version::Live).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Corrupt);
    }
}
