//! Whether there are metadata blocks enough: asked before anything is changed, so that a commit can always be written
//! (dm-thin format section 8.5).
//!
//! Picture: `commit_cost` is what closing the transaction takes as it stands; an operation adds the nodes that it may
//! make private and what the data counts that it may change add to the commit.

use super::Pool;
use crate::{ThinError, limits::META_RESERVE_MAX, meta::MetaRead, values::bitmaps_for};

/// Metadata blocks that one change of a key can take: a path of each of two trees, shadowed and split.
pub(super) const COST_OF_KEY: u64 = 12;
/// Blocks of a commit beside its bitmaps and leaves: index block, and inner nodes of three small trees.
const COMMIT_FIXED: u64 = 12;

/// The same for giving something up: two paths of mappings trimmed and mended, one of each small tree.
pub(super) const COST_TO_FREE: u64 = 16;
/// Blocks by which the reserve may turn out larger after a change than before it.
const SLACK: u64 = 16;
/// Data counts that change, at most, with a mapping leaf that is shared: it gets a copy.
pub(super) const COUNTS_OF_LEAF: u64 = 252;

/// Whether an operation gives space back: those may use the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    ToGrow(u64),
    ToFree(u64),
}

impl<R: MetaRead> Pool<R> {
    /// Blocks kept back: as many as the kernel keeps, and enough to give up one leaf of mappings and commit, or a full
    /// pool could not be emptied.
    pub(super) fn reserve(&self) -> u64 {
        let total = self.meta.blocks.nr_blocks();
        let one_leaf = self.cost_to_free(COUNTS_OF_LEAF) + self.clean_commit_cost() + SLACK;
        META_RESERVE_MAX.min(total / 10).max(one_leaf.min(total / 3))
    }

    /// Blocks that lowering `counts` data counts can take, with a shared leaf at the end that is copied first.
    fn cost_to_free(&self, counts: u64) -> u64 {
        let counts = counts.saturating_add(COUNTS_OF_LEAF);
        COST_TO_FREE + self.meta.data.change_cost(counts, COUNTS_OF_LEAF)
    }

    /// Refuses before anything is changed if the commit of it could run out of blocks, or nothing may be changed.
    pub(super) fn need(&self, need: Need) -> Result<(), ThinError> {
        self.need_with(need, 0)
    }

    /// The same once `more` metadata blocks have come, whose bitmaps are written by each commit.
    pub(super) fn need_with(&self, need: Need, more: u64) -> Result<(), ThinError> {
        self.check_changeable()?;
        let map = &self.meta.blocks;
        let blocks = match need {
            Need::ToGrow(blocks) if !self.replaying => blocks + self.reserve(),
            Need::ToGrow(blocks) => blocks,
            Need::ToFree(blocks) => blocks,
        };
        let needed = blocks + self.commit_cost() + 2 * bitmaps_for(more);
        let free = map.nr_free().saturating_sub(map.kept_for_commit()) + more;
        match free >= needed {
            true => Ok(()),
            false => Err(ThinError::MetadataFull { free, total: map.nr_blocks(), needed }),
        }
    }

    /// How much can be given up in one go: the largest of `most`, a half of it, a quarter, ... for which the commit
    /// stays possible if each unit lowers `counts` data counts.
    pub(super) fn affordable(&self, counts: u64, most: u64) -> Result<u64, ThinError> {
        let mut units = most.max(1);
        loop {
            match self.need(Need::ToFree(self.cost_to_free(units.saturating_mul(counts)))) {
                Ok(()) => return Ok(units),
                Err(error) if units == 1 => return Err(error),
                Err(_) => units /= 2,
            }
        }
    }

    /// Blocks that closing the transaction would take now, at most.
    pub(super) fn commit_cost(&self) -> u64 {
        let (data, blocks) = (&self.meta.data, &self.meta.blocks);
        self.clean_commit_cost() + data.bitmap_cost() + data.overflow_cost() + blocks.overflow_cost()
    }

    /// What of it is there in every commit.
    fn clean_commit_cost(&self) -> u64 {
        let details = self.devices.len() as u64 / 42 + 2;
        details + self.meta.blocks.bitmaps.len() as u64 + COMMIT_FIXED
    }
}
