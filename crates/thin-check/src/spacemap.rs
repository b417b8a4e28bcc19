//! The two space maps: first their own structure, which claims blocks like any tree; then, when every pointer of the
//! pool has been counted, entry by entry against what was found.
//!
//! Counts that are too high only leak space. A count that is too low makes a used block look free, and the next
//! allocation would overwrite it. The hints (free counts, where to start searching) are believed by the kernel, and
//! verified by nobody else.

use crate::{
    core::{Core, Trail},
    counts::Counts,
    finding::{Tree, Version},
    layout::{BITMAP_ENTRIES, Block, BlockKind, MAP_HEADER, bitmap_entry, u32_at, u64_at},
    problem::{Map, Problem, Use},
    superblock::{MapRoot, Superblock},
    tree::{Facts, Forest},
};
use std::collections::BTreeMap;

/// In a bitmap: the count stands in the overflow tree.
const OVERFLOWN: u8 = 3;

/// An index entry: where a bitmap is, and the hints about it.
#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    block: u64,
    free: u32,
    none_free_before: u32,
}

/// One map, its structure verified and its bitmaps not yet compared.
pub(crate) struct SpaceMap {
    map: Map,
    root: MapRoot,
    bitmaps: BTreeMap<u64, IndexEntry>,
    overflow: BTreeMap<u64, u32>,
    overflow_intact: bool,
    /// Levels of the index tree (0 for the index block) and of the overflow tree.
    pub levels: [u32; 2],
}

impl SpaceMap {
    /// Reads index and overflow records of the data map.
    pub fn of_data(core: &mut Core<'_>, forest: &mut Forest, superblock: &Superblock) -> SpaceMap {
        let (root, kind) = (superblock.data_map, Use::DataIndex);
        let index = forest.walk(core, live(kind), root.index_root, &mut |_, _, _| ());
        let mut map = SpaceMap::with_overflow(core, forest, Map::Data, root);
        map.levels[0] = levels(&index);
        forest.entries(core, root.index_root, kind, &mut |bitmap, value| {
            map.bitmaps.insert(bitmap, IndexEntry::parse(value));
        });
        map.check_index(core, index.is_some_and(|facts| facts.intact));
        map.claim_bitmaps(core);
        map
    }

    /// Reads index block and overflow records of the metadata map.
    pub fn of_metadata(core: &mut Core<'_>, forest: &mut Forest, superblock: &Superblock) -> SpaceMap {
        let root = superblock.metadata_map;
        let mut map = SpaceMap::with_overflow(core, forest, Map::Metadata, root);
        let keys = Some(0..=root.blocks.saturating_sub(1));
        let at = Trail { tree: Some(live(Use::IndexBlock)), path: vec![root.index_root], keys };
        core.references.increment(root.index_root);
        if core.claim_alone(root.index_root, Use::IndexBlock, &at)
            && let Some(block) = core.read(root.index_root, BlockKind::Index, &at)
        {
            let entry = |i: u64| IndexEntry::parse(&block[MAP_HEADER + 16 * i as usize..][..16]);
            map.bitmaps = (0..map.bitmap_count().min(255)).map(|i| (i, entry(i))).collect();
        }
        map.claim_bitmaps(core);
        map
    }

    fn with_overflow(core: &mut Core<'_>, forest: &mut Forest, map: Map, root: MapRoot) -> SpaceMap {
        let kind = Use::Overflow(map);
        let facts = forest.walk(core, live(kind), root.overflow_root, &mut |_, _, _| ());
        let mut overflow = BTreeMap::new();
        forest.entries(core, root.overflow_root, kind, &mut |block, value| {
            overflow.insert(block, u32_at(value, 0));
        });
        let overflow_intact = facts.is_some_and(|facts| facts.intact);
        SpaceMap {
            map,
            root,
            bitmaps: BTreeMap::new(),
            overflow,
            overflow_intact,
            levels: [0, levels(&facts)],
        }
    }

    fn bitmap_count(&self) -> u64 {
        self.root.blocks.div_ceil(BITMAP_ENTRIES)
    }

