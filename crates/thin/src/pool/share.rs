//! Giving a device the blocks of another without a copy: copy offload, revert, resync.
//!
//! Sharing must show in the kernel's rule for both sides: a mapping is shared if its time is below its device's last
//! snapshot (section 9.4). So both mappings get a time below it; a device that was never in a snapshot, in a pool
//! whose time is 0, is first treated as if one had been taken of it. The rule then also holds for the committed state
//! (R6): times of mappings are lowered in the open transaction only, so what it calls private, the committed state
//! calls private too.

use super::{Need, Pool, need::COST_OF_KEY};
use crate::{ThinError, ThinId, limits::SHARE_MAX, meta::MetaRead, tree::Care, values::BlockTime};
use std::{collections::BTreeMap, ops::Range};

/// What sharing has to change.
struct Work {
    /// Mappings of the source that are its own until now.
    restamp: Vec<(u64, BlockTime)>,
    /// Blocks of the destination and the data blocks that they get.
    enter: Vec<(u64, BlockTime)>,
    /// Mapped ranges of the destination for which the source has nothing.
    unmap: Vec<Range<u64>>,
}

impl<R: MetaRead> Pool<R> {
    /// Makes `len` blocks of `dst` the same data blocks as those of `src` (at most [`SHARE_MAX`]); what is unmapped
    /// there is unmapped here. Both may be one device if the ranges do not overlap. Like a cut it exists from its
    /// commit on and is never logged, and while it is made no write to either range may be under way.
    pub fn share(
        &mut self,
        src: ThinId,
        src_vblock: u64,
        dst: ThinId,
        dst_vblock: u64,
        len: u64,
    ) -> Result<(), ThinError> {
        self.check_changeable()?;
        let (from, to) = check_ranges((src, src_vblock), (dst, dst_vblock), len)?;
        let work = self.plan_share((src, from), (dst, to))?;
        let touched = (work.restamp.len() + work.enter.len()) as u64;
        if touched == 0 && work.unmap.is_empty() {
            return Ok(());
        }
        // Ranges of keys: a leaf that is not a root has at least 84 of them. Each may be shared, then all its counts rise.
        let leaves = 2 * (len / 84 + 3);
        let counts = self.meta.data.change_cost(leaves * 252, leaves * 252);
        self.need(Need::ToGrow(2 * COST_OF_KEY + 2 * leaves + counts))?;
        self.change(|pool| pool.enter_share((src, dst), work))
    }

    fn plan_share(
        &mut self,
        (src, from): (ThinId, Range<u64>),
        (dst, to): (ThinId, Range<u64>),
    ) -> Result<Work, ThinError> {
        let snapshotted = self.device(src)?.details.snapshotted_time;
        self.device(dst)?;
        let (mut theirs, mut ours) = (BTreeMap::new(), BTreeMap::new());
        self.each_mapping(src, &from, Care::Write, &mut |vblock, mapping| {
            theirs.insert(vblock - from.start + to.start, mapping);
        })?;
        self.each_mapping(dst, &to, Care::Write, &mut |vblock, mapping| {
            ours.insert(vblock, mapping);
        })?;
        let mut work = Work { restamp: Vec::new(), enter: Vec::new(), unmap: Vec::new() };
        for (vblock, mapping) in &theirs {
            if ours.get(vblock).is_some_and(|old| old.block == mapping.block) {
                continue;
            }
            work.enter.push((*vblock, *mapping));
            if mapping.time >= snapshotted {
                work.restamp.push((*vblock - to.start + from.start, *mapping));
            }
        }
        for vblock in ours.keys().filter(|vblock| !theirs.contains_key(vblock)) {
            match work.unmap.last_mut() {
                Some(last) if last.end == *vblock => last.end += 1,
                _ => work.unmap.push(*vblock..*vblock + 1),
            }
        }
        if !work.unmap.is_empty() {
            self.check_beside(dst, to.start)?;
            self.check_beside(dst, to.end - 1)?;
        }
        Ok(work)
    }

    fn enter_share(&mut self, (src, dst): (ThinId, ThinId), work: Work) -> Result<(), ThinError> {
        for range in work.unmap {
            let removed =
                self.change_tree(dst, |meta, root| meta.remove_mappings(root, (range.start, range.end)))?;
            self.lower_mapped(dst, removed)?;
        }
        if work.enter.is_empty() {
            return Ok(());
        }
        let time = self.shared_time(src)?;
        if !work.restamp.is_empty() {
            let restamped = stamped(&work.restamp, time);
            self.change_tree(src, |meta, root| {
                Ok((meta.insert_mappings(root, &restamped, &mut |_| ())?, ()))
            })?;
        }
        let time = self.shared_time(dst)?;
        for (_, mapping) in &work.enter {
            self.meta.data.increment(mapping.block)?;
        }
        self.enter_mappings(dst, &stamped(&work.enter, time))
    }

    /// A time that says of a mapping of this device: shared.
    fn shared_time(&mut self, id: ThinId) -> Result<u32, ThinError> {
        if self.device(id)?.details.snapshotted_time == 0 {
            self.superblock.time = self.superblock.time.max(1);
            let device = self.device_mut(id)?;
            device.details.snapshotted_time = 1;
            device.details_changed = true;
        }
        Ok(self.device(id)?.details.snapshotted_time - 1)
    }
}

fn stamped(mappings: &[(u64, BlockTime)], time: u32) -> Vec<(u64, u64)> {
    mappings
        .iter()
        .map(|(vblock, BlockTime { block, .. })| (*vblock, BlockTime { block: *block, time }.pack()))
        .collect()
}

fn check_ranges(
    (src, from): (ThinId, u64),
    (dst, to): (ThinId, u64),
    len: u64,
) -> Result<(Range<u64>, Range<u64>), ThinError> {
    let wrong = |what, found, allowed: String| Err(ThinError::Argument { what, found, allowed });
    if len > SHARE_MAX {
        return wrong("the number of blocks to share", len, format!("at most {SHARE_MAX}"));
    }
    let (Some(from_end), Some(to_end)) = (from.checked_add(len), to.checked_add(len)) else {
        return wrong("the first block to share", from.max(to), format!("at most {}", u64::MAX - len));
    };
    if src == dst && from < to_end && to < from_end {
        return wrong(
            "the first block to share",
            to,
            format!("none of {from} to {from_end}: ranges overlap"),
        );
    }
    Ok((from..from_end, to..to_end))
}
