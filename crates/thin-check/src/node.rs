//! One B-tree node: bytes become a [`Node`] only when its header and the order of its keys are in order.

use crate::{
    layout::{BLOCK_BYTES, Block, NODE_HEADER, max_entries, u32_at, u64_at},
    problem::Problem,
};

const INTERNAL: u32 = 1;
const LEAF: u32 = 2;
/// Internal nodes hold block numbers, in every tree.
const POINTER_BYTES: usize = 8;

/// A node whose shape is valid by itself; how it fits its tree is for the walk to say.
#[derive(Debug)]
pub(crate) struct Node {
    bytes: Box<Block>,
    pub internal: bool,
    pub entries: usize,
    value_size: usize,
}

impl Node {
    /// Validates `bytes` as a node of a tree whose leaves hold values of `leaf_value_size` bytes.
    pub fn parse(bytes: Box<Block>, leaf_value_size: usize) -> Result<Node, Problem> {
        let flags = u32_at(&*bytes, 4);
        let (internal, value_size) = match flags {
            INTERNAL => (true, POINTER_BYTES),
            LEAF => (false, leaf_value_size),
            flags => return Err(Problem::NodeFlags { flags }),
        };
        let capacity = max_entries(value_size);
        let (entries, max, size) = (u32_at(&*bytes, 16), u32_at(&*bytes, 20), u32_at(&*bytes, 24));
        if size as usize != value_size {
            return Err(Problem::NodeValueSize { found: size, expected: value_size });
        }
        if max as usize != capacity {
            return Err(Problem::NodeMaxEntries { found: max, expected: capacity });
        }
        if entries as usize > capacity || (internal && entries == 0) {
            return Err(Problem::NodeEntries { entries, capacity });
        }
        let node = Node { bytes, internal, entries: entries as usize, value_size };
        match (1..node.entries).find(|i| node.key(*i) <= node.key(i - 1)) {
            Some(index) => Err(Problem::KeyOrder { index }),
            None => Ok(node),
        }
    }

    /// Entries that such a node needs at least, unless it is a root.
    pub fn minimum(&self) -> usize {
        max_entries(self.value_size) / 3
    }

    /// Key `index`, which is below `entries`.
    pub fn key(&self, index: usize) -> u64 {
        u64_at(&*self.bytes, NODE_HEADER + 8 * index)
    }

    /// Value `index`, which is below `entries`.
    pub fn value(&self, index: usize) -> &[u8] {
        let start = NODE_HEADER + 8 * max_entries(self.value_size) + self.value_size * index;
        &self.bytes[start..start + self.value_size]
    }

    /// The child block of an internal node.
    pub fn child(&self, index: usize) -> u64 {
        u64_at(self.value(index), 0)
    }

    /// The last key that entry `index` may lead to, when the node as a whole ends at `high`.
    pub fn last_key_below(&self, index: usize, high: u64) -> u64 {
        if index + 1 < self.entries { self.key(index + 1) - 1 } else { high }
    }
}

const _: () = assert!(NODE_HEADER + (8 + 4) * 336 <= BLOCK_BYTES);
