//! Debian's thin-provisioning-tools on our pools: they list what we list. Where they are not installed, the tests say so.

use crate::{
    changes::changed,
    disk::Disk,
    pools::{fill, new_pool, snapshot},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};
use umbra_thin::{Difference, Pool, ThinId};

/// What a tool prints; `None` and a loud word where it is missing.
fn run(tool: &str, args: &[&str], file: &Path) -> Option<String> {
    match Command::new(tool).args(args).arg(file).output() {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).unwrap()),
        Ok(output) => panic!("{tool}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            eprintln!("SKIPPED: {tool} (thin-provisioning-tools): {error}");
            None
        }
    }
}

/// Three devices that share, differ and overlap, and a fourth that shares by [`Pool::share`].
fn pool_on_file() -> (Pool<Disk>, Disk, tempfile::NamedTempFile) {
    let (disk, mut pool) = new_pool(20_000, 1024);
    pool.create(ThinId(1)).unwrap();
    fill(&mut pool, 1, (0..5000).map(|i| i * 7 % 9000));
    snapshot(&mut pool, 1, 2);
    fill(&mut pool, 1, (0..400).map(|i| i * 23));
    fill(&mut pool, 2, 8000..8400);
    pool.discard(ThinId(2), 100..900).unwrap();
    snapshot(&mut pool, 2, 3);
    pool.create(ThinId(4)).unwrap();
    fill(&mut pool, 4, 0..50);
    pool.share(ThinId(1), 2000, ThinId(4), 40, 1000).unwrap();
    disk.commit(&mut pool);
    disk.check_twice();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), disk.image()).unwrap();
    (pool, disk, file)
}

fn number(line: &str, name: &str) -> Option<u64> {
    let at = line.find(&format!("{name}=\""))? + name.len() + 2;
    line[at..].split('"').next()?.parse().ok()
}

/// Device -> virtual block -> (data block, time).
type Listing = BTreeMap<u32, BTreeMap<u64, (u64, u64)>>;

fn ours(pool: &mut Pool<Disk>) -> Listing {
    let ids: Vec<_> = pool.device_ids().collect();
    let mut map = |id| {
        let all = pool.mappings(id, 0..1 << 20).unwrap();
        all.into_iter().map(|(vblock, to)| (vblock, (to.block, u64::from(to.time)))).collect()
    };
    ids.into_iter().map(|id| (id.0, map(id))).collect()
}

fn parse_dump(text: &str) -> Listing {
    let (mut all, mut device) = (Listing::new(), 0);
    for line in text.lines() {
        if let Some(id) = number(line, "dev_id") {
            device = id as u32;
            all.insert(device, BTreeMap::new());
        }
        let single = number(line, "origin_block").zip(number(line, "data_block")).map(|(v, d)| (v, d, 1));
        let range = number(line, "origin_begin").zip(number(line, "data_begin"));
        let range = range.map(|(v, d)| (v, d, number(line, "length").unwrap()));
        for (vblock, block, len) in single.into_iter().chain(range) {
            let time = number(line, "time").unwrap();
            let entries = (0..len).map(|i| (vblock + i, (block + i, time)));
            all.get_mut(&device).unwrap().extend(entries);
        }
    }
    all
}

#[test]
fn thin_dump_lists_our_mappings_also_after_thin_repair() {
    let (mut pool, disk, file) = pool_on_file();
    let Some(dump) = run("thin_dump", &[], file.path()) else { return };
    assert_eq!(parse_dump(&dump), ours(&mut pool));
    // Both space maps are lost; the trees have all it takes.
    let mut image = disk.image();
    for root in [pool.superblock().data_map.bitmap_root, pool.superblock().meta_map.bitmap_root] {
        image[root as usize * 4096 + 100] ^= 1;
    }
    std::fs::write(file.path(), image).unwrap();
    let repaired = tempfile::NamedTempFile::new().unwrap();
    repaired.as_file().set_len(disk.size() * 4096).unwrap();
    let input = file.path().to_str().unwrap();
    if run("thin_repair", &["-i", input, "-o"], repaired.path()).is_some() {
        let dump = run("thin_dump", &[], repaired.path()).unwrap();
        assert_eq!(parse_dump(&dump), ours(&mut pool));
        let mut reopened = Pool::open(Disk::from_image(&std::fs::read(repaired.path()).unwrap())).unwrap();
        assert_eq!(ours(&mut reopened), ours(&mut pool));
    }
}

#[test]
fn thin_delta_finds_the_differences_that_we_find() {
    let (mut pool, _, file) = pool_on_file();
    for (left, right) in [(1, 2), (2, 1), (2, 3), (1, 4), (4, 3)] {
        let args = ["--snap1", &left.to_string(), "--snap2", &right.to_string()];
        let Some(text) = run("thin_delta", &args, file.path()) else { return };
        let mut theirs = BTreeMap::new();
        for line in text.lines() {
            let kind = match line.trim_start() {
                line if line.starts_with("<different") => Difference::Different,
                line if line.starts_with("<left_only") => Difference::LeftOnly,
                line if line.starts_with("<right_only") => Difference::RightOnly,
                _ => continue,
            };
            let begin = number(line, "begin").unwrap();
            theirs.extend((begin..begin + number(line, "length").unwrap()).map(|at| (at, kind)));
        }
        let found = changed(&mut pool, ThinId(left).into(), ThinId(right).into(), 3);
        let found: BTreeMap<_, _> = found
            .iter()
            .flat_map(|run| (run.vblock..run.vblock + run.len).map(|at| (at, run.kind)))
            .collect();
        assert_eq!(found, theirs, "{left} {right}");
    }
}

#[test]
fn thin_ls_and_thin_rmap_agree_on_who_has_what() {
    let (mut pool, _, file) = pool_on_file();
    let all = ours(&mut pool);
    let mut users: BTreeMap<u64, BTreeSet<(u32, u64)>> = BTreeMap::new();
    for (id, map) in &all {
        for (vblock, (block, _)) in map {
            users.entry(*block).or_default().insert((*id, *vblock));
        }
    }
    let format = "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS";
    let Some(text) = run("thin_ls", &["--no-headers", "-o", format], file.path()) else { return };
    let rows: Vec<Vec<u64>> = text
        .lines()
        .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
        .collect();
    let want: Vec<_> = all
        .iter()
        .map(|(id, map)| {
            let exclusive = map.values().filter(|(block, _)| users[block].len() == 1).count() as u64;
            vec![u64::from(*id), map.len() as u64, exclusive, map.len() as u64 - exclusive]
        })
        .collect();
    assert_eq!(rows, want);
    let Some(text) = run("thin_rmap", &["--region", "0..20000"], file.path()) else { return };
    let mut theirs: BTreeMap<u64, BTreeSet<(u32, u64)>> = BTreeMap::new();
    for line in text.lines() {
        let numbers: Vec<u64> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        let [from, to, id, vblock, _] = numbers[..] else { panic!("thin_rmap: {line}") };
        for i in 0..to - from {
            theirs.entry(from + i).or_default().insert((id as u32, vblock + i));
        }
    }
    // The tool looks into a node that devices share for one of them only: it tells one owner at least, and no wrong one.
    assert!(
        theirs.iter().all(|(block, owners)| owners.is_subset(&users[block])),
        "thin_rmap tells a wrong owner"
    );
    assert!(theirs.keys().eq(users.keys()), "thin_rmap and we use different blocks");
    assert!(theirs.values().any(|owners| owners.len() > 1));
}
