//! A B-tree node as bytes (dm-thin format section 5). Nodes are kept in memory as they stand on disk and changed in
//! place; writing one is a copy and a checksum.
//!
//! What always holds: `max_entries` is the table's value for the width, the value array starts after `max_entries`
//! keys, keys ascend strictly; a node that came from disk was checked for all of it before anyone used it.

use crate::{
    ThinError,
    limits::META_BLOCK_BYTES,
    page::{Page, get_u32, get_u64, put_u32, put_u64},
    values::Tree,
};

const FLAGS: usize = 4;
const NR_ENTRIES: usize = 16;
const MAX_ENTRIES: usize = 20;
const VALUE_SIZE: usize = 24;
const KEYS: usize = 32;
const INTERNAL: u32 = 1;
const LEAF: u32 = 2;
/// Internal nodes hold block numbers.
const CHILD_SIZE: usize = 8;

/// Entries of a node with values that wide.
pub(crate) const fn max_entries(value_size: usize) -> usize {
    3 * ((META_BLOCK_BYTES - KEYS) / (8 + value_size) / 3)
}

/// The least entries of a node that is not a root.
pub(crate) const fn min_entries(value_size: usize) -> usize {
    max_entries(value_size) / 3
}

/// Whether a node has children or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Internal,
    Leaf,
}

/// A node's bytes.
#[derive(Debug, Clone)]
pub(crate) struct Node(pub(crate) Page);

impl Node {
    pub(crate) fn new(tree: Tree, level: Level) -> Self {
        let mut page = [0; META_BLOCK_BYTES];
        let (flag, size) = match level {
            Level::Internal => (INTERNAL, CHILD_SIZE),
            Level::Leaf => (LEAF, tree.value_size()),
        };
        put_u32(&mut page, FLAGS, flag);
        put_u32(&mut page, MAX_ENTRIES, max_entries(size) as u32);
        put_u32(&mut page, VALUE_SIZE, size as u32);
        Node(page)
    }

    /// Checks everything about a node that can be seen in it alone; its checksum has been.
    pub(crate) fn check(&self, tree: Tree, block: u64) -> Result<(), ThinError> {
        let wrong = |what: String| Err(ThinError::Node { block, what });
        let size = match get_u32(&self.0, FLAGS) {
            INTERNAL => CHILD_SIZE,
            LEAF => tree.value_size(),
            flags => return wrong(format!("flags are {flags}, expected 1 or 2")),
        };
        if self.value_size() != size {
            return wrong(format!("value size is {}, expected {size}", self.value_size()));
        }
        let max = get_u32(&self.0, MAX_ENTRIES) as usize;
        if max != max_entries(size) {
            return wrong(format!("max_entries is {max}, expected {}", max_entries(size)));
        }
        if self.len() > max {
            return wrong(format!("{} entries, at most {max} fit", self.len()));
        }
        if self.level() == Level::Internal && self.len() == 0 {
            return wrong("an internal node without children".to_owned());
        }
        match (1..self.len()).find(|i| self.key(i - 1) >= self.key(*i)) {
            Some(i) => wrong(format!("key {} follows {}", self.key(i), self.key(i - 1))),
            None => Ok(()),
        }
    }

    /// Whether a cached node, checked before, can stand in this tree.
    pub(crate) fn fits(&self, tree: Tree) -> bool {
        self.level() == Level::Internal || self.value_size() == tree.value_size()
    }

    pub(crate) fn level(&self) -> Level {
        if get_u32(&self.0, FLAGS) == LEAF { Level::Leaf } else { Level::Internal }
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.level() == Level::Leaf
    }

    pub(crate) fn len(&self) -> usize {
        get_u32(&self.0, NR_ENTRIES) as usize
    }

    fn set_len(&mut self, len: usize) {
        put_u32(&mut self.0, NR_ENTRIES, len as u32);
    }

    fn value_size(&self) -> usize {
        get_u32(&self.0, VALUE_SIZE) as usize
    }

    pub(crate) fn max(&self) -> usize {
        max_entries(self.value_size())
    }

    /// The least entries of a node that is not a root.
    pub(crate) fn min(&self) -> usize {
        min_entries(self.value_size())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.max()
    }

    pub(crate) fn key(&self, i: usize) -> u64 {
        get_u64(&self.0, KEYS + 8 * i)
    }

    pub(crate) fn first_key(&self) -> Option<u64> {
        (self.len() > 0).then(|| self.key(0))
    }

    pub(crate) fn last_key(&self) -> Option<u64> {
        self.len().checked_sub(1).map(|last| self.key(last))
    }

    pub(crate) fn set_key(&mut self, i: usize, key: u64) {
        put_u64(&mut self.0, KEYS + 8 * i, key);
    }

    fn value_at(&self, i: usize) -> usize {
        KEYS + 8 * self.max() + self.value_size() * i
    }

    pub(crate) fn value(&self, i: usize) -> &[u8] {
        &self.0[self.value_at(i)..self.value_at(i + 1)]
    }

    /// The value of an 8-byte wide node: a child, a root, a mapping.
    pub(crate) fn word(&self, i: usize) -> u64 {
        get_u64(&self.0, self.value_at(i))
    }

    pub(crate) fn set_value(&mut self, i: usize, value: &[u8]) {
        let at = self.value_at(i);
        self.0[at..at + value.len()].copy_from_slice(value);
    }

    pub(crate) fn set_word(&mut self, i: usize, word: u64) {
        self.set_value(i, &word.to_le_bytes());
    }

