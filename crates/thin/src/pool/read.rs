//! Where the blocks of a device are: as runs, as mappings, as the leaf of a tree (for a cache above).
//!
//! What always holds: a mapping that is told names a data block that exists and is in use, and is not from the future;
//! a damaged one is an error that says which virtual blocks it costs (A6).

use super::Pool;
use crate::{
    ThinError, ThinId,
    error::{Lost, TreeName},
    limits::BLOCKS_PER_CALL,
    meta::MetaRead,
    tree::Care,
    values::{BlockTime, Tree},
};
use std::ops::Range;

/// A run of virtual blocks, unmapped or mapped to consecutive data blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First virtual block.
    pub vblock: u64,
    /// Blocks.
    pub len: u64,
    /// First data block, and whether the run has to be copied before it is written.
    pub at: Option<Mapped>,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// First data block.
    pub block: u64,
    /// Whether a snapshot may share it.
    pub shared: bool,
}

impl Run {
    fn continued_by(&self, next: &Run) -> bool {
        self.vblock + self.len == next.vblock
            && match (self.at, next.at) {
                (None, None) => true,
                (Some(a), Some(b)) => a.block + self.len == b.block && a.shared == b.shared,
                _ => false,
            }
    }
}

fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.continued_by(&run) => last.len += run.len,
        _ if run.len == 0 => {}
        _ => runs.push(run),
    }
}

impl<R: MetaRead> Pool<R> {
    /// What `range` of a device maps to: runs in order that cover it without gaps.
    pub fn lookup(&mut self, id: ThinId, range: Range<u64>) -> Result<Vec<Run>, ThinError> {
        let mut runs = Vec::new();
        self.lookup_into(id, range, &mut runs)?;
        Ok(runs)
    }

    /// The same into `out`, which is cleared first: no allocation where its capacity suffices.
    pub fn lookup_into(
        &mut self,
        id: ThinId,
        range: Range<u64>,
        out: &mut Vec<Run>,
    ) -> Result<(), ThinError> {
        out.clear();
        check_range(&range)?;
        let snapshotted = self.device(id)?.details.snapshotted_time;
        let mut next = range.start;
        self.each_mapping(id, &range, Care::Read, &mut |vblock, BlockTime { block, time }| {
            push(out, Run { vblock: next, len: vblock - next, at: None });
            let at = Some(Mapped { block, shared: time < snapshotted });
            push(out, Run { vblock, len: 1, at });
            next = vblock + 1;
        })?;
        push(out, Run { vblock: next, len: range.end - next, at: None });
        Ok(())
    }

    /// The mappings of a range as they stand in the tree, in order (for dumps).
    pub fn mappings(&mut self, id: ThinId, range: Range<u64>) -> Result<Vec<(u64, BlockTime)>, ThinError> {
        self.device(id)?;
        check_range(&range)?;
        let mut found = Vec::new();
        self.each_mapping(id, &range, Care::Read, &mut |vblock, mapping| found.push((vblock, mapping)))?;
        Ok(found)
    }

    /// The leaf of the device's tree that holds or would hold `vblock` (below `u64::MAX`): fills `out`, cleared first,
    /// with its entries in order, and returns the virtual blocks for which they are the whole truth. Good until the
    /// device's mappings change or a snapshot of it is taken (that changes what is shared).
    pub fn leaf(
        &mut self,
        id: ThinId,
        vblock: u64,
        out: &mut Vec<(u64, BlockTime)>,
    ) -> Result<Range<u64>, ThinError> {
        out.clear();
        self.device(id)?;
        let keys = self.read_leaf(id, vblock, Care::Read, &mut |vblock, mapping| out.push((vblock, mapping)));
        keys.inspect_err(|_| out.clear())
    }

    pub(super) fn mapping(
        &mut self,
        id: ThinId,
        vblock: u64,
        care: Care,
    ) -> Result<Option<BlockTime>, ThinError> {
        self.mapping_in_leaf(id, vblock, care).map(|(mapping, _)| mapping)
    }

    /// The mapping of a block, and the keys that are its leaf's own.
    pub(super) fn mapping_in_leaf(
        &mut self,
        id: ThinId,
        vblock: u64,
        care: Care,
    ) -> Result<(Option<BlockTime>, Range<u64>), ThinError> {
        let root = self.device(id)?.root;
        let (leaf, place) = self.meta.leaf(root, Tree::Mapping, vblock, care).map_err(|e| e.of_device(id))?;
        let mapping = leaf.find(vblock).map(|i| self.checked(id, (vblock, leaf.word(i)), place.block));
        Ok((mapping.transpose()?, place.keys()))
    }

    /// Shows `see` the mappings of `range` in order.
    pub(super) fn each_mapping(
        &mut self,
        id: ThinId,
        range: &Range<u64>,
        care: Care,
        see: &mut dyn FnMut(u64, BlockTime),
    ) -> Result<(), ThinError> {
        let mut at = range.start;
        while at < range.end {
            let keys = self.read_leaf(id, at, care, &mut |vblock, mapping| {
                if range.contains(&vblock) {
                    see(vblock, mapping);
                }
            })?;
            at = keys.end;
        }
        Ok(())
    }

    /// Shows `see` the entries of the leaf that holds or would hold `vblock`; returns the keys that are its own.
    pub(super) fn read_leaf(
        &mut self,
        id: ThinId,
        vblock: u64,
        care: Care,
        see: &mut dyn FnMut(u64, BlockTime),
    ) -> Result<Range<u64>, ThinError> {
        let root = self.any_device(id)?.root;
        let (leaf, place) = self.meta.leaf(root, Tree::Mapping, vblock, care).map_err(|e| e.of_device(id))?;
        for i in 0..leaf.len() {
            see(leaf.key(i), self.checked(id, (leaf.key(i), leaf.word(i)), place.block)?);
        }
        Ok(place.keys())
    }

    /// An entry of the leaf at `block`, if it can be true.
    pub(super) fn checked(
        &self,
        id: ThinId,
        (vblock, value): (u64, u64),
        block: u64,
    ) -> Result<BlockTime, ThinError> {
        let mapping = BlockTime::unpack(value);
        let now = self.superblock.time;
        let source = if mapping.time > now {
            let what = format!("block {vblock} is mapped at time {}, it is {now} now", mapping.time);
            ThinError::Node { block, what }
        } else {
            match self.meta.data.check_used(mapping.block) {
                Ok(()) => return Ok(mapping),
                Err(error) => error,
            }
        };
        let keys = vblock..vblock.saturating_add(1);
        let lost = Lost { tree: TreeName::Mappings, device: Some(id), keys, block };
        Err(ThinError::Damaged { lost, source: Box::new(source) })
    }
}

pub(super) fn check_range(range: &Range<u64>) -> Result<(), ThinError> {
    let len = range.end.checked_sub(range.start);
    match len {
        Some(len) if len <= BLOCKS_PER_CALL => Ok(()),
        _ => Err(ThinError::Argument {
            what: "the number of blocks",
            found: len.unwrap_or(0),
            allowed: format!("at most {BLOCKS_PER_CALL}, in ascending order"),
        }),
    }
}
