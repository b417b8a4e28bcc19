//! Sound pools to start from, made by the engine itself: each has forms that the others lack.
//!
//! They are made once in a process. The checker looks at each, so that a fuzzer never starts from damage unknowingly.

use crate::disk::{Disk, Pages, blank};
use std::sync::OnceLock;
use umbra_thin::{Format, LogUse, Plan, Pool, Snapshot, ThinId, format};

/// What the uuid field of our own pools may hold, and what it holds in a kernel's.
const OURS: [u8; 16] = *b"umbra-fuzz-seed.";
const FOREIGN: [u8; 16] = [0; 16];

/// A sound pool.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) pages: Pages,
    /// Blocks that hold something: where damage matters.
    pub(crate) used: Vec<usize>,
    /// Blocks of the data device.
    pub(crate) data_blocks: u64,
}

impl Seed {
    /// A device of its own with the seed's content.
    pub(crate) fn disk(&self) -> Disk {
        Disk::new(self.pages.clone())
    }
}

/// One of the seeds; any number names one. The high one is slow to check, and comes seldom.
pub(crate) fn seed(number: u8) -> &'static Seed {
    static SEEDS: OnceLock<[Seed; 6]> = OnceLock::new();
    let seeds = SEEDS.get_or_init(|| [small(OURS), small(FOREIGN), tight(), shared(), wide(), high()]);
    match number % 64 {
        63 => &seeds[5],
        number => &seeds[usize::from(number) % 5],
    }
}

/// A device with a few blocks, and a snapshot that differs: every tree is one leaf.
fn small(uuid: [u8; 16]) -> Seed {
    let mut maker = Maker::new(100, 300, uuid);
    maker.create(1);
    maker.write(1, [0, 1, 2, 3, 100]);
    maker.snapshot(1, 2);
    maker.write(2, [2, 7]);
    maker.finish()
}

/// Hardly any room: most changes must be refused, and all others must come through.
fn tight() -> Seed {
    let mut maker = Maker::new(100, 60, OURS);
    maker.create(1);
    maker.write(1, 0..20);
    maker.snapshot(1, 2);
    maker.write(2, 0..4);
    maker.finish()
}

/// Snapshots of one device, which drift apart: counts of three and more in both maps, trees of two levels. There is
/// little metadata left for the large commits that this makes.
fn shared() -> Seed {
    let mut maker = Maker::new(190, 1000, OURS);
    maker.create(1);
    maker.write(1, (0..400).map(|i| 3 * i));
    for copy in 2..6 {
        maker.snapshot(1, copy);
        maker.write(copy, [u64::from(copy) * 150, 5]);
        maker.write(1, [u64::from(copy) * 75]);
    }
    maker.finish()
}

/// Hundreds of devices: the top-level and the details tree have two levels.
fn wide() -> Seed {
    let mut maker = Maker::new(300, 400, OURS);
    maker.create(0);
    maker.write(0, 0..10);
    for copies in (1..256).collect::<Vec<_>>().chunks(8) {
        maker.snapshots(0, copies);
    }
    maker.write(7, [3]);
    maker.finish()
}

/// A device with a mapping tree of three levels, over several bitmaps; written downwards its leaves are half full.
fn high() -> Seed {
    let mut maker = Maker::new(700, 40_000, OURS);
    maker.create(1);
    maker.write(1, (0..32_000).rev());
    maker.snapshot(1, 2);
    maker.write(2, [0, 16_000, 40_000]);
    maker.finish()
}

/// Makes a seed with the engine.
struct Maker {
    disk: Disk,
    pool: Pool<Disk>,
    data_blocks: u64,
}

const SOUND: &str = "the engine makes a sound pool";
/// Blocks beyond the pool's metadata, for growing into.
const ROOM: u64 = 32;

impl Maker {
    fn new(metadata_blocks: u64, data_blocks: u64, uuid: [u8; 16]) -> Self {
        let disk = Disk::new(blank(metadata_blocks + ROOM));
        let wish = Format { uuid, data_block_sectors: 128, data_blocks, metadata_blocks };
        disk.write_commit(&format(&wish).expect(SOUND));
        let pool = Pool::open(disk.clone()).expect(SOUND);
        Maker { disk, pool, data_blocks }
    }

    fn create(&mut self, id: u32) {
        self.pool.create(ThinId(id)).expect(SOUND);
    }

    fn snapshot(&mut self, origin: u32, copy: u32) {
        self.snapshots(origin, &[copy]);
    }

    fn snapshots(&mut self, origin: u32, copies: &[u32]) {
        let pair = |copy: &u32| Snapshot { origin: ThinId(origin), copy: ThinId(*copy) };
        self.pool.snapshot(&copies.iter().map(pair).collect::<Vec<_>>()).expect(SOUND);
        self.commit();
    }

    fn write(&mut self, id: u32, vblocks: impl IntoIterator<Item = u64>) {
        for vblock in vblocks {
            match self.pool.plan_write(ThinId(id), vblock).expect(SOUND) {
                Plan::InPlace(_) => {}
                Plan::Fresh { to } | Plan::Copy { to, .. } => {
                    self.pool.finish_write(ThinId(id), vblock, to).expect(SOUND)
                }
            }
        }
        self.commit();
    }

    fn commit(&mut self) {
        let commit = self.pool.begin_commit(LogUse::Empty).expect(SOUND);
        self.disk.write_commit(&commit);
        self.pool.commit_durable(commit.transaction);
    }

    fn finish(mut self) -> Seed {
        self.commit();
        self.disk.assert_clean("as a seed");
        let pages = self.disk.pages();
        let used = (0..pages.len()).filter(|block| pages[*block].iter().any(|byte| *byte != 0)).collect();
        Seed { pages, used, data_blocks: self.data_blocks }
    }
}
