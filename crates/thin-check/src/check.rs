//! The whole check, in the one order that works: structure of the space maps, live trees, sharing among live devices,
//! held trees, and at last the counts, when every pointer has been seen.

use crate::{
    core::{Core, Progress, Trail},
    counts::Counts,
    devices::{Devices, Scan},
    finding::{Findings, Version},
    image::ReadBlock,
    layout::{BITMAP_ENTRIES, BLOCK_BYTES, Block, BlockKind},
    limits,
    problem::{Problem, Severity, Use},
    sharing,
    spacemap::SpaceMap,
    summary::{MapSummary, Summary},
    superblock::Superblock,
    tree::Forest,
};
use umbra_base::{Error, ErrorCode};

/// What the caller knows of the pool beyond its metadata.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expect {
    /// Blocks of the data device, where there is one to compare with.
    pub data_blocks: Option<u64>,
    /// Incompatible features that are no surprise to the caller, such as that of an intent log not yet replayed.
    pub known_features: u32,
}

/// The outcome of a check.
#[derive(Debug, Clone)]
pub struct Report {
    /// Everything found.
    pub findings: Findings,
    /// What the pool contains; absent when not even the superblock could be read.
    pub summary: Option<Summary>,
}

impl Report {
    /// The worst severity found.
    pub fn verdict(&self) -> Severity {
        self.findings.verdict()
    }

    /// The report as an error for those who need a sound pool: `corrupt` unless the verdict is ok.
    pub fn into_result(self) -> umbra_base::Result<Option<Summary>> {
        let worst = self.verdict();
        let first = self.findings.iter().find(|finding| finding.severity() == worst);
        match (worst, first) {
            (Severity::Repairable | Severity::Error, Some(first)) => {
                let text =
                    format!("pool metadata has {} findings, the worst: {first}", self.findings.total());
                Err(Error::new(ErrorCode::Corrupt, text).param("verdict", worst))
            }
            _ => Ok(self.summary),
        }
    }
}

/// Checks the metadata image as a whole. Reads each block at most a few times, whatever the image contains.
pub fn check(image: &dyn ReadBlock, expect: Expect) -> Report {
    run(image, expect, None)
}

/// The same, telling now and then how far it is.
pub fn check_watched(image: &dyn ReadBlock, expect: Expect, watch: &dyn Fn(Progress)) -> Report {
    run(image, expect, Some(watch))
}

fn run(image: &dyn ReadBlock, expect: Expect, watch: Option<&dyn Fn(Progress)>) -> Report {
    let mut core = Core::new(image, image.blocks().min(limits::METADATA_BLOCKS), watch);
    let summary = read_superblock(&mut core).map(|superblock| {
        superblock.check_sizes(&mut core, image.blocks(), expect.data_blocks);
        superblock
            .problems(expect.known_features)
            .into_iter()
            .for_each(|problem| core.report(&Trail::block(0), problem, None));
        core.blocks = core.blocks.min(superblock.metadata_map.blocks.max(1));
        // Leaves may be read again to see who shares their blocks.
        core.expected_reads = superblock.metadata_map.allocated.min(core.blocks).saturating_mul(2);
        check_pool(&mut core, &superblock)
    });
    Report { findings: core.findings, summary }
}

fn read_superblock(core: &mut Core<'_>) -> Option<Superblock> {
    let at = Trail::block(0);
    core.references.increment(0);
    core.claim(0, Use::Superblock, &at);
    let block = match core.read_unchecked(0) {
        Ok(block) => block,
        Err(error) => {
            core.report_lost(&at, Problem::Unreadable { cause: error.to_string() });
            return None;
        }
    };
    if *block == [0; BLOCK_BYTES] {
        core.report_lost(&at, Problem::Unformatted);
        return None;
    }
    parse_superblock(core, &at, &block)
}

fn parse_superblock(core: &mut Core<'_>, at: &Trail, block: &Block) -> Option<Superblock> {
    let (expected, found) = (BlockKind::Superblock, BlockKind::of(block));
    if found != Some(expected) {
        core.report_lost(at, Problem::BadChecksum { expected, found });
        return None;
    }
    let stored = crate::layout::u64_at(block, 8);
    if at.path.last() != Some(&stored) {
        core.report(at, Problem::WrongBlockNumber { stored }, None);
    }
    Some(Superblock::parse(block))
}

fn check_pool(core: &mut Core<'_>, superblock: &Superblock) -> Summary {
    let mut forest = Forest::default();
    let data_map = SpaceMap::of_data(core, &mut forest, superblock);
    let metadata_map = SpaceMap::of_metadata(core, &mut forest, superblock);
    let map_levels = [data_map.levels, metadata_map.levels];

    // What the image can describe bounds the table, whatever the superblock says.
    let countable = superblock.data_map.blocks.min(core.blocks.saturating_mul(BITMAP_ENTRIES));
    let mut data = Counts::new(countable);
    let data_blocks = superblock.data_map.blocks;
    let mut scan = Scan { forest: &mut forest, data: &mut data, data_blocks };
    let mut live = scan.devices(core, superblock, Version::Live);
    let exclusive = sharing::check(core, &forest, &live.by_id, &data);
    if live.intact {
        for (id, device) in &mut live.by_id {
            device.exclusive_blocks = Some(exclusive.get(id).copied().unwrap_or(0));
        }
    }
    let mut scan = Scan { forest: &mut forest, data: &mut data, data_blocks };
    let held = check_held(core, &mut scan, superblock);

    let intact = live.intact && held.as_ref().is_none_or(|held| held.intact);
    let data_used = data_map.compare(core, &data, intact);
    let references = std::mem::take(&mut core.references);
    let metadata_used = metadata_map.compare(core, &references, intact);
    Summary {
        superblock: *superblock,
        data: MapSummary::new(superblock.data_map, data_used, data.histogram(), map_levels[0]),
        metadata: MapSummary::new(
            superblock.metadata_map,
            metadata_used,
            references.histogram(),
            map_levels[1],
        ),
        levels: live.levels,
        devices: live.by_id,
        lost: live.lost,
        held: held.map(|held| held.by_id),
    }
}

/// The metadata snapshot, if there is one.
fn check_held(core: &mut Core<'_>, scan: &mut Scan<'_>, live: &Superblock) -> Option<Devices> {
    let block = live.held_root;
    if block == 0 {
        return None;
    }
    let at = Trail::block(block);
    core.references.increment(block);
    let lost = || Some(Devices::default());
    if !core.claim_alone(block, Use::HeldRoot, &at) {
        return lost();
    }
    let Some(bytes) = core.read(block, BlockKind::Superblock, &at) else { return lost() };
    let held = Superblock::parse(&bytes);
    if held.time > live.time {
        core.report(&at, Problem::HeldInFuture { held: held.time, time: live.time }, None);
    }
    Some(scan.devices(core, &held, Version::Held))
}
