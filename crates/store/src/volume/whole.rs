//! Whole blocks that need new places, written through the direct door: nothing to copy, nothing to zero, so that no
//! worker is needed either. A first pass over a LUN after a cut is made of these.
//!
//! Picture: at planning the blocks' range is locked and the engine reserves their places, which are the extents. The
//! caller writes them. When the ticket comes back the engine enters them and the log has them, in the same order as behind the
//! other door; or, if the write failed, they are given back as if nothing had been.
//!
//! What always holds: planning waits for nobody: whatever is in another's hands is refused. Nothing points to a new
//! block before all of it is written.

use super::{
    Doing, ThinVolume, direct,
    write::{Plans, Target},
};
use crate::{Extent, limits::BLOCKS_PER_STEP};
use std::ops::Range;
use umbra_base::Result;
use umbra_thin::Plan;

/// Blocks that a ticket stands for, until it comes back.
#[derive(Debug)]
pub(crate) struct Whole {
    doing: Doing,
    /// Locked.
    blocks: Range<u64>,
    plans: Plans,
}

impl ThinVolume {
    /// Plans a write of whole blocks, inside gate and epoch; the cache knows all of them, so that the engine has read
    /// what it needs to know.
    pub(super) fn plan_whole(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Box<Whole>> {
        let block = self.core.block_bytes;
        let blocks = self.blocks(offset, len);
        let bounded = (1..=BLOCKS_PER_STEP).contains(&(blocks.end - blocks.start));
        if !bounded || !offset.is_multiple_of(block) || !len.is_multiple_of(block) {
            return None;
        }
        let (key, stamp) = (self.shared.key(), self.shared.stamp());
        let known = blocks.clone().all(|vblock| self.core.cache.look(key, stamp, vblock).is_some());
        if !known || !self.core.has_log_room() || self.core.check_writable().is_err() {
            return None;
        }
        if !self.shared.ranges.try_lock(&blocks) {
            return None;
        }
        let doing = Doing { what: "write", id: self.id, offset, len };
        let plans = self.core.pool_at_once().and_then(|mut pool| {
            // The other door says what is wrong, and waits for room.
            self.plan_blocks(&mut pool, doing, blocks.clone(), Target::Any).ok()
        });
        let Some(plans) = plans else {
            self.shared.ranges.unlock(&blocks);
            return None;
        };
        new_places(&plans).for_each(|to| self.core.provision.unknown(to..to + 1));
        place(&plans, block, extents);
        Some(Box::new(Whole { doing, blocks, plans }))
    }

    /// Enters what was written, or gives it back.
    pub(super) fn finish_whole(&self, whole: &Whole, written: bool) -> Result<()> {
        let result = if written {
            new_places(&whole.plans).for_each(|to| self.core.provision.written(to..to + 1));
            self.enter(whole.doing, &whole.plans, Target::Any)
        } else {
            self.give_up(&whole.plans);
            self.core.room_came();
            Ok(())
        };
        self.shared.ranges.unlock(&whole.blocks);
        result
    }
}

pub(super) fn new_places(plans: &Plans) -> impl Iterator<Item = u64> {
    plans.iter().filter_map(|(_, plan)| match *plan {
        Plan::InPlace(_) => None,
        Plan::Fresh { to } | Plan::Copy { to, .. } => Some(to),
    })
}

/// The extents of planned blocks, neighbours as one.
fn place(plans: &Plans, block: u64, extents: &mut Vec<Extent>) {
    let first = extents.len();
    for (_, plan) in plans {
        let (Plan::InPlace(to) | Plan::Fresh { to } | Plan::Copy { to, .. }) = *plan;
        let next = Extent { at: Some(to * block), len: block };
        match extents[first..].last_mut() {
            Some(last) if direct::follows(last, &next) => last.len += block,
            _ => extents.push(next),
        }
    }
}
