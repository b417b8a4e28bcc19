//! The open transaction: nodes that may be changed, and the two space maps (dm-thin format section 8).
//!
//! Picture: every node is either committed (on disk, or on its way there) or *fresh*: made since the last commit was
//! frozen. [`Meta::shadow`] turns a committed node into a fresh copy and is the only way to one; [`Meta::edit`]
//! changes fresh ones only. That is rule R1: nothing that a committed state can reach is ever written.
//!
//! What always holds: a fresh node stays in the cache until its commit is durable; nodes are checked once, when read.

use crate::{
    ThinError,
    limits::CACHE_PAGES,
    node::{Level, Node},
    page::{Page, PageKind, verify},
    space::{Reuse, SpaceMap},
    values::{BlockTime, Tree},
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Where metadata blocks are read from. Blocks that a commit wrote must read back once the commit was called durable.
pub trait MetaRead {
    /// The bytes of a metadata block.
    fn read(&self, block: u64) -> std::io::Result<Box<Page>>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Made in this transaction.
    Fresh,
    /// In the commit that is being written.
    InFlight,
    /// As on disk.
    Clean,
}

#[derive(Debug)]
struct Cached {
    node: Arc<Node>,
    state: State,
    used: bool,
}

/// Nodes and space maps of a pool, with the changes of the open transaction.
#[derive(Debug)]
pub(crate) struct Meta<R> {
    reader: R,
    /// No block at or after it is part of the pool.
    end: u64,
    cache: HashMap<u64, Cached>,
    /// Pages in the cache from which on clean ones are dropped.
    pub(crate) cache_pages: usize,
    fresh: HashSet<u64>,
    pub(crate) blocks: SpaceMap,
    pub(crate) data: SpaceMap,
}

impl<R: MetaRead> Meta<R> {
    /// Before any node is read; the space maps come later.
    pub(crate) fn new(reader: R, end: u64, blocks: SpaceMap, data: SpaceMap) -> Self {
        Meta {
            reader,
            end,
            cache: HashMap::new(),
            cache_pages: CACHE_PAGES,
            fresh: HashSet::new(),
            blocks,
            data,
        }
    }

    /// A block as it stands on disk, with its checksum and place checked.
    pub(crate) fn read_page(&self, block: u64, kind: PageKind) -> Result<Box<Page>, ThinError> {
        if block >= self.end {
            let what = format!("a pointer leads there, but the pool has {} metadata blocks", self.end);
            return Err(ThinError::Node { block, what });
        }
        let page = self.reader.read(block).map_err(|source| ThinError::Read { block, source })?;
        verify(&page, kind, block)?;
        Ok(page)
    }

    /// A node of `tree`.
    pub(crate) fn node(&mut self, block: u64, tree: Tree) -> Result<Arc<Node>, ThinError> {
        if let Some(cached) = self.cache.get_mut(&block) {
            cached.used = true;
            return match cached.node.fits(tree) {
                true => Ok(cached.node.clone()),
                false => Err(ThinError::Node { block, what: "used in two kinds of trees".to_owned() }),
            };
        }
        let node = Node(*self.read_page(block, PageKind::Node)?);
        node.check(tree, block)?;
        self.make_room();
        let node = Arc::new(node);
        self.cache.insert(block, Cached { node: node.clone(), state: State::Clean, used: true });
        Ok(node)
    }

    /// Drops clean nodes that nobody asked for since the last time, when the cache is full.
    fn make_room(&mut self) {
        if self.cache.len() >= self.cache_pages {
            self.cache.retain(|_, cached| {
                let keep = cached.state != State::Clean || cached.used;
                cached.used = false;
                keep
            });
        }
    }

    /// The pool has more metadata blocks now.
    pub(crate) fn extend(&mut self, blocks: u64) {
        self.blocks.extend_for_commit(blocks);
        self.end = blocks;
    }

    /// Whether a node may be changed where it is.
    pub(crate) fn is_private(&self, block: u64) -> Result<bool, ThinError> {
        Ok(self.fresh.contains(&block) && self.blocks.count(block)? == 1)
    }

    /// A fresh node.
    pub(crate) fn edit(&mut self, block: u64) -> Result<&mut Node, ThinError> {
        match self.cache.get_mut(&block) {
            Some(Cached { node, state: State::Fresh, .. }) => Ok(Arc::make_mut(node)),
            _ => Err(ThinError::Node { block, what: "changed without a shadow".to_owned() }),
        }
    }

    /// Puts a new node somewhere.
    pub(crate) fn add(&mut self, node: Node) -> Result<u64, ThinError> {
        let block = self.allocate()?;
        self.fresh.insert(block);
        self.cache.insert(block, Cached { node: Arc::new(node), state: State::Fresh, used: true });
        Ok(block)
    }

    /// An empty tree.
    pub(crate) fn add_tree(&mut self, tree: Tree) -> Result<u64, ThinError> {
        self.add(Node::new(tree, Level::Leaf))
    }

    /// A metadata block with count 1. Free in the committed and in the current state (R2).
    pub(crate) fn allocate(&mut self) -> Result<u64, ThinError> {
        let (free, total) = (self.blocks.nr_free(), self.blocks.nr_blocks());
        let block = self.blocks.reserve(None).ok_or(ThinError::MetadataFull { free, total, needed: 1 })?;
        self.blocks.search_from(block + 1);
        self.blocks.claim(block);
        Ok(block)
    }

    /// Takes one pointer from a metadata block; forgets the node when it was the last.
    pub(crate) fn release(&mut self, block: u64) -> Result<u32, ThinError> {
        let fresh = self.fresh.contains(&block);
        let left = self.blocks.decrement(block, if fresh { Reuse::Now } else { Reuse::AfterCommit })?;
        if left == 0 {
            self.fresh.remove(&block);
            self.cache.remove(&block);
        }
        Ok(left)
    }

    /// Makes a node changeable: itself if it is private, else a copy in a new place (section 8.2). The pointer to it
    /// must be private already, and must be set to what is returned.
    pub(crate) fn shadow(&mut self, block: u64, tree: Tree) -> Result<u64, ThinError> {
        if self.is_private(block)? {
            return Ok(block);
        }
        let node = self.node(block, tree)?;
        let copy = self.add(Node::clone(&node))?;
        if self.release(block)? > 0 {
            self.increment_children(&node, tree)?;
        }
        Ok(copy)
    }

    /// What a node points to has one pointer more, because there are two such nodes now.
    fn increment_children(&mut self, node: &Node, tree: Tree) -> Result<(), ThinError> {
        for i in 0..node.len() {
            match (node.level(), tree) {
                (Level::Internal, _) | (Level::Leaf, Tree::Top) => self.blocks.increment(node.word(i))?,
                (Level::Leaf, Tree::Mapping) => self.data.increment(BlockTime::unpack(node.word(i)).block)?,
                (Level::Leaf, _) => {}
            }
        }
        Ok(())
    }

    /// Takes one pointer from a data block. It is never handed out before the next commit: until then a log record may
    /// still name it.
    pub(crate) fn release_data(&mut self, block: u64) -> Result<(), ThinError> {
        self.data.decrement(block, Reuse::AfterCommit).map(drop)
    }

    /// Closes the transaction: hands its nodes out for writing.
    pub(crate) fn freeze_nodes(&mut self) -> Vec<(u64, Arc<Node>)> {
        let mut nodes = Vec::with_capacity(self.fresh.len());
        for block in self.fresh.drain() {
            if let Some(cached) = self.cache.get_mut(&block) {
                cached.state = State::InFlight;
                nodes.push((block, cached.node.clone()));
            }
        }
        nodes.sort_unstable_by_key(|(block, _)| *block);
        nodes
    }

    /// The frozen transaction is durable; `nodes` are those that it wrote.
    pub(crate) fn settle(&mut self, nodes: &[u64]) {
        for block in nodes {
            if let Some(cached) = self.cache.get_mut(block)
                && cached.state == State::InFlight
            {
                cached.state = State::Clean;
            }
        }
        self.blocks.settle();
        self.data.settle();
    }
}
