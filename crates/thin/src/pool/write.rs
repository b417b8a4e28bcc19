//! The data path's questions and answers: where is it, where may it be written, it is written there now, it is gone.
//!
//! Whether a block is shared is the kernel's rule and nothing else: its time is older than the device's last snapshot
//! (section 9.4). The rule cannot be wrong about the committed state, because nothing ever lowers that time.

use super::{Need, Pool, need::COST_OF_KEY};
use crate::{ThinError, ThinId, limits::BLOCKS_PER_CALL, meta::MetaRead, tree::Care, values::BlockTime};
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

impl<R: MetaRead> Pool<R> {
    /// Decides how a block is to be written. Anything but [`Plan::InPlace`] has reserved a data block, which
    /// [`Pool::finish_write`] enters or [`Pool::abort_write`] gives back; until then the caller keeps other writers
    /// off this virtual block.
    pub fn plan_write(&mut self, id: ThinId, vblock: u64) -> Result<Plan, ThinError> {
        let snapshotted = self.device(id)?.details.snapshotted_time;
        match self.mapping_to_change(id, vblock)? {
            Some(BlockTime { block, time }) if time >= snapshotted => Ok(Plan::InPlace(block)),
            mapping => self.plan_new(id, mapping),
        }
    }

    /// The same, but never in place: also a block of the device's own gets a new one, so that the write is the flip of
    /// a mapping, which loss of power cannot tear.
    pub fn plan_redirect(&mut self, id: ThinId, vblock: u64) -> Result<Plan, ThinError> {
        let mapping = self.mapping_to_change(id, vblock)?;
        self.plan_new(id, mapping)
    }

    fn mapping_to_change(&mut self, id: ThinId, vblock: u64) -> Result<Option<BlockTime>, ThinError> {
        self.check_changeable()?;
        self.mapping(id, vblock, Care::Write)
    }

    fn plan_new(&mut self, id: ThinId, mapping: Option<BlockTime>) -> Result<Plan, ThinError> {
        let to = self.reserve_data(id)?;
        Ok(match mapping {
            Some(BlockTime { block: from, .. }) => Plan::Copy { from, to },
            None => Plan::Fresh { to },
        })
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
        self.finish_writes(id, &[(vblock, to)])
    }

    /// The same for many blocks of a device, in ascending order of the virtual ones: all or none. Neighbours cost
    /// little more than one.
    pub fn finish_writes(&mut self, id: ThinId, writes: &[(u64, u64)]) -> Result<(), ThinError> {
        check_writes(writes)?;
        self.check_changeable()?;
        // Everything is looked at before anything is changed: damage must not stop the pool half way.
        let mut leaves = 0;
        let mut known = 0..0;
        for (vblock, _) in writes {
            let (_, keys) = self.mapping_in_leaf(id, *vblock, Care::Write)?;
            leaves += u64::from(!known.contains(vblock));
            known = keys;
        }
        let more =
            3 * leaves.min(writes.len() as u64 - u64::from(!writes.is_empty())) + writes.len() as u64 / 84;
        self.need(Need::ToGrow(COST_OF_KEY + more))?;
        let time = self.superblock.time;
        let entries: Vec<_> = writes
            .iter()
            .map(|(vblock, block)| (*vblock, BlockTime { block: *block, time }.pack()))
            .collect();
        self.change(|pool| {
            writes.iter().for_each(|(_, to)| pool.meta.data.claim(*to));
            pool.enter_mappings(id, &entries)
        })
    }

    /// Sets mappings whose data blocks have their pointers already; what was there before loses one.
    pub(super) fn enter_mappings(&mut self, id: ThinId, entries: &[(u64, u64)]) -> Result<(), ThinError> {
        let mut replaced = Vec::new();
        self.change_tree(id, |meta, root| {
            let mut old = |before: Option<u64>| replaced.extend(before);
            Ok((meta.insert_mappings(root, entries, &mut old)?, ()))
        })?;
        self.device_mut(id)?.details.mapped_blocks += (entries.len() - replaced.len()) as u64;
        replaced.into_iter().try_for_each(|value| self.meta.release_data(BlockTime::unpack(value).block))
    }

    /// Gives back what [`Pool::plan_write`] reserved.
    pub fn abort_write(&mut self, plan: Plan) {
        match plan {
            Plan::InPlace(_) => {}
            Plan::Fresh { to } | Plan::Copy { to, .. } => self.meta.data.give_back(to),
        }
    }

    /// Takes those of some data blocks that are free out of everybody's reach, until [`Pool::put_back`]; no state that a
    /// crash would bring back has them, nor does a write under way.
    pub fn set_aside(&mut self, blocks: Range<u64>) -> Vec<Range<u64>> {
        self.meta.data.set_aside(blocks)
    }

    /// Makes what was set aside available again.
    pub fn put_back(&mut self, runs: &[Range<u64>]) {
        self.meta.data.put_back(runs);
    }
}

fn check_writes(writes: &[(u64, u64)]) -> Result<(), ThinError> {
    let ascending = writes.is_sorted_by(|a, b| a.0 < b.0);
    match ascending && writes.len() as u64 <= BLOCKS_PER_CALL {
        true => Ok(()),
        false => Err(ThinError::Argument {
            what: "the number of writes",
            found: writes.len() as u64,
            allowed: format!("at most {BLOCKS_PER_CALL}, in ascending order"),
        }),
    }
}