    /// The last entry whose key is at or below `key`.
    pub(crate) fn lower_bound(&self, key: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.key(middle) <= key { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1)
    }

    /// The entry of exactly `key`.
    pub(crate) fn find(&self, key: u64) -> Option<usize> {
        self.lower_bound(key).filter(|i| self.key(*i) == key)
    }

    pub(crate) fn insert(&mut self, i: usize, key: u64, value: &[u8]) {
        let (len, size) = (self.len(), self.value_size());
        debug_assert!(len < self.max() && i <= len && value.len() == size);
        self.0.copy_within(KEYS + 8 * i..KEYS + 8 * len, KEYS + 8 * (i + 1));
        let at = self.value_at(i);
        self.0.copy_within(at..at + size * (len - i), at + size);
        self.set_len(len + 1);
        self.set_key(i, key);
        self.set_value(i, value);
    }

    pub(crate) fn append(&mut self, key: u64, value: &[u8]) {
        self.insert(self.len(), key, value);
    }

    /// Sets entries in ascending order of their keys, for which there is room: what moves, moves once.
    pub(crate) fn merge<const SIZE: usize>(&mut self, entries: impl Iterator<Item = (u64, [u8; SIZE])>) {
        let (mut merged, mut next) = (self.sibling(), 0);
        for (key, value) in entries {
            while next < self.len() && self.key(next) < key {
                merged.append(self.key(next), self.value(next));
                next += 1;
            }
            next += usize::from(next < self.len() && self.key(next) == key);
            merged.append(key, &value);
        }
        for i in next..self.len() {
            merged.append(self.key(i), self.value(i));
        }
        *self = merged;
    }

    /// Drops the entries `from..to`; the room that they leave is zeroed.
    pub(crate) fn remove(&mut self, from: usize, to: usize) {
        let (len, size) = (self.len(), self.value_size());
        debug_assert!(from <= to && to <= len);
        self.0.copy_within(KEYS + 8 * to..KEYS + 8 * len, KEYS + 8 * from);
        let (start, end, past) = (self.value_at(from), self.value_at(to), self.value_at(len));
        self.0.copy_within(end..past, start);
        let left = len - (to - from);
        self.0[KEYS + 8 * left..KEYS + 8 * len].fill(0);
        let cut = self.value_at(left);
        self.0[cut..cut + size * (len - left)].fill(0);
        self.set_len(left);
    }

    /// Moves the entries from `at` on to the end of `to`.
    pub(crate) fn move_tail(&mut self, at: usize, to: &mut Node) {
        for i in at..self.len() {
            to.append(self.key(i), self.value(i));
        }
        self.remove(at, self.len());
    }

    /// Moves the first `count` entries of `from` to our end.
    pub(crate) fn take_head(&mut self, from: &mut Node, count: usize) {
        for i in 0..count {
            self.append(from.key(i), from.value(i));
        }
        from.remove(0, count);
    }

    /// An empty node of the same level and width.
    pub(crate) fn sibling(&self) -> Node {
        let mut page = [0; META_BLOCK_BYTES];
        page[FLAGS..FLAGS + 4].copy_from_slice(&self.0[FLAGS..FLAGS + 4]);
        page[MAX_ENTRIES..KEYS].copy_from_slice(&self.0[MAX_ENTRIES..KEYS]);
        Node(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{PageKind, seal};

    #[test]
    fn empty_leaves_have_the_checksums_of_the_reference() {
        let cases = [
            (Tree::Overflow, 0x41A2_E41B),
            (Tree::Mapping, 0x49C5_4642),
            (Tree::Index, 0xFA9A_80A0),
            (Tree::Details, 0xB1C8_1346),
        ];
        for (tree, checksum) in cases {
            let mut node = Node::new(tree, Level::Leaf);
            seal(&mut node.0, PageKind::Node, 7);
            assert_eq!(get_u32(&node.0, 0), checksum, "{tree:?}");
            node.check(tree, 7).unwrap();
        }
    }

    #[test]
    fn widths_have_the_entries_of_the_reference() {
        let table = [(4, 336), (8, 252), (16, 168), (24, 126)];
        table.iter().for_each(|(size, max)| assert_eq!(max_entries(*size), *max));
    }

    #[test]
    fn entries_stay_in_order_through_insert_and_remove() {
        let mut node = Node::new(Tree::Mapping, Level::Leaf);
        for key in [5, 1, 9, 3, 7] {
            let at = node.lower_bound(key).map_or(0, |i| i + 1);
            node.insert(at, key, &(key * 10).to_le_bytes());
        }
        assert_eq!(
            (0..5).map(|i| (node.key(i), node.word(i))).collect::<Vec<_>>(),
            [(1, 10), (3, 30), (5, 50), (7, 70), (9, 90)]
        );
        let new = [(0, 1), (3, 31), (4, 40), (9, 91), (12, 120)];
        let mut merged = node.clone();
        merged.merge(new.into_iter().map(|(key, value): (u64, u64)| (key, value.to_le_bytes())));
        assert_eq!(
            (0..merged.len()).map(|i| (merged.key(i), merged.word(i))).collect::<Vec<_>>(),
            [(0, 1), (1, 10), (3, 31), (4, 40), (5, 50), (7, 70), (9, 91), (12, 120)]
        );
        merged.check(Tree::Mapping, 0).unwrap();
        node.remove(1, 3);
        assert_eq!((node.find(7), node.find(3), node.lower_bound(0)), (Some(1), None, None));
        let mut right = node.sibling();
        node.move_tail(1, &mut right);
        assert_eq!((node.len(), right.len(), right.key(0)), (1, 2, 7));
    }
}
