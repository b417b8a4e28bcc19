//! The walk over a B-tree, from the root down, each node once.
//!
//! What is learnt of a node is kept as [`Facts`], so that a node shared by a thousand snapshots is read once, and its
//! fit is then checked under each parent from the facts alone. What always holds: children's pointers are counted
//! once for each distinct node, which is how the format counts.

use crate::{
    core::{Claim, Core, Trail},
    finding::Tree,
    layout::BlockKind,
    limits,
    losses::Losses,
    mappings::Mapping,
    node::Node,
    problem::{Problem, Use},
};
use std::collections::{HashMap, HashSet};

/// What is known of a subtree whose root could be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// Leaves have height 0.
    pub height: u32,
    /// Entries in all leaves below.
    pub entries: u64,
    /// Whether everything below could be read.
    pub intact: bool,
    /// Of a mapping leaf: the latest time at which anything in it was mapped.
    pub latest: u32,
    own_entries: u16,
    minimum: u16,
    keys: Option<(u64, u64)>,
}

enum Memo {
    Open,
    Lost,
    Known(Facts),
}

/// Called once for each distinct leaf.
pub(crate) type OnLeaf<'f> = &'f mut dyn FnMut(&mut Core<'_>, &Trail, &Node);

/// All nodes seen so far, of all trees.
#[derive(Default)]
pub(crate) struct Forest {
    nodes: HashMap<u64, Memo>,
    losses: Losses,
}

/// Bytes of a value in the leaves of a tree.
pub(crate) fn value_size(kind: Use) -> usize {
    match kind {
        Use::Details => 24,
        Use::DataIndex => 16,
        Use::Overflow(_) => 4,
        _ => 8,
    }
}

impl Forest {
    /// Walks the tree below `root`, which the caller's pointer counts for one reference.
    pub fn walk(&mut self, core: &mut Core<'_>, tree: Tree, root: u64, on_leaf: OnLeaf<'_>) -> Option<Facts> {
        core.references.increment(root);
        self.walk_counted(core, tree, root, on_leaf)
    }

    /// The same, where the pointer to `root` was counted before.
    pub fn walk_counted(
        &mut self,
        core: &mut Core<'_>,
        tree: Tree,
        root: u64,
        on_leaf: OnLeaf<'_>,
    ) -> Option<Facts> {
        let mark = self.losses.mark(core);
        let facts = self.visit(core, &mut Trail::tree(tree, root), tree.kind, on_leaf);
        self.losses.charge(core, tree, mark);
        facts
    }

    fn visit(
        &mut self,
        core: &mut Core<'_>,
        trail: &mut Trail,
        kind: Use,
        on_leaf: OnLeaf<'_>,
    ) -> Option<Facts> {
        let block = *trail.path.last()?;
        if trail.path.len() > limits::TREE_LEVELS {
            core.report_lost(trail, Problem::TooDeep { levels: limits::TREE_LEVELS });
            return None;
        }
        match core.claim(block, kind, trail) {
            Claim::Refused => None,
            Claim::Again => {
                self.losses.meet_again(block);
                self.revisit(core, trail, kind, block)
            }
            Claim::First => {
                self.nodes.insert(block, Memo::Open);
                let mark = self.losses.mark(core);
                let facts = self.first_visit(core, trail, kind, block, on_leaf);
                self.losses.keep(core, block, mark);
                self.nodes.insert(block, facts.map_or(Memo::Lost, Memo::Known));
                facts
            }
        }
    }

    fn revisit(&self, core: &mut Core<'_>, trail: &Trail, kind: Use, block: u64) -> Option<Facts> {
        match self.nodes.get(&block) {
            Some(Memo::Known(facts)) => {
                if matches!(kind, Use::DataIndex | Use::Overflow(_)) {
                    core.report(trail, Problem::TwoUses { first: kind, second: kind }, None);
                }
                Some(*facts)
            }
            Some(Memo::Open) => {
                core.report_lost(trail, Problem::Loop);
                None
            }
            Some(Memo::Lost) | None => None,
        }
    }

    fn first_visit(
        &mut self,
        core: &mut Core<'_>,
        trail: &mut Trail,
        kind: Use,
        block: u64,
        on_leaf: OnLeaf<'_>,
    ) -> Option<Facts> {
        let bytes = core.read(block, BlockKind::Node, trail)?;
        let node = match Node::parse(bytes, value_size(kind)) {
            Ok(node) => node,
            Err(problem) => {
                core.report_lost(trail, problem);
                return None;
            }
        };
        if node.internal {
            return Some(self.visit_children(core, trail, kind, &node, on_leaf));
        }
        on_leaf(core, trail, &node);
        let latest = if kind == Use::Mapping { latest(&node) } else { 0 };
        Some(Facts { entries: node.entries as u64, latest, ..bare_facts(&node) })
    }

    fn visit_children(
        &mut self,
        core: &mut Core<'_>,
        trail: &mut Trail,
        kind: Use,
        node: &Node,
        on_leaf: OnLeaf<'_>,
    ) -> Facts {
        let mut facts = bare_facts(node);
        let outer = trail.keys.clone();
        let end = outer.as_ref().map_or(u64::MAX, |keys| *keys.end());
        for index in 0..node.entries {
            let child = node.child(index);
            core.references.increment(child);
            // What the parent leaves for this child; a parent's own upper end is checked one level up.
            let (low, high) = (node.key(index), node.last_key_below(index, u64::MAX));
            trail.path.push(child);
            trail.keys = Some(low..=high.min(end.max(low)));
            match self.visit(core, trail, kind, on_leaf) {
                Some(child) => {
                    check_fit(core, trail, &child, low, high);
                    join(core, trail, &mut facts, &child, index == 0);
                }
                None => facts.intact = false,
            }
            trail.path.pop();
        }
        trail.keys = outer;
        facts
    }

    /// What is known of the subtree at `block`.
    pub fn facts(&self, block: u64) -> Option<Facts> {
        match self.nodes.get(&block) {
            Some(Memo::Known(facts)) => Some(*facts),
            _ => None,
        }
    }

    /// Readable nodes used as `kind`, roots before their children.
    pub fn top_down(&self, core: &Core<'_>, kind: Use) -> Vec<(u32, u64)> {
        let known = self.nodes.iter().filter_map(|(block, memo)| match memo {
            Memo::Known(facts) if core.use_of(*block) == kind => Some((facts.height, *block)),
            _ => None,
        });
        let mut nodes: Vec<_> = known.collect();
        nodes.sort_unstable_by_key(|(height, block)| (std::cmp::Reverse(*height), *block));
        nodes
    }

    /// Reads again a node that was walked before.
    pub fn reread(&self, core: &Core<'_>, block: u64, kind: Use) -> Option<Node> {
        self.facts(block)?;
        Node::parse(core.read_unchecked(block).ok()?, value_size(kind)).ok()
    }

    /// Calls `each` with key and value of every entry that can be read below `root`, which was walked before.
    pub fn entries(&self, core: &Core<'_>, root: u64, kind: Use, each: &mut dyn FnMut(u64, &[u8])) {
        let (mut seen, mut open) = (HashSet::from([root]), vec![root]);
        while let Some(block) = open.pop() {
            let Some(node) = self.reread(core, block, kind).filter(|_| core.use_of(block) == kind) else {
                continue;
            };
            for index in (0..node.entries).rev() {
                if !node.internal {
                    continue;
                }
                let child = node.child(index);
                if seen.insert(child) {
                    open.push(child);
                }
            }
            if !node.internal {
                (0..node.entries).for_each(|index| each(node.key(index), node.value(index)));
            }
        }
    }
}

fn bare_facts(node: &Node) -> Facts {
    let keys = (node.entries > 0).then(|| (node.key(0), node.key(node.entries - 1)));
    // A node has at most 336 entries.
    let (own_entries, minimum) = (node.entries as u16, node.minimum() as u16);
    Facts { height: 0, entries: 0, intact: true, latest: 0, own_entries, minimum, keys }
}

fn latest(leaf: &Node) -> u32 {
    (0..leaf.entries).map(|index| Mapping::of(leaf, index).time).max().unwrap_or(0)
}

/// Whether `child` fits the place that its parent gives it: enough entries, keys within `low..=high`.
fn check_fit(core: &mut Core<'_>, trail: &Trail, child: &Facts, low: u64, high: u64) {
    if child.own_entries < child.minimum {
        let (entries, minimum) = (child.own_entries.into(), child.minimum.into());
        core.report(trail, Problem::Underfull { entries, minimum }, None);
    }
    if let Some((first, last)) = child.keys.filter(|(first, last)| *first < low || *last > high) {
        let lost = if first < low { first..=low.saturating_sub(1) } else { high.saturating_add(1)..=last };
        core.report(trail, Problem::KeysOutsideParent { first, last, low, high }, Some(lost));
    }
}

/// Adds what is known of a child to what is known of its parent.
fn join(core: &mut Core<'_>, trail: &Trail, parent: &mut Facts, child: &Facts, first_child: bool) {
    let height = child.height + 1;
    if !first_child && parent.height != 0 && parent.height != height {
        core.report(trail, Problem::UnevenDepth, None);
    }
    parent.height = parent.height.max(height);
    parent.entries = parent.entries.saturating_add(child.entries);
    parent.intact &= child.intact;
    if let (Some((_, last)), Some((_, child_last))) = (&mut parent.keys, child.keys) {
        *last = child_last.max(*last);
    }
}
