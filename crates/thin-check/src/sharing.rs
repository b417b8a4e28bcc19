//! The promise behind in-place writes: a mapping that is no older than its device's last snapshot belongs to that
//! device alone. The kernel overwrites such a block without looking further, so where the promise is broken a write
//! to one volume changes another.
//!
//! Devices share whole subtrees, so owners are found by pouring (number of devices, oldest last-snapshot time) from
//! the roots down the graph of distinct nodes, each node once, parents before children.

use crate::{
    core::{Core, Trail},
    counts::Counts,
    devices::{Device, Mapping},
    finding::{Tree, Version},
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

/// Verifies the promise for all live devices; `data` counts the live leaf entries that name each data block.
pub(crate) fn check(core: &mut Core<'_>, forest: &Forest, devices: &BTreeMap<u64, Device>, data: &Counts) {
    let mut reached: HashMap<u64, Reach> = HashMap::new();
    let pour = |reached: &mut HashMap<u64, Reach>, block: u64, reach: Reach| {
        reached.entry(block).and_modify(|known| known.join(reach)).or_insert(reach);
    };
    for (id, device) in devices {
        // Without details there is no time to compare with; that is reported elsewhere.
        let snapshotted = device.details.map_or(u32::MAX, |details| details.snapshotted_time);
        pour(&mut reached, device.root, Reach { devices: 1, snapshotted, device: *id });
    }
    for (_, block) in forest.top_down(core, Use::Mapping) {
        let Some(reach) = reached.get(&block).copied() else { continue };
        let Some(node) = forest.reread(core, block, Use::Mapping) else { continue };
        if node.internal {
            (0..node.entries).for_each(|index| pour(&mut reached, node.child(index), reach));
        } else {
            check_leaf(core, block, &node, reach, data);
        }
    }
}

fn check_leaf(core: &mut Core<'_>, block: u64, leaf: &Node, reach: Reach, data: &Counts) {
    let tree = Tree { kind: Use::Mapping, device: Some(reach.device), version: Version::Live };
    let at = Trail { tree: Some(tree), path: vec![block], keys: None };
    for mapping in (0..leaf.entries).map(|index| Mapping::of(leaf, index)) {
        let Mapping { virtual_block, data_block, time: stored } = mapping;
        let owners = match (reach.devices, data.get(data_block)) {
            (2.., _) => Owners::Devices(reach.devices),
            (_, mappings @ 2..) => Owners::Mappings(mappings),
            _ => continue,
        };
        if stored >= reach.snapshotted {
            let snapshotted = reach.snapshotted;
            let problem =
                Problem::PrivateButShared { virtual_block, data_block, stored, snapshotted, owners };
            core.report(&at, problem, Some(virtual_block..=virtual_block));
        }
    }
}
