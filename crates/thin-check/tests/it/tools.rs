//! Listings against the tools of others: the XML that stands beside the golden pools, and what the installed
//! thin-provisioning-tools print of them.

use crate::support::{golden, goldens, packed_text};
use std::{collections::BTreeMap, fs, process::Command};
use tempfile::NamedTempFile;
use umbra_thin_check::{
    Delta, Expect, Listing, MemoryImage, Version, check,
    xml::{self, Dump, Telling},
};

fn dump(image: &MemoryImage, version: Version, wish: Dump<'_>) -> String {
    let mut out = Vec::new();
    xml::dump(&mut out, &Listing::open(image, version).unwrap(), wish).unwrap();
    String::from_utf8(out).unwrap()
}

fn delta(image: &MemoryImage, [left, right]: [u64; 2], telling: Telling) -> String {
    let listing = Listing::open(image, Version::Live).unwrap();
    let roots = [left, right].map(|id| listing.device(id).unwrap().root);
    let mut out = Vec::new();
    let found = Delta::between(image, roots[0], roots[1], false).unwrap();
    xml::delta(&mut out, &listing, [left, right], found, telling).unwrap();
    String::from_utf8(out).unwrap()
}

fn file_of(image: &MemoryImage) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), &image.0).unwrap();
    file
}

/// What the tool prints of the metadata in `file`, if the tool is there.
fn tool(program: &str, file: &NamedTempFile, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).arg(file.path()).output() {
        Err(error) => {
            eprintln!("SKIPPED: {program} (package thin-provisioning-tools) does not run: {error}");
            None
        }
        Ok(output) => {
            assert!(output.status.success(), "{program} {args:?}: {output:?}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
    }
}

/// Panics at the first line that differs, and does not print megabytes.
fn assert_same(what: &str, ours: &str, theirs: &str) {
    let differing = ours.lines().zip(theirs.lines()).enumerate().find(|(_, (ours, theirs))| ours != theirs);
    if let Some((number, (ours, theirs))) = differing {
        panic!("{what}: line {}:\nours   {ours}\ntheirs {theirs}", number + 1);
    }
    assert!(ours == theirs, "{what}: {} bytes of ours, {} of theirs", ours.len(), theirs.len());
}

#[test]
fn a_dump_equals_the_one_that_was_kept_with_the_golden() {
    for (name, image) in goldens() {
        if name.starts_with("restore/") {
            continue; // the XML kept there is what the pool was made from
        }
        let kept = packed_text(&format!("{name}.xml"));
        assert_same(&name, &dump(&image, Version::Live, Dump::default()), &kept);
    }
}

#[test]
fn a_dump_of_the_metadata_snapshot_equals_the_one_that_was_kept() {
    let (image, kept) = (golden("kernel/held"), packed_text("kernel/held-snapshot.xml"));
    assert_same("held", &dump(&image, Version::Held, Dump::default()), &kept);
}

#[test]
fn dumps_equal_what_thin_dump_prints() {
    for (name, image) in goldens() {
        let file = file_of(&image);
        let Some(theirs) = tool("thin_dump", &file, &[]) else { return };
        assert_same(&name, &dump(&image, Version::Live, Dump::default()), &theirs);
        let bare = Dump { skip_mappings: true, ..Dump::default() };
        let theirs = tool("thin_dump", &file, &["--skip-mappings"]).unwrap();
        assert_same(&format!("{name}, bare"), &dump(&image, Version::Live, bare), &theirs);
        let Some(id) = ids(&image).last().copied() else { continue };
        let theirs = tool("thin_dump", &file, &["--dev-id", &id.to_string()]).unwrap();
        let one = Dump { only: &[id], ..Dump::default() };
        assert_same(&format!("{name}, device {id}"), &dump(&image, Version::Live, one), &theirs);
    }
}

fn ids(image: &MemoryImage) -> Vec<u64> {
    Listing::open(image, Version::Live).unwrap().devices().map(|device| device.unwrap().id).collect()
}

#[test]
fn deltas_equal_what_thin_delta_prints() {
    for (name, image) in goldens() {
        let (file, ids) = (file_of(&image), ids(&image));
        let pairs =
            ids.iter().zip(ids.iter().skip(1)).take(4).flat_map(|(a, b)| [[*a, *b], [*b, *a], [*a, *a]]);
        for pair in pairs {
            let [left, right] = pair.map(|id| id.to_string());
            for (telling, flags) in [(Telling::Short, &[][..]), (Telling::Verbose, &["--verbose"])] {
                let mut args = vec!["--thin1", &left, "--thin2", &right];
                args.extend(flags);
                let Some(theirs) = tool("thin_delta", &file, &args) else { return };
                assert_same(&format!("{name} {args:?}"), &delta(&image, pair, telling), &theirs);
            }
        }
    }
}

#[test]
fn exclusive_blocks_are_those_that_thin_ls_counts() {
    for (name, image) in goldens() {
        let fields = "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS";
        let Some(theirs) = tool("thin_ls", &file_of(&image), &["--no-headers", "-o", fields]) else { return };
        let rows = theirs.lines().map(|line| line.split_whitespace().map(|n| n.parse().unwrap()).collect());
        let theirs: BTreeMap<u64, Vec<u64>> = rows.map(|row: Vec<u64>| (row[0], row[1..].to_vec())).collect();
        let devices = check(&image, Expect::default()).summary.unwrap().devices;
        let row = |(id, device): (&u64, &umbra_thin_check::Device)| {
            let (mapped, exclusive) = (device.mapped_blocks.unwrap(), device.exclusive_blocks.unwrap());
            (*id, vec![mapped, exclusive, mapped - exclusive])
        };
        assert_eq!(devices.iter().map(row).collect::<BTreeMap<_, _>>(), theirs, "{name}");
    }
}
