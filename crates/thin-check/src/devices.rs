//! The top-level tree, the details tree and the mapping trees below them, of the pool now or of its metadata snapshot.
//!
//! The trees are verified first, each node once; then what they say is compared: every device stands in both trees,
//! maps as many blocks as it says, and nothing is later than the pool's time.

use crate::{
    core::{Core, Trail},
    counts::Counts,
    finding::{Tree, Version},
    layout::{u32_at, u64_at},
    limits,
    mappings::Mapping,
    node::Node,
    problem::{Problem, Use},
    superblock::Superblock,
    tree::{Facts, Forest},
};
use std::collections::BTreeMap;

/// What the details tree says of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Details {
    /// Entries in the mapping tree.
    pub mapped_blocks: u64,
    /// The superblock's transaction id when the device was made.
    pub transaction_id: u64,
    /// Snapshot time when the device was made.
    pub creation_time: u32,
    /// Snapshot time of the last snapshot that the device took part in.
    pub snapshotted_time: u32,
}

/// One device as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Root of its mapping tree.
    pub root: u64,
    /// Its details, if it has any.
    pub details: Option<Details>,
    /// Entries in its mapping tree; unknown where that is damaged.
    pub mapped_blocks: Option<u64>,
    /// How many of them no other mapping of a live device names; unknown where the pool's trees are damaged, and for
    /// devices of a metadata snapshot.
    pub exclusive_blocks: Option<u64>,
}

/// Trees of one version of the pool.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    pub by_id: BTreeMap<u64, Device>,
    /// Those of the details tree that no mapping tree was found of, ascending.
    pub lost: Vec<u64>,
    /// Levels of the top-level, details and highest mapping tree.
    pub levels: [u32; 3],
    /// Whether every node of every tree could be read.
    pub intact: bool,
}

/// What the walk over the mapping trees needs besides the core.
pub(crate) struct Scan<'s> {
    pub forest: &'s mut Forest,
    /// References to data blocks, from each distinct mapping leaf.
    pub data: &'s mut Counts,
    pub data_blocks: u64,
}

impl Scan<'_> {
    /// Walks and compares the trees that hang from `superblock`.
    pub fn devices(&mut self, core: &mut Core<'_>, superblock: &Superblock, version: Version) -> Devices {
        let tree = |kind, device| Tree { kind, device, version };
        let top =
            self.forest.walk(core, tree(Use::TopLevel, None), superblock.mapping_root, &mut count_roots);
        let details_tree = tree(Use::Details, None);
        let details = self.forest.walk(core, details_tree, superblock.details_root, &mut |_, _, _| ());
        let mut found = Devices { intact: intact(&top) && intact(&details), ..Devices::default() };
        found.levels = [levels(&top), levels(&details), 0];

        let mut roots = Vec::new();
        self.forest.entries(core, superblock.mapping_root, Use::TopLevel, &mut |id, value| {
            roots.push((id, u64_at(value, 0)));
        });
        for (id, root) in roots {
            let facts = self.mappings(core, tree(Use::Mapping, Some(id)), root, superblock.time);
            found.intact &= intact(&facts);
            found.levels[2] = found.levels[2].max(levels(&facts));
            let mapped_blocks = facts.filter(|facts| facts.intact).map(|facts| facts.entries);
            found.by_id.insert(id, Device { root, details: None, mapped_blocks, exclusive_blocks: None });
        }
        self.compare_details(core, superblock, details_tree, &mut found, intact(&top), intact(&details));
        found
    }

    fn mappings(&mut self, core: &mut Core<'_>, tree: Tree, root: u64, time: u32) -> Option<Facts> {
        let (data, blocks) = (&mut *self.data, self.data_blocks);
        let mut on_leaf = |core: &mut Core<'_>, trail: &Trail, node: &Node| {
            for index in 0..node.entries {
                check_mapping(core, trail, &Mapping::of(node, index), blocks, time);
                data.increment(Mapping::of(node, index).data_block);
            }
        };
        // The pointer in the top-level leaf was counted when that leaf was first read.
        self.forest.walk_counted(core, tree, root, &mut on_leaf)
    }

    fn compare_details(
        &self,
        core: &mut Core<'_>,
        superblock: &Superblock,
        tree: Tree,
        found: &mut Devices,
        top_intact: bool,
        details_intact: bool,
    ) {
        let mut details = Vec::new();
        self.forest.entries(core, superblock.details_root, Use::Details, &mut |id, value| {
            details.push((id, Details::parse(value)));
        });
        let at = |id| Trail::tree(Tree { device: Some(id), ..tree }, superblock.details_root);
        for (id, details) in details {
            match found.by_id.get_mut(&id) {
                Some(device) => device.details = Some(details),
                None => found.lost.push(id),
            }
            if top_intact && !found.by_id.contains_key(&id) {
                core.report(&at(id), Problem::NoMappingTree { device: id }, Some(id..=id));
            }
            check_times(core, &at(id), id, &details, superblock.time);
        }
        found.lost.sort_unstable();
        found.lost.dedup();
        core.findings.name_lost(Use::TopLevel, tree.version, &found.lost);
        for (id, device) in &found.by_id {
            check_device(core, &at(*id), *id, device, details_intact);
        }
    }
}

fn intact(facts: &Option<Facts>) -> bool {
    facts.is_some_and(|facts| facts.intact)
}

fn levels(facts: &Option<Facts>) -> u32 {
    facts.map_or(0, |facts| facts.height + 1)
}

fn count_roots(core: &mut Core<'_>, _: &Trail, node: &Node) {
    (0..node.entries).for_each(|index| core.references.increment(u64_at(node.value(index), 0)));
}

fn check_device(core: &mut Core<'_>, at: &Trail, id: u64, device: &Device, details_intact: bool) {
    if id >= limits::DEVICE_IDS {
        core.report(at, Problem::DeviceIdTooLarge { device: id }, Some(id..=id));
    }
    match (device.details, device.mapped_blocks) {
        (None, _) if details_intact => core.report(at, Problem::NoDetails { device: id }, Some(id..=id)),
        (Some(Details { mapped_blocks: stored, .. }), Some(counted)) if stored != counted => {
            core.report(at, Problem::MappedBlocks { device: id, stored, counted }, None);
        }
        _ => (),
    }
}

fn check_times(core: &mut Core<'_>, at: &Trail, device: u64, details: &Details, time: u32) {
    let times = [("creation time", details.creation_time), ("snapshotted time", details.snapshotted_time)];
    for (what, stored) in times.into_iter().filter(|(_, stored)| *stored > time) {
        core.report(at, Problem::DeviceInFuture { device, what, stored, time }, None);
    }
}

fn check_mapping(core: &mut Core<'_>, trail: &Trail, mapping: &Mapping, blocks: u64, time: u32) {
    let Mapping { virtual_block, data_block, time: stored } = *mapping;
    let lost = Some(virtual_block..=virtual_block);
    if data_block >= blocks {
        core.report(trail, Problem::DataBlockOutOfRange { virtual_block, data_block, blocks }, lost.clone());
    }
    if stored > time {
        core.report(trail, Problem::MappingInFuture { virtual_block, stored, time }, lost);
    }
}

impl Details {
    pub(crate) fn parse(value: &[u8]) -> Details {
        Details {
            mapped_blocks: u64_at(value, 0),
            transaction_id: u64_at(value, 8),
            creation_time: u32_at(value, 16),
            snapshotted_time: u32_at(value, 20),
        }
    }
}