    fn index_trail(&self) -> Trail {
        Trail { tree: Some(live(Use::DataIndex)), ..Trail::block(self.root.index_root) }
    }

    /// The index must have an entry for each bitmap and no other.
    fn check_index(&mut self, core: &mut Core<'_>, intact: bool) {
        let (at, bitmaps) = (self.index_trail(), self.bitmap_count());
        let beyond: Vec<u64> = self.bitmaps.range(bitmaps..).map(|(bitmap, _)| *bitmap).collect();
        for bitmap in beyond {
            core.report(&at, Problem::BitmapBeyondEnd { bitmap, bitmaps }, None);
        }
        if bitmaps > core.blocks {
            let (blocks, limit) = (self.root.blocks, core.blocks * BITMAP_ENTRIES);
            core.report(&at, Problem::MapTooLarge { map: self.map, blocks, limit }, None);
        } else if intact {
            for bitmap in (0..bitmaps).filter(|bitmap| !self.bitmaps.contains_key(bitmap)) {
                let at = Trail { tree: Some(live(Use::Bitmap(self.map))), ..at.clone() };
                core.report(&at, Problem::BitmapMissing { bitmap }, Some(covered(bitmap, self.root.blocks)));
            }
        }
    }

    /// Counts the pointers to the bitmaps and drops from the index those that cannot be used.
    fn claim_bitmaps(&mut self, core: &mut Core<'_>) {
        let (usage, bitmaps) = (Use::Bitmap(self.map), self.bitmap_count());
        let root = self.root;
        self.bitmaps.retain(|bitmap, entry| {
            core.references.increment(entry.block);
            core.claim_alone(entry.block, usage, &bitmap_trail(usage, root, *bitmap, entry))
                && *bitmap < bitmaps
        });
    }

    /// Compares the map with the references `found`; counts that are too high mean nothing while `trees_intact` is
    /// false. Returns how many blocks the bitmaps say are in use.
    pub fn compare(mut self, core: &mut Core<'_>, found: &Counts, trees_intact: bool) -> u64 {
        let mut compared = Compared { map: self.map, run: None, allocated: 0, complete: true, trees_intact };
        for (bitmap, entry) in std::mem::take(&mut self.bitmaps) {
            let trail = bitmap_trail(Use::Bitmap(self.map), self.root, bitmap, &entry);
            match core.read(entry.block, BlockKind::Bitmap, &trail) {
                Some(block) => {
                    self.compare_bitmap(core, &trail, (bitmap, entry), &block, found, &mut compared)
                }
                None => compared.complete = false,
            }
        }
        compared.end_run(core);
        let (map, stored, counted) = (self.map, self.root.allocated, compared.allocated);
        if stored != counted && compared.complete {
            core.report(&Trail::block(0), Problem::Allocated { map, stored, counted }, None);
        }
        for (block, count) in self.overflow {
            let at = Trail { tree: Some(live(Use::Overflow(map))), ..Trail::block(self.root.overflow_root) };
            core.report(&at, Problem::OverflowStray { map, block, count }, None);
        }
        counted
    }

    fn compare_bitmap(
        &mut self,
        core: &mut Core<'_>,
        trail: &Trail,
        (bitmap, entry): (u64, IndexEntry),
        block: &Block,
        found: &Counts,
        compared: &mut Compared,
    ) {
        let base = bitmap.saturating_mul(BITMAP_ENTRIES);
        let inside = self.root.blocks.saturating_sub(base).min(BITMAP_ENTRIES);
        let (mut used, mut first_free) = (0, inside);
        for index in 0..inside {
            let stored = self.stored_count(core, trail, base + index, bitmap_entry(block, index as usize));
            if stored == Some(0) {
                first_free = first_free.min(index);
            } else {
                used += 1;
            }
            compared.entry(core, trail, base + index, stored, found.get(base + index));
        }
        let beyond = (inside..BITMAP_ENTRIES).find(|index| bitmap_entry(block, *index as usize) != 0);
        if let Some(index) = beyond {
            let (map, block, blocks) = (self.map, base + index, self.root.blocks);
            core.report(trail, Problem::BitsBeyondEnd { map, block, blocks }, None);
        }
        compared.allocated += used;
        check_hints(core, trail, (self.map, bitmap), entry, [used, inside, first_free].map(|n| n as u32));
    }

