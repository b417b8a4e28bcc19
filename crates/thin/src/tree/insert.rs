//! Inserting: top down, making room in full nodes on the way, so that there is always room below (section 10).

use super::place::too_deep;
use crate::{
    ThinError,
    limits::DEPTH_MAX,
    meta::{Meta, MetaRead},
    node::{Level, Node},
    values::Tree,
};

/// A private leaf that has room for the key that it was looked for with.
struct Target {
    /// The tree's root now.
    root: u64,
    leaf: u64,
    /// The first key that belongs to the next leaf.
    high: Option<u64>,
}

impl<R: MetaRead> Meta<R> {
    /// Sets `key` to `value` and returns the tree's root, which may have moved. The value that was there is not
    /// released: what it meant is the caller's to know.
    pub(crate) fn insert(&mut self, root: u64, tree: Tree, key: u64, value: &[u8]) -> Result<u64, ThinError> {
        let target = self.target(root, tree, key)?;
        put(self.edit(target.leaf)?, key, value);
        Ok(target.root)
    }

    /// Sets mappings, in ascending order of their keys, and shows `old` what each was before.
    pub(crate) fn insert_mappings(
        &mut self,
        root: u64,
        entries: &[(u64, u64)],
        old: &mut dyn FnMut(Option<u64>),
    ) -> Result<u64, ThinError> {
        let bytes = |value: &u64| value.to_le_bytes();
        self.insert_sorted(root, Tree::Mapping, entries, bytes, |leaf, at| old(at.map(|i| leaf.word(i))))
    }

    /// Sets keys in ascending order. One way down serves as many as a leaf takes. `replaces` is shown the leaf before each,
    /// and where in it the key is, if it is there.
    pub(crate) fn insert_sorted<T, const SIZE: usize>(
        &mut self,
        mut root: u64,
        tree: Tree,
        entries: &[(u64, T)],
        bytes: impl Fn(&T) -> [u8; SIZE],
        mut replaces: impl FnMut(&Node, Option<usize>),
    ) -> Result<u64, ThinError> {
        let mut rest = entries;
        while let Some((key, _)) = rest.first() {
            let target = self.target(root, tree, *key)?;
            root = target.root;
            let leaf = self.edit(target.leaf)?;
            let mut room = leaf.max() - leaf.len();
            let mut done = 0;
            for (key, _) in rest.iter().take_while(|(key, _)| target.high.is_none_or(|high| *key < high)) {
                let at = leaf.find(*key);
                if at.is_none() {
                    let Some(left) = room.checked_sub(1) else { break };
                    room = left;
                }
                replaces(leaf, at);
                done += 1;
            }
            let (now, later) = rest.split_at(done);
            match now {
                [(key, value)] => put(leaf, *key, &bytes(value)),
                many => leaf.merge(many.iter().map(|(key, value)| (*key, bytes(value)))),
            }
            rest = later;
        }
        Ok(root)
    }

    /// The leaf for `key`, private and with room for it.
    fn target(&mut self, root: u64, tree: Tree, key: u64) -> Result<Target, ThinError> {
        let mut root = self.shadow(root, tree)?;
        if self.is_too_full(root, tree, key)? {
            root = self.grow(root, tree)?;
            self.split_child(root, 0, tree, key)?;
        }
        let (mut block, mut high) = (root, None);
        for _ in 0..DEPTH_MAX {
            let node = self.edit(block)?;
            if node.is_leaf() {
                return Ok(Target { root, leaf: block, high });
            }
            let i = node.lower_bound(key).unwrap_or_else(|| {
                node.set_key(0, key);
                0
            });
            let i = self.descend(block, i, tree, key)?;
            let node = self.node(block, tree)?;
            high = if i + 1 < node.len() { Some(node.key(i + 1)) } else { high };
            block = node.word(i);
        }
        Err(too_deep(block))
    }

    /// Makes child `i` ready for the insertion of `key` below it, and returns which child that is now.
    fn descend(&mut self, parent: u64, i: usize, tree: Tree, key: u64) -> Result<usize, ThinError> {
        let child = self.node(parent, tree)?.word(i);
        let child = self.shadow(child, tree)?;
        self.edit(parent)?.set_word(i, child);
        if !self.is_too_full(child, tree, key)? {
            return Ok(i);
        }
        if !self.shift_left(parent, i, tree, key)? {
            self.split_child(parent, i, tree, key)?;
        }
        let parent = self.edit(parent)?;
        Ok(if i + 1 < parent.len() && key >= parent.key(i + 1) { i + 1 } else { i })
    }

    fn is_too_full(&mut self, block: u64, tree: Tree, key: u64) -> Result<bool, ThinError> {
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

    /// Where `key` goes to the end of the full, private child `i`: fills up the left neighbour from it, if that is
    /// private too and has room worth it. So a sequential writer leaves full nodes behind.
    fn shift_left(&mut self, parent: u64, i: usize, tree: Tree, key: u64) -> Result<bool, ThinError> {
        let node = self.node(parent, tree)?;
        let (child, Some(left)) = (node.word(i), i.checked_sub(1).map(|left| node.word(left))) else {
            return Ok(false);
        };
        if !is_append(&*self.node(child, tree)?, key) || !self.is_private(left)? {
            return Ok(false);
        }
        let room = self.node(left, tree).map(|left| left.max() - left.len())?;
        let mut right = Node::clone(&*self.node(child, tree)?);
        if room < right.min() {
            return Ok(false);
        }
        let count = room.min(right.len() - right.min());
        self.edit(left)?.take_head(&mut right, count);
        self.edit(parent)?.set_key(i, right.key(0));
        *self.edit(child)? = right;
        Ok(true)
    }

    /// Splits the full, private child `i`. An insertion at its right edge leaves the left part large: sequential
    /// writers then fill their nodes.
    fn split_child(&mut self, parent: u64, i: usize, tree: Tree, key: u64) -> Result<(), ThinError> {
        let child = self.node(parent, tree)?.word(i);
        let left = self.edit(child)?;
        let keep = if is_append(left, key) { left.max() - left.min() } else { left.max() / 2 };
        let mut right = left.sibling();
        left.move_tail(keep, &mut right);
        let first = right.key(0);
        let right = self.add(right)?;
        self.edit(parent)?.insert(i + 1, first, &right.to_le_bytes());
        Ok(())
    }
}

fn is_append(node: &Node, key: u64) -> bool {
    node.last_key().is_some_and(|last| key > last)
}

fn put(leaf: &mut Node, key: u64, value: &[u8]) {
    match leaf.lower_bound(key) {
        Some(i) if leaf.key(i) == key => leaf.set_value(i, value),
        Some(i) => leaf.insert(i + 1, key, value),
        None => leaf.insert(0, key, value),
    }
}
