//! Finding a key, and walking a range in order.

use crate::{
    ThinError,
    limits::DEPTH_MAX,
    meta::{Meta, MetaRead},
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

    /// Shows `see` every entry with a key in `from..to`, in order.
    pub(crate) fn walk(
        &mut self,
        root: u64,
        tree: Tree,
        (from, to): (u64, u64),
        see: See<'_>,
    ) -> Result<(), ThinError> {
        self.walk_below(root, tree, (from, to), see, DEPTH_MAX)
    }

    fn walk_below(
        &mut self,
        block: u64,
        tree: Tree,
        (from, to): (u64, u64),
        see: See<'_>,
        depth: u32,
    ) -> Result<(), ThinError> {
        let depth = depth.checked_sub(1).ok_or_else(|| too_deep(block))?;
        let node = self.node(block, tree)?;
        let first = node.lower_bound(from).unwrap_or(0);
        for i in (first..node.len()).take_while(|i| node.key(*i) < to) {
            if !node.is_leaf() {
                self.walk_below(node.word(i), tree, (from, to), see, depth)?;
            } else if node.key(i) >= from {
                see(node.key(i), node.value(i))?;
            }
        }
        Ok(())
    }
}
