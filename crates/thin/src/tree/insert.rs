//! Inserting: top down, splitting full nodes on the way, so that there is always room below (section 10).

use super::place::too_deep;
use crate::{
    ThinError,
    limits::DEPTH_MAX,
    meta::{Meta, MetaRead},
    node::{Level, Node},
    values::Tree,
};

impl<R: MetaRead> Meta<R> {
    /// Sets `key` to `value` and returns the tree's root, which may have moved. The value that was there is not
    /// released: what it meant is the caller's to know.
    pub(crate) fn insert(&mut self, root: u64, tree: Tree, key: u64, value: &[u8]) -> Result<u64, ThinError> {
        let mut root = self.shadow(root, tree)?;
        if self.must_split(root, tree, key)? {
            root = self.grow(root, tree)?;
            self.split_child(root, 0, tree, key)?;
        }
        let mut block = root;
        for _ in 0..DEPTH_MAX {
            let node = self.edit(block)?;
            if node.is_leaf() {
                put(node, key, value);
                return Ok(root);
            }
            let i = node.lower_bound(key).unwrap_or_else(|| {
                node.set_key(0, key);
                0
            });
            let child = node.word(i);
            block = self.descend(block, i, child, tree, key)?;
        }
        Err(too_deep(block))
    }

    /// Makes the child ready for the insertion of `key` below it, and returns where to go on.
    fn descend(&mut self, parent: u64, i: usize, child: u64, tree: Tree, key: u64) -> Result<u64, ThinError> {
        let child = self.shadow(child, tree)?;
        self.edit(parent)?.set_word(i, child);
        if !self.must_split(child, tree, key)? {
            return Ok(child);
        }
        self.split_child(parent, i, tree, key)?;
        let parent = self.edit(parent)?;
        Ok(parent.word(if key >= parent.key(i + 1) { i + 1 } else { i }))
    }

    fn must_split(&mut self, block: u64, tree: Tree, key: u64) -> Result<bool, ThinError> {
        let node = self.node(block, tree)?;
        Ok(node.is_full() && !(node.is_leaf() && node.find(key).is_some()))
    }

    /// A new root above the old one.
    fn grow(&mut self, root: u64, tree: Tree) -> Result<u64, ThinError> {
        let first = self.node(root, tree)?.first_key().unwrap_or(0);
        let mut above = Node::new(tree, Level::Internal);
        above.append(first, &root.to_le_bytes());
        self.add(above)
    }

    /// Splits the full, private child `i`. An insertion at the right edge leaves the left part large: sequential
    /// writers then fill their leaves.
    fn split_child(&mut self, parent: u64, i: usize, tree: Tree, key: u64) -> Result<(), ThinError> {
        let child = self.node(parent, tree)?.word(i);
        let left = self.edit(child)?;
        let appending = left.last_key().is_some_and(|last| key > last);
        let keep = if appending { left.max() - left.min() } else { left.max() / 2 };
        let mut right = left.sibling();
        left.move_tail(keep, &mut right);
        let first = right.key(0);
        let right = self.add(right)?;
        self.edit(parent)?.insert(i + 1, first, &right.to_le_bytes());
        Ok(())
    }
}

fn put(leaf: &mut Node, key: u64, value: &[u8]) {
    match leaf.lower_bound(key) {
        Some(i) if leaf.key(i) == key => leaf.set_value(i, value),
        Some(i) => leaf.insert(i + 1, key, value),
        None => leaf.insert(0, key, value),
    }
}
