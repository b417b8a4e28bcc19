//! A way through one tree in the order of its keys, for listings: it holds the nodes from the root down to where it
//! stands and nothing more, and may pass over a subtree without reading it.
//!
//! What always holds: every node read is verified, and its keys lie within what its parent leaves for them. Since the
//! parts of a parent are disjoint, no image makes a cursor read a node twice.

use crate::{
    image::ReadBlock,
    layout::{BLOCK_BYTES, BlockKind, u64_at},
    limits,
    node::Node,
    problem::Use,
    tree::value_size,
};
use umbra_base::{Error, ErrorCode, Result};

/// A subtree that was not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subtree {
    pub block: u64,
    /// The keys that its parent leaves for it.
    pub low: u64,
    pub high: u64,
}

/// What a cursor stands at.
pub(crate) enum Place<'c> {
    Subtree(Subtree),
    /// Key and value of a leaf.
    Entry(u64, &'c [u8]),
    End,
}

#[derive(Debug)]
struct Level {
    node: Node,
    index: usize,
    high: u64,
}

/// Stands before the root at first.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    image: &'a dyn ReadBlock,
    kind: Use,
    /// What it was made for, until that is read.
    start: Option<Subtree>,
    levels: Vec<Level>,
}

impl<'a> Cursor<'a> {
    /// At the beginning of the tree of `kind` below `root`.
    pub fn new(image: &'a dyn ReadBlock, kind: Use, root: u64) -> Cursor<'a> {
        Cursor::within(image, kind, Subtree { block: root, low: 0, high: u64::MAX })
    }

    /// At the beginning of a part of the tree.
    pub fn within(image: &'a dyn ReadBlock, kind: Use, start: Subtree) -> Cursor<'a> {
        Cursor { image, kind, start: Some(start), levels: Vec::new() }
    }

    /// Where it stands.
    pub fn place(&self) -> Place<'_> {
        if let Some(start) = self.start {
            return Place::Subtree(start);
        }
        match self.levels.last() {
            None => Place::End,
            Some(Level { node, index, .. }) if !node.internal => {
                Place::Entry(node.key(*index), node.value(*index))
            }
            Some(level) => Place::Subtree(level.child()),
        }
    }

    /// Reads the subtree that it stands before, and goes to its first part.
    pub fn descend(&mut self) -> Result<()> {
        let Place::Subtree(subtree) = self.place() else { return Ok(()) };
        let node = self.read(&subtree)?;
        self.start = None;
        self.levels.push(Level { node, index: 0, high: subtree.high });
        self.leave_what_is_done();
        Ok(())
    }

    /// Passes over the subtree or the entry that it stands before.
    pub fn skip(&mut self) {
        if self.start.take().is_none()
            && let Some(level) = self.levels.last_mut()
        {
            level.index += 1;
            self.leave_what_is_done();
        }
    }

    /// Goes to the first entry from here on, and calls `read` with it; passes over it then.
    pub fn next_entry<T>(&mut self, read: impl Fn(u64, &[u8]) -> T) -> Option<Result<T>> {
        loop {
            match self.place() {
                Place::End => return None,
                Place::Entry(key, value) => {
                    let found = read(key, value);
                    self.skip();
                    return Some(Ok(found));
                }
                Place::Subtree(_) => {
                    if let Err(error) = self.descend() {
                        self.stop();
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// What `read` makes of the entry with that key, which must not lie behind the cursor; it passes over all before.
    pub fn find<T>(&mut self, key: u64, read: impl Fn(&[u8]) -> T) -> Result<Option<T>> {
        loop {
            match self.place() {
                Place::Subtree(subtree) if subtree.high < key => self.skip(),
                Place::Subtree(subtree) if subtree.low > key => return Ok(None),
                Place::Subtree(_) => self.descend()?,
                Place::Entry(found, _) if found < key => self.skip(),
                Place::Entry(found, value) => return Ok((found == key).then(|| read(value))),
                Place::End => return Ok(None),
            }
        }
    }

    /// Nodes between the root and where it stands.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Nothing comes any more.
    pub fn stop(&mut self) {
        self.start = None;
        self.levels.clear();
    }

    fn leave_what_is_done(&mut self) {
        while self.levels.last().is_some_and(|level| level.index >= level.node.entries) {
            self.levels.pop();
            if let Some(parent) = self.levels.last_mut() {
                parent.index += 1;
            }
        }
    }

    fn read(&self, subtree: &Subtree) -> Result<Node> {
        let (block, level) = (subtree.block, self.levels.len());
        let node = self.read_node(block)?;
        let fits = match node.entries {
            0 => level == 0,
            entries => node.key(0) >= subtree.low && node.key(entries - 1) <= subtree.high,
        };
        if fits && level < limits::TREE_LEVELS {
            Ok(node)
        } else {
            Err(self.corrupt(block, "does not fit its place in the tree"))
        }
    }

    fn read_node(&self, block: u64) -> Result<Node> {
        let mut bytes = Box::new([0; BLOCK_BYTES]);
        if block >= self.image.blocks() {
            let end = self.image.blocks();
            return Err(self.corrupt(block, &format!("lies beyond the {end} blocks of the metadata")));
        }
        self.image
            .read_block(block, &mut bytes)
            .map_err(|error| Error::io(format!("read metadata block {block}"), error))?;
        if BlockKind::of(&bytes) != Some(BlockKind::Node) || u64_at(&*bytes, 8) != block {
            return Err(self.corrupt(block, "is no tree node"));
        }
        Node::parse(bytes, value_size(self.kind)).map_err(|problem| self.corrupt(block, &problem.to_string()))
    }

    fn corrupt(&self, block: u64, what: &str) -> Error {
        Error::new(ErrorCode::Corrupt, format!("{}: block {block} {what}", self.kind))
            .hint("`umbra pool check` tells what is damaged and what it costs")
            .param("block", block)
    }
}

impl Level {
    fn child(&self) -> Subtree {
        let (low, high) = (self.node.key(self.index), self.node.last_key_below(self.index, self.high));
        Subtree { block: self.node.child(self.index), low, high }
    }
}
