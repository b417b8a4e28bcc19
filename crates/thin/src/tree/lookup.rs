//! Finding a key, and walking a range in order.

use crate::{
    ThinError,
    limits::DEPTH_MAX,
    meta::{Meta, MetaRead},
    node::Node,
    values::Tree,
};

/// What is shown each entry of a walk; an error of it ends the walk.
pub(crate) type See<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), ThinError>;

/// A path that is deeper than any tree of the format.
pub(super) fn too_deep(block: u64) -> ThinError {
    ThinError::Node { block, what: format!("deeper than {DEPTH_MAX} levels") }
}

impl<R: MetaRead> Meta<R> {
    /// The value of `key`, read by `take`.
    pub(crate) fn find<T>(
        &mut self,
        root: u64,
        tree: Tree,
        key: u64,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ThinError> {
        let mut block = root;
        for _ in 0..DEPTH_MAX {
            let node = self.node(block, tree)?;
            if node.is_leaf() {
                return Ok(node.find(key).map(|i| take(node.value(i))));
            }
            match node.lower_bound(key) {
                Some(i) => block = node.word(i),
                None => return Ok(None),
            }
        }
        Err(too_deep(block))
    }

    /// Shows `see` every entry with a key in `from..to`, in order. Every node must keep to the keys that its parent
    /// gives it, so that no damage makes a walk longer than the tree is large.
    pub(crate) fn walk(
        &mut self,
        root: u64,
        tree: Tree,
        (from, to): (u64, u64),
        see: See<'_>,
    ) -> Result<(), ThinError> {
        let place = Place { block: root, low: 0, high: None, depth: DEPTH_MAX };
        self.walk_below(place, tree, (from, to), see)
    }

    fn walk_below(
        &mut self,
        place: Place,
        tree: Tree,
        (from, to): (u64, u64),
        see: See<'_>,
    ) -> Result<(), ThinError> {
        let node = self.node(place.block, tree)?;
        place.check(&node)?;
        let first = node.lower_bound(from).unwrap_or(0);
        for i in (first..node.len()).take_while(|i| node.key(*i) < to) {
            if !node.is_leaf() {
                self.walk_below(place.child(&node, i), tree, (from, to), see)?;
            } else if node.key(i) >= from {
                see(node.key(i), node.value(i))?;
            }
        }
        Ok(())
    }
}

/// A node in a walk, and the keys that it may hold.
#[derive(Debug, Clone, Copy)]
struct Place {
    block: u64,
    low: u64,
    /// `None`: no bound above.
    high: Option<u64>,
    /// Levels that may still follow.
    depth: u32,
}

impl Place {
    fn child(&self, node: &Node, i: usize) -> Place {
        let high = if i + 1 < node.len() { Some(node.key(i + 1)) } else { self.high };
        Place { block: node.word(i), low: node.key(i), high, depth: self.depth.saturating_sub(1) }
    }

    fn check(&self, node: &Node) -> Result<(), ThinError> {
        let Place { block, low, high, depth } = *self;
        let is_root = depth == DEPTH_MAX;
        match (node.first_key(), node.last_key()) {
            _ if depth == 0 => Err(too_deep(block)),
            (Some(first), Some(last)) if first >= low && high.is_none_or(|high| last < high) => Ok(()),
            (None, _) if is_root => Ok(()),
            (None, _) => Err(ThinError::Node { block, what: "an empty node below a root".to_owned() }),
            (first, last) => {
                let what = format!("keys {first:?} to {last:?} outside its parent's {low} to {high:?}");
                Err(ThinError::Node { block, what })
            }
        }
    }
}
