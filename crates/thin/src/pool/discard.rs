//! Unmapping ranges of a device.
//!
//! What always holds: every leaf of a piece, and beside it, is looked at before anything of it is changed, and a piece is no larger
//! than what the commit can still carry; so damage or shortage is an error, never half a change.

use super::{Pool, read::check_range};
use crate::{ThinError, ThinId, meta::MetaRead, node::min_entries, tree::Care, values::Tree};
use std::ops::Range;

impl<R: MetaRead> Pool<R> {
    /// Unmaps a range and returns how many blocks of it were mapped. After an error a part of the range, from its
    /// start on, may be unmapped already.
    pub fn discard(&mut self, id: ThinId, range: Range<u64>) -> Result<u64, ThinError> {
        self.device(id)?;
        check_range(&range)?;
        self.check_changeable()?;
        let (mut at, mut removed) = (range.start, 0);
        while let Some(first) = self.next_mapped(id, &(at..range.end))? {
            let most = self.affordable(1, range.end - first)?;
            removed += self.discard_piece(id, first..first + most)?;
            at = first + most;
        }
        Ok(removed)
    }

    fn discard_piece(&mut self, id: ThinId, piece: Range<u64>) -> Result<u64, ThinError> {
        let entries = self.check_mappings(id, &piece)?;
        self.check_count(id, entries, false)?;
        self.change(|pool| {
            let removed =
                pool.change_tree(id, |meta, root| meta.remove_mappings(root, (piece.start, piece.end)))?;
            pool.lower_mapped(id, removed)?;
            Ok(removed)
        })
    }

    /// Looks at every leaf of a range that is going to be unmapped, and at the nodes beside the paths to its ends, which
    /// may be merged with what is left. Returns how many mappings the range has; it is not empty.
    pub(super) fn check_mappings(&mut self, id: ThinId, range: &Range<u64>) -> Result<u64, ThinError> {
        let (mut mapped, mut left) = (0, 0);
        let first = self.read_leaf(id, range.start, Care::Write, &mut |vblock, _| {
            left += usize::from(!range.contains(&vblock));
        })?;
        self.each_mapping(id, range, Care::Write, &mut |_, _| mapped += 1)?;
        // A leaf that keeps enough stays alone.
        if range.end > first.end || left < min_entries(Tree::Mapping.value_size()) {
            self.check_beside(id, range.start)?;
            self.check_beside(id, range.end - 1)?;
        }
        Ok(mapped)
    }

    /// Looks at the nodes on either side of each one on the path to a block.
    pub(super) fn check_beside(&mut self, id: ThinId, vblock: u64) -> Result<(), ThinError> {
        let root = self.any_device(id)?.root;
        let beside = self.meta.beside_path(root, vblock).map_err(|e| e.of_device(id))?;
        for place in beside {
            let node = self.meta.visit(&place, Tree::Mapping, Care::Write).map_err(|e| e.of_device(id))?;
            for i in (0..node.len()).filter(|_| node.is_leaf()) {
                self.checked(id, (node.key(i), node.word(i)), place.block)?;
            }
        }
        Ok(())
    }

    /// The first block of a range that is mapped.
    fn next_mapped(&mut self, id: ThinId, range: &Range<u64>) -> Result<Option<u64>, ThinError> {
        let (mut at, mut leaf) = (range.start, Vec::new());
        while at < range.end {
            let keys = self.leaf(id, at, &mut leaf)?;
            if let Some((vblock, _)) = leaf.iter().find(|(vblock, _)| range.contains(vblock)) {
                return Ok(Some(*vblock));
            }
            at = keys.end;
        }
        Ok(None)
    }
}
