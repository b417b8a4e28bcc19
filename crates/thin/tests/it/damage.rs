//! Damaged pools: never a panic, never a walk without end, always an error that names the place.

use crate::{disk::Disk, golden};
use proptest::prelude::*;
use std::sync::OnceLock;
use umbra_thin::{LogUse, Plan, Pool, Snapshot, ThinError, ThinId};

/// A golden pool with trees of two levels, snapshots and counts up to four.
fn image() -> &'static Vec<u8> {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| golden::image("writer/mid"))
}

/// Gives a damaged block the checksum that it had a right to, whatever kind it was.
pub fn reseal(block: &mut [u8], before: &[u8]) {
    let raw = |block: &[u8]| !crc32c::crc32c(&block[4..]);
    let old = u32::from_le_bytes(before[..4].try_into().unwrap());
    let salt = old ^ raw(before);
    let checksum = raw(block) ^ salt;
    block[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// Everything that a driver does, as far as the pool lets it.
fn use_pool(disk: Disk) -> Result<(), ThinError> {
    let mut pool = Pool::open(disk.clone())?;
    pool.superblock().check_writable()?;
    pool.check_sizes(1024, 1 << 30)?;
    let ids: Vec<_> = pool.device_ids().collect();
    for id in &ids {
        drop(pool.lookup(*id, 0..5000));
    }
    let pairs: Vec<_> =
        ids.iter().zip(9000..).map(|(id, copy)| Snapshot { origin: *id, copy: ThinId(copy) }).collect();
    drop(pool.snapshot(&pairs));
    for id in &ids {
        for vblock in [0, 7, 300, 1000] {
            match pool.plan_write(*id, vblock) {
                Ok(Plan::Fresh { to } | Plan::Copy { to, .. }) => drop(pool.finish_write(*id, vblock, to)),
                Ok(Plan::InPlace(_)) | Err(_) => {}
            }
        }
        drop(pool.discard(*id, 5..400));
    }
    let commit = pool.begin_commit(LogUse::Empty)?;
    disk.write(&commit);
    pool.commit_durable(commit.transaction);
    ids.iter().try_for_each(|id| pool.delete(*id).map(drop))?;
    pool.begin_commit(LogUse::Empty).map(drop)
}

/// The image with one mapping said of its first device, and that device.
fn with_a_wrong_count(image: &[u8]) -> (Vec<u8>, ThinId) {
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
    // The superblock's root of the details, a leaf: a header of 32 bytes, the keys, values that begin with the count.
    let leaf = word(328) as usize * 4096;
    let keys = u32::from_le_bytes(image[leaf + 20..leaf + 24].try_into().unwrap()) as usize;
    let count = leaf + 32 + keys * 8;
    assert!(word(count) > 1);
    let mut damaged = image.to_vec();
    damaged[count..count + 8].copy_from_slice(&1u64.to_le_bytes());
    let range = leaf..leaf + 4096;
    reseal(&mut damaged[range.clone()], &image[range]);
    (damaged, ThinId(word(leaf + 32) as u32))
}

#[test]
fn a_device_with_more_mappings_than_it_counts_loses_none_and_the_pool_goes_on() {
    let image = image();
    let (damaged, id) = with_a_wrong_count(image);
    let mut pool = Pool::open(Disk::from_image(&damaged)).unwrap();
    let before = pool.lookup(id, 0..5000).unwrap();
    let error = pool.discard(id, 0..5000).unwrap_err();
    assert!(matches!(error, ThinError::Damaged { .. }), "{error}");
    assert_eq!(pool.lookup(id, 0..5000).unwrap(), before);
    pool.create(ThinId(9000)).unwrap();
    pool.begin_commit(LogUse::Empty).map(drop).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_pool_is_refused_or_used_but_never_a_panic(
        damage in prop::collection::vec((0..60usize, 4..4096usize, any::<u8>()), 1..4),
        sealed in any::<bool>(),
    ) {
        let image = image();
        let mut damaged = image.clone();
        for (block, at, byte) in damage {
            damaged[block * 4096 + at] = byte;
            if sealed {
                let range = block * 4096..(block + 1) * 4096;
                reseal(&mut damaged[range.clone()], &image[range]);
            }
        }
        drop(use_pool(Disk::from_image(&damaged)));
    }

    /// Headers are where damage hurts most.
    #[test]
    fn a_damaged_header_is_never_a_panic(
        damage in prop::collection::vec((0..60usize, 4..128usize, any::<u8>()), 1..6),
    ) {
        let image = image();
        let mut damaged = image.clone();
        for (block, at, byte) in damage {
            damaged[block * 4096 + at] = byte;
            let range = block * 4096..(block + 1) * 4096;
            reseal(&mut damaged[range.clone()], &image[range]);
        }
        drop(use_pool(Disk::from_image(&damaged)));
    }
}

#[test]
fn an_undamaged_pool_can_be_used() {
    let image = image();
    use_pool(Disk::from_image(image)).unwrap();
}
