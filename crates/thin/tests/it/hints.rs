//! Fields that say what the bitmaps say already, and that no tool holds against them: whatever they say is not believed
//! when a pool is opened, and the next commit writes them right.

use crate::{damage::reseal, disk::Disk, golden::image, pools::write};
use umbra_thin::{Pool, ThinId};
use umbra_thin_check::MapSummary;

/// A field that is a hint: where it stands, how wide it is, what it may not say but says.
struct Hint {
    name: &'static str,
    block: u64,
    at: usize,
    bytes: usize,
    wrong: Vec<u64>,
}

/// Every hint of the pool. Free entries before the first free one may be told too low, which costs a search only.
fn hints(image: &[u8]) -> Vec<Hint> {
    let superblock = Pool::open(Disk::from_image(image)).unwrap().superblock().clone();
    let (data, meta) = (superblock.data_map, superblock.meta_map);
    let any = |exact: u64| [0, exact - 1, exact + 1, u64::from(u32::MAX)].to_vec();
    let index = data.bitmap_root as usize * 4096;
    let values = 32 + 8 * word(image, index + 20, 4) as usize;
    let mut hints = vec![
        Hint { name: "data allocated", block: 0, at: 72, bytes: 8, wrong: any(data.nr_allocated) },
        Hint { name: "metadata allocated", block: 0, at: 200, bytes: 8, wrong: any(meta.nr_allocated) },
    ];
    for (name, block, entry) in [
        ("first data bitmap", data.bitmap_root, values),
        ("second data bitmap", data.bitmap_root, values + 16),
        ("metadata bitmap", meta.bitmap_root, 16),
    ] {
        let exact = |at| word(image, block as usize * 4096 + at, 4);
        let later = [exact(entry + 12) + 1, 16_320, u64::from(u32::MAX)].to_vec();
        hints.push(Hint { name, block, at: entry + 8, bytes: 4, wrong: any(exact(entry + 8)) });
        hints.push(Hint { name, block, at: entry + 12, bytes: 4, wrong: later });
    }
    hints
}

fn word(image: &[u8], at: usize, bytes: usize) -> u64 {
    image[at..at + bytes].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The image with one hint that says `value`.
fn with_hint(image: &[u8], hint: &Hint, value: u64) -> Vec<u8> {
    let mut damaged = image.to_vec();
    let range = hint.block as usize * 4096..(hint.block as usize + 1) * 4096;
    let block = &mut damaged[range.clone()];
    block[hint.at..hint.at + hint.bytes].copy_from_slice(&value.to_le_bytes()[..hint.bytes]);
    reseal(block, &image[range]);
    damaged
}

/// What the superblock says, what the bitmaps say, and how many blocks there are pointers to.
fn counts(map: &MapSummary) -> [u64; 3] {
    [map.allocated_stored, map.allocated, map.reference_counts.values().sum()]
}

#[test]
fn hints_are_not_believed_at_open_and_the_next_commit_writes_them_right() {
    let image = image("writer/mid");
    let sound = Pool::open(Disk::from_image(&image)).unwrap();
    let (data, metadata) = (sound.data_fill(), sound.metadata_fill());
    for (hint, value) in hints(&image).iter().flat_map(|hint| hint.wrong.iter().map(move |v| (hint, *v))) {
        let what = format!("{} at {}: {value}", hint.name, hint.at);
        let disk = Disk::from_image(&with_hint(&image, hint, value));
        assert!(disk.try_check().is_err(), "{what}: nothing is wrong");
        let mut pool = Pool::open(disk.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((pool.data_fill(), pool.metadata_fill()), (data, metadata), "{what}");
        // Of the data, this commit has nothing to say but that.
        pool.create(ThinId(77)).unwrap();
        disk.commit(&mut pool);
        disk.try_check().unwrap_or_else(|found| panic!("{what}: {found}"));
        let now = disk.summary();
        assert_eq!(counts(&now.data), [data.used; 3], "{what}");
        let [stored, rest @ ..] = counts(&now.metadata);
        assert_eq!(rest, [stored; 2], "{what}");
        write(&mut pool, 77, 5).unwrap();
        disk.commit(&mut pool);
        assert_eq!(counts(&disk.summary().data), [data.used + 1; 3], "{what}");
    }
}
