//! Deleting whole trees (section 8.3): a shared one loses a pointer, an unshared one goes with all that it alone holds.

use super::lookup::too_deep;
use crate::{
    ThinError,
    limits::DEPTH_MAX,
    meta::{Meta, MetaRead},
    values::{BlockTime, Tree},
};

impl<R: MetaRead> Meta<R> {
    /// Takes one pointer from the tree at `block` and returns how many entries it has (also when it lives on).
    pub(crate) fn delete_tree(&mut self, block: u64, tree: Tree) -> Result<u64, ThinError> {
        self.delete_below(block, tree, DEPTH_MAX)
    }

    fn delete_below(&mut self, block: u64, tree: Tree, depth: u32) -> Result<u64, ThinError> {
        let depth = depth.checked_sub(1).ok_or_else(|| too_deep(block))?;
        if self.blocks.count(block)? > 1 {
            let entries = self.count_entries(block, tree, depth)?;
            self.release(block)?;
            return Ok(entries);
        }
        let node = self.node(block, tree)?;
        let mut entries = 0;
        for i in 0..node.len() {
            if !node.is_leaf() {
                entries += self.delete_below(node.word(i), tree, depth)?;
            } else if tree == Tree::Mapping {
                self.release_data(BlockTime::unpack(node.word(i)).block)?;
            }
        }
        if node.is_leaf() {
            entries = node.len() as u64;
        }
        self.release(block)?;
        Ok(entries)
    }

    fn count_entries(&mut self, block: u64, tree: Tree, depth: u32) -> Result<u64, ThinError> {
        let depth = depth.checked_sub(1).ok_or_else(|| too_deep(block))?;
        let node = self.node(block, tree)?;
        if node.is_leaf() {
            return Ok(node.len() as u64);
        }
        (0..node.len()).try_fold(0, |sum, i| Ok(sum + self.count_entries(node.word(i), tree, depth)?))
    }
}
