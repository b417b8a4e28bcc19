//! Deleting whole trees (section 8.3): a shared one loses a pointer, an unshared one goes with all that it alone holds.

use super::place::{Care, Place};
use crate::{
    ThinError,
    meta::{Meta, MetaRead},
    values::{BlockTime, Tree},
};

impl<R: MetaRead> Meta<R> {
    /// Takes one pointer from the tree at `place` and returns how many entries it has (also when it lives on).
    pub(crate) fn delete_tree(&mut self, place: Place, tree: Tree) -> Result<u64, ThinError> {
        if self.blocks.count(place.block)? > 1 {
            let entries = self.count_entries(place, tree)?;
            self.release(place.block)?;
            return Ok(entries);
        }
        let node = self.visit(&place, tree, Care::Write)?;
        let mut entries = 0;
        for i in 0..node.len() {
            if !node.is_leaf() {
                entries += self.delete_tree(place.child(&node, i), tree)?;
            } else if tree == Tree::Mapping {
                self.release_data(BlockTime::unpack(node.word(i)).block)?;
            }
        }
        if node.is_leaf() {
            entries = node.len() as u64;
        }
        self.release(place.block)?;
        Ok(entries)
    }

    fn count_entries(&mut self, place: Place, tree: Tree) -> Result<u64, ThinError> {
        let node = self.visit(&place, tree, Care::Write)?;
        if node.is_leaf() {
            return Ok(node.len() as u64);
        }
        (0..node.len()).try_fold(0, |sum, i| Ok(sum + self.count_entries(place.child(&node, i), tree)?))
    }
}