    /// The whole count of `block`, whose bitmap holds `small`; `None` if only the damaged overflow tree knows it.
    fn stored_count(&mut self, core: &mut Core<'_>, trail: &Trail, block: u64, small: u8) -> Option<u32> {
        let map = self.map;
        if small != OVERFLOWN {
            return Some(u32::from(small));
        }
        let count = self.overflow.remove(&block);
        match count {
            Some(count) if count < u32::from(OVERFLOWN) => {
                core.report(trail, Problem::OverflowSmall { map, block, count }, None);
            }
            None if self.overflow_intact => {
                core.report(trail, Problem::OverflowMissing { map, block }, Some(block..=block));
            }
            _ => (),
        }
        count
    }
}

fn bitmap_trail(kind: Use, root: MapRoot, bitmap: u64, entry: &IndexEntry) -> Trail {
    let path = vec![root.index_root, entry.block];
    Trail { tree: Some(live(kind)), path, keys: Some(covered(bitmap, root.blocks)) }
}

fn live(kind: Use) -> Tree {
    Tree { kind, device: None, version: Version::Live }
}

fn levels(facts: &Option<Facts>) -> u32 {
    facts.map_or(0, |facts| facts.height + 1)
}

/// Blocks that bitmap number `bitmap` describes.
fn covered(bitmap: u64, blocks: u64) -> std::ops::RangeInclusive<u64> {
    let first = bitmap.saturating_mul(BITMAP_ENTRIES);
    first..=first.saturating_add(BITMAP_ENTRIES - 1).min(blocks.saturating_sub(1)).max(first)
}

impl IndexEntry {
    fn parse(bytes: &[u8]) -> IndexEntry {
        IndexEntry { block: u64_at(bytes, 0), free: u32_at(bytes, 8), none_free_before: u32_at(bytes, 12) }
    }
}

fn check_hints(
    core: &mut Core<'_>,
    trail: &Trail,
    (map, bitmap): (Map, u64),
    entry: IndexEntry,
    [used, inside, first_free]: [u32; 3],
) {
    let (stored, counted) = (entry.free, BITMAP_ENTRIES as u32 - used);
    if stored == inside - used && stored != counted {
        core.report(trail, Problem::FreeHintClipped { map, bitmap, stored, counted }, None);
    } else if stored != counted {
        core.report(trail, Problem::FreeHint { map, bitmap, stored, counted }, None);
    }
    // In a full bitmap the hint may stand behind its last entry.
    let highest = if first_free == inside { BITMAP_ENTRIES as u32 } else { first_free };
    if entry.none_free_before > highest {
        core.report(
            trail,
            Problem::SearchHint { map, bitmap, stored: entry.none_free_before, first_free },
            None,
        );
    }
}

/// The comparison so far: blocks next to each other that are wrong alike make one finding.
struct Compared {
    map: Map,
    run: Option<(Trail, Run)>,
    allocated: u64,
    complete: bool,
    trees_intact: bool,
}

#[derive(Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    stored: u32,
    found: u32,
}

impl Compared {
    fn entry(&mut self, core: &mut Core<'_>, trail: &Trail, block: u64, stored: Option<u32>, found: u32) {
        let Some(stored) = stored.filter(|stored| *stored != found) else { return };
        if let Some((_, run)) = &mut self.run
            && run.last + 1 == block
            && (run.stored, run.found) == (stored, found)
        {
            run.last = block;
            return;
        }
        self.end_run(core);
        self.run = Some((trail.clone(), Run { first: block, last: block, stored, found }));
    }

    fn end_run(&mut self, core: &mut Core<'_>) {
        let Some((trail, Run { first, last, stored, found })) = self.run.take() else { return };
        let map = self.map;
        if stored < found {
            core.report(&trail, Problem::CountTooLow { map, first, last, stored, found }, None);
        } else if self.trees_intact {
            core.report(&trail, Problem::CountTooHigh { map, first, last, stored, found }, None);
        }
    }
}
