//! The promise behind in-place writes: a mapping that is no older than its device's last snapshot belongs to that
//! device alone. The kernel overwrites such a block without looking further, so where the promise is broken a write
//! to one volume changes another. On the way, the blocks that each device has for itself are counted.
//!
//! Devices share whole subtrees, so owners are found by pouring (number of devices, oldest last-snapshot time) from
//! the roots down the graph of distinct nodes, each node once, parents before children. Leaves are read again only
//! where what is known of them does not settle the matter.

use crate::{
    core::{Core, Trail},
    counts::Counts,
    devices::Device,
    finding::{Tree, Version},
    mappings::Mapping,
    node::Node,
    problem::{Owners, Problem, Use},
    tree::Forest,
};
use std::collections::{BTreeMap, HashMap};

/// What reaches a node.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// Ways from device roots to here.
    devices: u32,
    /// The oldest last snapshot among those devices, and whose it is.
    snapshotted: u32,
    device: u64,
}

impl Reach {
    fn join(&mut self, other: Reach) {
        self.devices = self.devices.saturating_add(other.devices);
        if other.snapshotted < self.snapshotted {
            (self.snapshotted, self.device) = (other.snapshotted, other.device);
        }
    }
}

/// Blocks that each device has for itself.
pub(crate) type Exclusive = BTreeMap<u64, u64>;

/// Verifies the promise for all live devices; `data` counts the live leaf entries that name each data block.
pub(crate) fn check(
    core: &mut Core<'_>,
    forest: &Forest,
    devices: &BTreeMap<u64, Device>,
    data: &Counts,
) -> Exclusive {
    let mut reached: HashMap<u64, Reach> = HashMap::new();
    let pour = |reached: &mut HashMap<u64, Reach>, block: u64, reach: Reach| {
        reached.entry(block).and_modify(|known| known.join(reach)).or_insert(reach);
    };
    for (id, device) in devices {
        // Without details there is no time to compare with; that is reported elsewhere.
        let snapshotted = device.details.map_or(u32::MAX, |details| details.snapshotted_time);
        pour(&mut reached, device.root, Reach { devices: 1, snapshotted, device: *id });
    }
    let mut exclusive = Exclusive::new();
    let shared_blocks = data.any_shared();
    for (height, block) in forest.top_down(core, Use::Mapping) {
        let Some(reach) = reached.remove(&block) else { continue };
        if height > 0 {
            let Some(node) = forest.reread(core, block, Use::Mapping) else { continue };
            (0..node.entries).for_each(|index| pour(&mut reached, node.child(index), reach));
        } else {
            let own = check_leaf(core, forest, block, reach, data, shared_blocks);
            *exclusive.entry(reach.device).or_insert(0) += own;
        }
    }
    exclusive
}

/// How many of the leaf's blocks belong to one device alone.
fn check_leaf(
    core: &mut Core<'_>,
    forest: &Forest,
    block: u64,
    reach: Reach,
    data: &Counts,
    shared_blocks: bool,
) -> u64 {
    let Some(facts) = forest.facts(block) else { return 0 };
    let shared_leaf = reach.devices > 1;
    if !shared_leaf && !shared_blocks {
        return facts.entries;
    }
    if shared_leaf && facts.latest < reach.snapshotted {
        return 0;
    }
    let Some(leaf) = forest.reread(core, block, Use::Mapping) else { return 0 };
    check_entries(core, block, &leaf, reach, data)
}

fn check_entries(core: &mut Core<'_>, block: u64, leaf: &Node, reach: Reach, data: &Counts) -> u64 {
    let tree = Tree { kind: Use::Mapping, device: Some(reach.device), version: Version::Live };
    let at = Trail { tree: Some(tree), path: vec![block], keys: None };
    let mut exclusive = 0;
    for mapping in (0..leaf.entries).map(|index| Mapping::of(leaf, index)) {
        let Mapping { virtual_block, data_block, time: stored } = mapping;
        let owners = match (reach.devices, data.get(data_block)) {
            (2.., _) => Owners::Devices(reach.devices),
            (_, mappings @ 2..) => Owners::Mappings(mappings),
            _ => {
                exclusive += 1;
                continue;
            }
        };
        if stored >= reach.snapshotted {
            let snapshotted = reach.snapshotted;
            let problem =
                Problem::PrivateButShared { virtual_block, data_block, stored, snapshotted, owners };
            core.report(&at, problem, Some(virtual_block..=virtual_block));
        }
    }
    exclusive
}
