//! Removing one key or a range of mappings, and mending the nodes that became too empty (section 10).
//!
//! Picture of a range: children that lie wholly inside are deleted without a look at their keys; at most two paths, at
//! the range's ends, are shadowed and trimmed; then those two paths are mended from the leaves up.

use super::place::{Care, Place, too_deep};
use crate::{
    ThinError,
    limits::DEPTH_MAX,
    meta::{Meta, MetaRead},
    node::{Level, Node},
    values::{BlockTime, Tree},
};

impl<R: MetaRead> Meta<R> {
    /// Removes `key`, which must be there, and returns the tree's root. The value is not released.
    pub(crate) fn remove(&mut self, root: u64, tree: Tree, key: u64) -> Result<u64, ThinError> {
        let root = self.shadow(root, tree)?;
        self.remove_below(root, tree, key, DEPTH_MAX)?;
        self.mend_root(root, tree, &[key])
    }

    fn remove_below(&mut self, block: u64, tree: Tree, key: u64, depth: u32) -> Result<(), ThinError> {
        let depth = depth.checked_sub(1).ok_or_else(|| too_deep(block))?;
        let node = self.edit(block)?;
        let missing = || ThinError::Node { block, what: format!("key {key} to be removed is not there") };
        let i = node.lower_bound(key).ok_or_else(missing)?;
        if node.is_leaf() {
            let i = node.find(key).ok_or_else(missing)?;
            node.remove(i, i + 1);
            return Ok(());
        }
        let child = self.shadow_child(block, i, tree)?;
        self.remove_below(child, tree, key, depth)
    }

    fn shadow_child(&mut self, parent: u64, i: usize, tree: Tree) -> Result<u64, ThinError> {
        let child = self.node(parent, tree)?.word(i);
        let shadow = self.shadow(child, tree)?;
        self.edit(parent)?.set_word(i, shadow);
        Ok(shadow)
    }

    /// The places on either side of each node on the path to a key, with which those nodes may be merged.
    pub(crate) fn beside_path(&mut self, root: u64, key: u64) -> Result<Vec<Place>, ThinError> {
        let (mut place, mut beside) = (Place::root(root), Vec::new());
        loop {
            let node = self.visit(&place, Tree::Mapping, Care::Write)?;
            if node.is_leaf() {
                return Ok(beside);
            }
            let i = node.lower_bound(key).unwrap_or(0);
            let both = [i.checked_sub(1), Some(i + 1).filter(|i| *i < node.len())];
            beside.extend(both.into_iter().flatten().map(|i| place.child(&node, i)));
            place = place.child(&node, i);
        }
    }

    /// Removes the mappings with keys in `from..to`, releasing their data blocks. Returns the root and how many there
    /// were.
    pub(crate) fn remove_mappings(
        &mut self,
        root: u64,
        (from, to): (u64, u64),
    ) -> Result<(u64, u64), ThinError> {
        let root = self.shadow(root, Tree::Mapping)?;
        let removed = self.trim(Place::root(root), (from, to))?;
        if self.node(root, Tree::Mapping)?.len() == 0 {
            *self.edit(root)? = Node::new(Tree::Mapping, Level::Leaf);
        }
        Ok((self.mend_root(root, Tree::Mapping, &[from, to])?, removed))
    }

    /// Trims a private node.
    fn trim(&mut self, place: Place, (from, to): (u64, u64)) -> Result<u64, ThinError> {
        let node = self.visit(&place, Tree::Mapping, Care::Write)?;
        if node.is_leaf() {
            return self.trim_leaf(place.block, &node, (from, to));
        }
        let mut removed = 0;
        let first = node.lower_bound(from).unwrap_or(0);
        let mut gone = None;
        for i in (first..node.len()).take_while(|i| node.key(*i) < to) {
            let child = place.child(&node, i);
            if from <= child.low() && child.keys().end <= to {
                removed += self.delete_tree(child, Tree::Mapping)?;
                gone.get_or_insert(i..i).end = i + 1;
                continue;
            }
            let child = child.moved_to(self.shadow_child(place.block, i, Tree::Mapping)?);
            removed += self.trim(child, (from, to))?;
            if self.node(child.block, Tree::Mapping)?.len() == 0 {
                self.release(child.block)?;
                gone.get_or_insert(i..i).end = i + 1;
            }
        }
        if let Some(gone) = gone {
            self.edit(place.block)?.remove(gone.start, gone.end);
        }
        Ok(removed)
    }

