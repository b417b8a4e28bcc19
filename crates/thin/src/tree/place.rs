//! A node's place in its tree: the keys that its parents leave to it, and how deep it may lie.
//!
//! What always holds: every node is held against its place before anything in it is used. So no damage makes a walk
//! longer than the tree is large, and an error says which keys are lost (A6).

use crate::{
    ThinError,
    error::{Lost, TreeName},
    limits::DEPTH_MAX,
    meta::{Meta, MetaRead},
    node::Node,
    values::Tree,
};
use std::{ops::Range, sync::Arc};

/// What a node is visited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// To be read: whatever can be understood will do.
    Read,
    /// To be changed: also its fill and its count must be right, or the damage would spread.
    Write,
}

/// A path that is deeper than any tree of the format.
pub(super) fn too_deep(block: u64) -> ThinError {
    ThinError::Node { block, what: format!("deeper than {DEPTH_MAX} levels") }
}

/// A node in a walk, and the keys that it may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) block: u64,
    /// No key may be below; the parent's key.
    low: u64,
    /// The first key for which this is the whole truth: below `low` at the left edge of a node, where a key that was
    /// never there would be looked for.
    from: u64,
    /// `None`: no bound above.
    high: Option<u64>,
    /// Levels that may still follow.
    depth: u32,
}

impl Place {
    pub(crate) fn root(block: u64) -> Place {
        Place { block, low: 0, from: 0, high: None, depth: DEPTH_MAX }
    }

    pub(crate) fn child(&self, node: &Node, i: usize) -> Place {
        let low = node.key(i);
        let from = if i == 0 { self.from } else { low };
        let high = if i + 1 < node.len() { Some(node.key(i + 1)) } else { self.high };
        Place { block: node.word(i), low, from, high, depth: self.depth.saturating_sub(1) }
    }

    /// The same place, for the shadow of its node.
    pub(super) fn moved_to(self, block: u64) -> Place {
        Place { block, ..self }
    }

    /// The keys for which this place is the whole truth.
    pub(crate) fn keys(&self) -> Range<u64> {
        self.from..self.high.unwrap_or(u64::MAX)
    }

    /// The parent's key of this place.
    pub(crate) fn low(&self) -> u64 {
        self.low
    }

    fn is_root(&self) -> bool {
        self.depth == DEPTH_MAX
    }

    fn check(&self, node: &Node) -> Result<(), ThinError> {
        let Place { block, low, high, depth, .. } = *self;
        match (node.first_key(), node.last_key()) {
            _ if depth == 0 => Err(too_deep(block)),
            (Some(first), Some(last)) if first >= low && high.is_none_or(|high| last < high) => Ok(()),
            (None, _) if self.is_root() => Ok(()),
            (None, _) => Err(ThinError::Node { block, what: "an empty node below a root".to_owned() }),
            (first, last) => {
                let what = format!("keys {first:?} to {last:?} outside its parent's {low} to {high:?}");
                Err(ThinError::Node { block, what })
            }
        }
    }

    fn check_fill(&self, node: &Node) -> Result<(), ThinError> {
        match self.is_root() || node.len() >= node.min() {
            true => Ok(()),
            false => {
                let what = format!("{} entries, at least {} expected", node.len(), node.min());
                Err(ThinError::Node { block: self.block, what })
            }
        }
    }
}

impl<R: MetaRead> Meta<R> {
    /// The node at a place, held against it.
    pub(crate) fn visit(&mut self, place: &Place, tree: Tree, care: Care) -> Result<Arc<Node>, ThinError> {
        self.visit_bare(place, tree, care).map_err(|source| ThinError::Damaged {
            lost: Lost { tree: TreeName::of(tree), device: None, keys: place.keys(), block: place.block },
            source: Box::new(source),
        })
    }

    fn visit_bare(&mut self, place: &Place, tree: Tree, care: Care) -> Result<Arc<Node>, ThinError> {
        let node = self.node(place.block, tree)?;
        place.check(&node)?;
        if care == Care::Write {
            place.check_fill(&node)?;
            self.blocks.check_used(place.block)?;
        }
        Ok(node)
    }
}
