//! The data path's questions and answers: where is it, where may it be written, it is written there now, it is gone.
//!
//! Whether a block is shared is the kernel's rule and nothing else: its time is older than the device's last snapshot
//! (section 9.4). The rule cannot be wrong about the committed state, because nothing ever lowers that time.

use super::{Need, Pool, devices::COST_OF_KEY};
use crate::{
    ThinError, ThinId,
    limits::BLOCKS_PER_CALL,
    meta::MetaRead,
    page::get_u64,
    values::{BlockTime, Tree},
};
use std::ops::Range;

/// Free blocks that a device leaves to the next searcher behind its own last block: keeps volumes contiguous.
const CHUNK: u64 = 64;

/// How one block of a device is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Into this data block; nothing to enter afterwards.
    InPlace(u64),
    /// Into `to`, all of it: what the writer does not write is zeroes. Then [`Pool::finish_write`].
    Fresh { to: u64 },
    /// Into `to`, all of it: what the writer does not write comes from `from`. Then [`Pool::finish_write`].
    Copy { from: u64, to: u64 },
}

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
        let device = self.device(id)?;
        let (root, snapshotted) = (device.root, device.details.snapshotted_time);
        check_range(&range)?;
        let total = self.meta.data.nr_blocks();
        let mut runs = Vec::new();
        let mut next = range.start;
        self.meta.walk(root, Tree::Mapping, (range.start, range.end), &mut |vblock, value| {
            let BlockTime { block, time } = checked(id, vblock, get_u64(value, 0), total)?;
            push(&mut runs, Run { vblock: next, len: vblock - next, at: None });
            let at = Some(Mapped { block, shared: time < snapshotted });
            push(&mut runs, Run { vblock, len: 1, at });
            next = vblock + 1;
            Ok(())
        })?;
        push(&mut runs, Run { vblock: next, len: range.end - next, at: None });
        Ok(runs)
    }

    /// The mappings of a range as they stand in the tree, in order (for dumps).
    pub fn mappings(&mut self, id: ThinId, range: Range<u64>) -> Result<Vec<(u64, BlockTime)>, ThinError> {
        let root = self.device(id)?.root;
        check_range(&range)?;
        let mut found = Vec::new();
        self.meta.walk(root, Tree::Mapping, (range.start, range.end), &mut |vblock, value| {
            found.push((vblock, BlockTime::unpack(get_u64(value, 0))));
            Ok(())
        })?;
        Ok(found)
    }

    pub(super) fn mapping(&mut self, id: ThinId, vblock: u64) -> Result<Option<BlockTime>, ThinError> {
        let root = self.device(id)?.root;
        let mapping = self.meta.find(root, Tree::Mapping, vblock, |value| get_u64(value, 0))?;
        let total = self.meta.data.nr_blocks();
        mapping.map(|value| checked(id, vblock, value, total)).transpose()
    }

    /// Decides how a block is to be written. Anything but [`Plan::InPlace`] has reserved a data block, which
    /// [`Pool::finish_write`] enters or [`Pool::abort_write`] gives back; until then the caller keeps other writers
    /// off this virtual block.
    pub fn plan_write(&mut self, id: ThinId, vblock: u64) -> Result<Plan, ThinError> {
        if self.broken {
            return Err(ThinError::Broken);
        }
        let snapshotted = self.device(id)?.details.snapshotted_time;
        match self.mapping(id, vblock)? {
            Some(BlockTime { block, time }) if time >= snapshotted => Ok(Plan::InPlace(block)),
            Some(BlockTime { block: from, .. }) => Ok(Plan::Copy { from, to: self.reserve_data(id)? }),
            None => Ok(Plan::Fresh { to: self.reserve_data(id)? }),
        }
    }

    fn reserve_data(&mut self, id: ThinId) -> Result<u64, ThinError> {
        self.need(Need::ToGrow(COST_OF_KEY))?;
        let hint = self.device(id)?.next_block;
        let total = self.meta.data.nr_blocks();
        let block = self.meta.data.reserve(hint).ok_or(ThinError::DataFull { total })?;
        if hint != Some(block) {
            self.meta.data.search_from(block + CHUNK);
        }
        self.device_mut(id)?.next_block = Some(block + 1);
        Ok(block)
    }

    /// Enters that a block is now at `to`, which [`Pool::plan_write`] reserved and which holds the block's content.
    /// What was there before loses a pointer.
    pub fn finish_write(&mut self, id: ThinId, vblock: u64, to: u64) -> Result<(), ThinError> {
        self.need(Need::ToGrow(COST_OF_KEY))?;
        let before = self.mapping(id, vblock)?;
        let value = BlockTime { block: to, time: self.superblock.time }.pack();
        self.change(|pool| {
            pool.meta.data.claim(to);
            pool.change_tree(id, |meta, root| {
                let root = meta.insert(root, Tree::Mapping, vblock, &value.to_le_bytes())?;
                Ok((root, ()))
            })?;
            match before {
                Some(old) => pool.meta.release_data(old.block),
                None => {
                    pool.device_mut(id)?.details.mapped_blocks += 1;
                    Ok(())
                }
            }
        })
    }

    /// Gives back what [`Pool::plan_write`] reserved.
    pub fn abort_write(&mut self, plan: Plan) {
        match plan {
            Plan::InPlace(_) => {}
            Plan::Fresh { to } | Plan::Copy { to, .. } => self.meta.data.give_back(to),
        }
    }

    /// Unmaps a range and returns how many blocks of it were mapped.
    pub fn discard(&mut self, id: ThinId, range: Range<u64>) -> Result<u64, ThinError> {
        let root = self.device(id)?.root;
        check_range(&range)?;
        if range.is_empty() || !self.any_mapped(root, &range)? {
            return Ok(0);
        }
        self.need(Need::ToFree(2 * COST_OF_KEY))?;
        self.change(|pool| {
            let removed =
                pool.change_tree(id, |meta, root| meta.remove_mappings(root, (range.start, range.end)))?;
            let details = &mut pool.device_mut(id)?.details;
            let damaged = || ThinError::Node {
                block: root,
                what: format!("more than its {} mappings", details.mapped_blocks),
            };
            details.mapped_blocks = details.mapped_blocks.checked_sub(removed).ok_or_else(damaged)?;
            Ok(removed)
        })
    }

    fn any_mapped(&mut self, root: u64, range: &Range<u64>) -> Result<bool, ThinError> {
        let mut any = false;
        let found = self.meta.walk(root, Tree::Mapping, (range.start, range.end), &mut |_, _| {
            any = true;
            Err(ThinError::Broken)
        });
        if any { Ok(true) } else { found.map(|()| false) }
    }
}

/// A mapping whose data block exists.
fn checked(id: ThinId, vblock: u64, value: u64, total: u64) -> Result<BlockTime, ThinError> {
    match BlockTime::unpack(value) {
        mapping if mapping.block < total => Ok(mapping),
        BlockTime { block, .. } => {
            let what =
                format!("block {vblock} of device {id} is mapped there, but there are {total} data blocks");
            Err(ThinError::SpaceMap { map: "data", block, what })
        }
    }
}

fn check_range(range: &Range<u64>) -> Result<(), ThinError> {
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