    fn trim_leaf(&mut self, block: u64, leaf: &Node, (from, to): (u64, u64)) -> Result<u64, ThinError> {
        let first = (0..leaf.len()).find(|i| leaf.key(*i) >= from).unwrap_or(leaf.len());
        let last = (first..leaf.len()).find(|i| leaf.key(*i) >= to).unwrap_or(leaf.len());
        for i in first..last {
            self.release_data(BlockTime::unpack(leaf.word(i)).block)?;
        }
        self.edit(block)?.remove(first, last);
        Ok((last - first) as u64)
    }

    /// Mends the paths to `keys` below a private root until nothing is too empty, and drops roots of one child.
    fn mend_root(&mut self, mut root: u64, tree: Tree, keys: &[u64]) -> Result<u64, ThinError> {
        loop {
            let mut changed = false;
            for key in keys {
                changed |= self.mend(root, tree, *key, DEPTH_MAX)?;
            }
            let node = self.node(root, tree)?;
            if !node.is_leaf() && node.len() == 1 {
                // The pointer moves up with the child: its count stays, the old root (private) goes.
                self.release(root)?;
                root = self.shadow(node.word(0), tree)?;
            } else if !changed {
                return Ok(root);
            }
        }
    }

    /// Mends the path to `key`, leaves first. Nodes that are not private were not trimmed, and are well filled.
    fn mend(&mut self, block: u64, tree: Tree, key: u64, depth: u32) -> Result<bool, ThinError> {
        let depth = depth.checked_sub(1).ok_or_else(|| too_deep(block))?;
        let node = self.node(block, tree)?;
        if node.is_leaf() {
            return Ok(false);
        }
        let i = node.lower_bound(key).unwrap_or(0);
        let child = node.word(i);
        if !self.is_private(child)? {
            return Ok(false);
        }
        let mut changed = self.mend(child, tree, key, depth)?;
        let (len, min) = self.node(child, tree).map(|child| (child.len(), child.min()))?;
        if len < min && node.len() > 1 {
            self.balance(block, i.saturating_sub(1), tree)?;
            changed = true;
        }
        Ok(changed)
    }

    /// Merges child `i` with the next one, or shares their entries evenly. The threshold leaves both sides above the
    /// minimum, so that the next removal does not come back here at once.
    fn balance(&mut self, parent: u64, i: usize, tree: Tree) -> Result<(), ThinError> {
        let left_block = self.shadow_child(parent, i, tree)?;
        let right_block = self.shadow_child(parent, i + 1, tree)?;
        let mut left = Node::clone(&*self.node(left_block, tree)?);
        let mut right = Node::clone(&*self.node(right_block, tree)?);
        let total = left.len() + right.len();
        if total < 2 * (left.min() + 1) {
            left.take_head(&mut right, total - left.len());
            self.release(right_block)?;
            self.edit(parent)?.remove(i + 1, i + 2);
        } else {
            share(&mut left, &mut right, total / 2);
            self.edit(parent)?.set_key(i + 1, right.key(0));
            *self.edit(right_block)? = right;
        }
        *self.edit(left_block)? = left;
        Ok(())
    }
}

/// Moves entries until `left` has `want`.
fn share(left: &mut Node, right: &mut Node, want: usize) {
    if left.len() < want {
        left.take_head(right, want - left.len());
    } else {
        let mut moved = left.sibling();
        left.move_tail(want, &mut moved);
        moved.take_head(right, right.len());
        *right = moved;
    }
}
