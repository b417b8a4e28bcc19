//! Deleting whole trees (section 8.3): a shared one loses a pointer, an unshared one goes with all that it alone holds.

use super::place::{Care, Place};
use crate::{
    ThinError,
    meta::{Meta, MetaRead},
    values::{BlockTime, Tree},
};

/// Whether entries of what lives on are counted, which takes reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entries {
    Counted,
    Ignored,
}

impl<R: MetaRead> Meta<R> {
    /// Takes one pointer from the tree at `place` and returns how many entries it has (also when it lives on).
    pub(crate) fn delete_tree(&mut self, place: Place, tree: Tree) -> Result<u64, ThinError> {
        self.delete_below(place, tree, Entries::Counted)
    }

    /// Takes one pointer from the tree at `place`, and where that was the last one, from all that it leads to.
    pub(crate) fn drop_tree(&mut self, place: Place, tree: Tree) -> Result<(), ThinError> {
        self.delete_below(place, tree, Entries::Ignored).map(drop)
    }

    fn delete_below(&mut self, place: Place, tree: Tree, entries: Entries) -> Result<u64, ThinError> {
        if self.blocks.count(place.block)? > 1 {
            let found = if entries == Entries::Counted { self.count_entries(place, tree)? } else { 0 };
            self.release(place.block)?;
            return Ok(found);
        }
        let node = self.visit(&place, tree, Care::Write)?;
        let mut found = if node.is_leaf() { node.len() as u64 } else { 0 };
        for i in 0..node.len() {
            match (node.is_leaf(), tree) {
                (false, _) => found += self.delete_below(place.child(&node, i), tree, entries)?,
                (true, Tree::Mapping) => self.release_data(BlockTime::unpack(node.word(i)).block)?,
                (true, Tree::Top) => self.drop_tree(Place::root(node.word(i)), Tree::Mapping)?,
                (true, _) => {}
            }
        }
        self.release(place.block)?;
        Ok(found)
    }

    fn count_entries(&mut self, place: Place, tree: Tree) -> Result<u64, ThinError> {
        let node = self.visit(&place, tree, Care::Write)?;
        if node.is_leaf() {
            return Ok(node.len() as u64);
        }
        (0..node.len()).try_fold(0, |sum, i| Ok(sum + self.count_entries(place.child(&node, i), tree)?))
    }
}
