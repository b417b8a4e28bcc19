//! Finding a key, the leaf of a key, and walking a range in order.

use super::place::{Care, Place};
use crate::{
    ThinError,
    meta::{Meta, MetaRead},
    node::Node,
    values::Tree,
};
use std::sync::Arc;

/// What is shown each entry of a walk; an error of it ends the walk.
pub(crate) type See<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), ThinError>;

impl<R: MetaRead> Meta<R> {
    /// The value of `key`, read by `take`.
    pub(crate) fn find<T>(
        &mut self,
        root: u64,
        tree: Tree,
        key: u64,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ThinError> {
        let (leaf, _) = self.leaf(root, tree, key, Care::Read)?;
        Ok(leaf.find(key).map(|i| take(leaf.value(i))))
    }

    /// The leaf that holds or would hold `key`, and its place.
    pub(crate) fn leaf(
        &mut self,
        root: u64,
        tree: Tree,
        key: u64,
        care: Care,
    ) -> Result<(Arc<Node>, Place), ThinError> {
        let mut place = Place::root(root);
        loop {
            let node = self.visit(&place, tree, care)?;
            if node.is_leaf() {
                return Ok((node, place));
            }
            place = place.child(&node, node.lower_bound(key).unwrap_or(0));
        }
    }

    /// Shows `see` every entry with a key in `from..to`, in order.
    pub(crate) fn walk(
        &mut self,
        root: u64,
        tree: Tree,
        range: (u64, u64),
        see: See<'_>,
    ) -> Result<(), ThinError> {
        self.walk_with(Place::root(root), tree, range, Care::Read, see)
    }

    /// The same below any place.
    pub(crate) fn walk_with(
        &mut self,
        place: Place,
        tree: Tree,
        (from, to): (u64, u64),
        care: Care,
        see: See<'_>,
    ) -> Result<(), ThinError> {
        let node = self.visit(&place, tree, care)?;
        let first = node.lower_bound(from).unwrap_or(0);
        for i in (first..node.len()).take_while(|i| node.key(*i) < to) {
            if !node.is_leaf() {
                self.walk_with(place.child(&node, i), tree, (from, to), care, see)?;
            } else if node.key(i) >= from {
                see(node.key(i), node.value(i))?;
            }
        }
        Ok(())
    }
}
