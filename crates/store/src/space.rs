//! Who may take how much of the pool: reservations and quotas (A7).
//!
//! Picture: a device with a reservation of R blocks that has N of its own is still owed R - N. Nobody else may take the
//! last blocks that are owed. A cut makes every block of its origin shared, so the next write to each needs a new one:
//! from then on the device is owed all of R again. A quota bounds what a device maps, shared blocks included.
//!
//! What always holds: `owed` is the sum over all devices; a device's own blocks are never counted too high, so a promise
//! errs on the side of keeping space. Nothing here is on the disk: the array says it again after each opening.

use crate::{
    core::{Core, PoolGuard},
    hold::lock,
};
use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};
use umbra_base::{Error, ErrorCode, Result, size::format_size};
use umbra_thin::ThinId;

/// What a device may count on, and what it may not exceed; in bytes, rounded up to blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// Space that is kept for it.
    pub reserved_bytes: u64,
    /// The most that it may map.
    pub quota_bytes: Option<u64>,
}

/// Why a device may not take a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It maps as much as it may.
    Quota { blocks: u64 },
    /// What is free is owed to others.
    Owed { blocks: u64 },
}

#[derive(Debug, Clone, Copy)]
struct Share {
    reserved: u64,
    quota: Option<u64>,
    own: u64,
    /// Blocks that it will map and that are not entered yet.
    pending: u64,
}

impl Share {
    fn owed(&self) -> u64 {
        self.reserved.saturating_sub(self.own)
    }
}

#[derive(Debug, Default)]
struct Table {
    shares: HashMap<ThinId, Share>,
    owed: u64,
}

impl Table {
    fn change(&mut self, id: ThinId, change: impl FnOnce(&mut Share)) {
        if let Some(share) = self.shares.get_mut(&id) {
            self.owed -= share.owed();
            change(share);
            self.owed += share.owed();
        }
    }
}

/// Counts of losses.
const LOSSES: usize = 16;
/// More blocks than any device has.
const ALL: u64 = 1 << 48;

/// All allowances of a store.
#[derive(Debug, Default)]
pub(crate) struct Space {
    table: Mutex<Table>,
    /// Whether there is any, to be looked at without the lock.
    any: AtomicBool,
    /// Blocks of their own that devices have lost, whether they have an allowance or not; several devices share a count.
    losses: [AtomicU64; LOSSES],
}

impl Space {
    /// Sets a device's allowance in blocks; `own` is how many it has that no snapshot shares. False, with nothing
    /// changed, if `free` blocks are not enough for all that would then be owed.
    pub(crate) fn set(&self, id: ThinId, reserved: u64, quota: Option<u64>, own: u64, free: u64) -> bool {
        let mut table = lock(&self.table);
        let pending = table.shares.get(&id).map_or(0, |share| share.pending);
        let share = Share { reserved, quota, own, pending };
        let before = table.shares.get(&id).map_or(0, Share::owed);
        if share.owed() > before && table.owed - before + share.owed() > free {
            return false;
        }
        table.owed = table.owed - before + share.owed();
        match (reserved, quota) {
            (0, None) => table.shares.remove(&id),
            _ => table.shares.insert(id, share),
        };
        self.any.store(!table.shares.is_empty(), Relaxed);
        true
    }

    /// The device is gone.
    pub(crate) fn forget(&self, id: ThinId) {
        self.set(id, 0, None, 0, u64::MAX);
    }

    /// Blocks that are kept for somebody.
    pub(crate) fn owed(&self) -> u64 {
        if self.any.load(Relaxed) { lock(&self.table).owed } else { 0 }
    }

    /// A device takes a block; `free` are left afterwards. It maps `mapped` now, and one more with a `fresh` one.
    pub(crate) fn take(
        &self,
        id: ThinId,
        free: u64,
        mapped: u64,
        fresh: bool,
    ) -> std::result::Result<(), Refusal> {
        if !self.any.load(Relaxed) {
            return Ok(());
        }
        let mut table = lock(&self.table);
        let share = table.shares.get(&id).copied();
        let maps = |share: &Share| mapped + share.pending + u64::from(fresh);
        if let Some(blocks) = share.and_then(|share| share.quota.filter(|quota| maps(&share) > *quota)) {
            return Err(Refusal::Quota { blocks });
        }
        let others = table.owed - share.map_or(0, |share| share.owed());
        if free < others {
            return Err(Refusal::Owed { blocks: others });
        }
        table.change(id, |share| {
            share.own += 1;
            share.pending += u64::from(fresh);
        });
        Ok(())
    }

    /// So many fresh blocks of a device are entered, or will not be.
    pub(crate) fn settle(&self, id: ThinId, fresh: u64) {
        if self.any.load(Relaxed) {
            lock(&self.table).change(id, |share| share.pending = share.pending.saturating_sub(fresh));
        }
    }

    /// A device has `blocks` fewer of its own: given back, or discarded. Called when the engine has it so.
    pub(crate) fn lost(&self, id: ThinId, blocks: u64) {
        self.losses_of(id).fetch_add(blocks, SeqCst);
        if self.any.load(Relaxed) {
            lock(&self.table).change(id, |share| share.own = share.own.saturating_sub(blocks));
        }
    }

    /// Whether the pool can still keep its promises if all these devices are cut, with `free` blocks free.
    pub(crate) fn can_cut(&self, ids: &[ThinId], free: u64) -> bool {
        if !self.any.load(Relaxed) {
            return true;
        }
        let table = lock(&self.table);
        let more: u64 = ids.iter().filter_map(|id| table.shares.get(id)).map(|s| s.reserved - s.owed()).sum();
        more == 0 || table.owed + more <= free
    }

    /// Whether the pool can still keep its promises if `from` and `to` come to share `len` blocks, with `free` blocks free;
    /// `to` maps so many more than now.
    pub(crate) fn may_share(
        &self,
        (from, to): (ThinId, ThinId),
        len: u64,
        (mapped, more): (u64, u64),
        free: u64,
    ) -> std::result::Result<(), Refusal> {
        let table = lock(&self.table);
        let share = table.shares.get(&to);
        let maps = |share: &Share| mapped + share.pending + more;
        if let Some(blocks) = share.and_then(|share| share.quota.filter(|quota| maps(share) > *quota)) {
            return Err(Refusal::Quota { blocks });
        }
        // What is shared is neither's own; of one device it may be two ranges.
        let (ids, len): (&[_], _) = if from == to { (&[to], 2 * len) } else { (&[from, to], len) };
        let renewed = |share: &Share| {
            let after = Share { own: share.own.saturating_sub(len), ..*share };
            after.owed() - share.owed()
        };
        let renewed: u64 = ids.iter().filter_map(|id| table.shares.get(id)).map(renewed).sum();
        match renewed == 0 || table.owed + renewed <= free {
            true => Ok(()),
            false => Err(Refusal::Owed { blocks: table.owed }),
        }
    }

    /// Whether anything is promised or bounded.
    pub(crate) fn has_any(&self) -> bool {
        self.any.load(Relaxed)
    }

    fn losses_of(&self, id: ThinId) -> &AtomicU64 {
        &self.losses[id.0 as usize % LOSSES]
    }

    /// Devices were cut: nothing is their own any more.
    pub(crate) fn cut(&self, ids: &[ThinId]) {
        for id in ids {
            self.losses_of(*id).fetch_add(ALL, SeqCst);
        }
        if self.any.load(Relaxed) {
            let mut table = lock(&self.table);
            ids.iter().for_each(|id| table.change(*id, |share| share.own = 0));
        }
    }
}

impl Core {
    /// Sets an allowance. What the device has of its own is counted once, in steps.
    pub(crate) fn allow(&self, id: ThinId, allowance: Allowance) -> Result<()> {
        let blocks = |bytes: u64| bytes.div_ceil(self.block_bytes);
        let (own, pool) = if allowance.reserved_bytes == 0 { (0, self.pool()) } else { self.own(id)? };
        let (free, quota) = (pool.data_fill().free, allowance.quota_bytes.map(blocks));
        pool.details(id)?;
        if self.space.set(id, blocks(allowance.reserved_bytes), quota, own, free) {
            return Ok(());
        }
        let (wish, free) = (format_size(allowance.reserved_bytes), format_size(free * self.block_bytes));
        let text = format!(
            "reserve {wish} for thin device {id}: {free} are free, and some of that is owed to others"
        );
        Err(Error::new(ErrorCode::InsufficientStorage, text)
            .hint("delete copies or LUNs, or extend the pool"))
    }

    /// What a device has of its own, at least, and the engine while that is still so. Writes meanwhile may be missed, and what
    /// others of its count lose is taken off: too few is the safe side.
    fn own(&self, id: ThinId) -> Result<(u64, PoolGuard<'_>)> {
        let losses = self.space.losses_of(id);
        let before = losses.load(SeqCst);
        let own = self.count_own(id)?;
        let pool = self.pool();
        let lost = losses.load(SeqCst).wrapping_sub(before);
        Ok((own.saturating_sub(lost), pool))
    }

    /// Blocks that no snapshot shares with the device.
    fn count_own(&self, id: ThinId) -> Result<u64> {
        let (mut own, mut from) = (0, Some(0));
        while let Some(offset) = from {
            let step = self.allocated(id, offset)?;
            for run in &step.runs {
                let first = run.offset / self.block_bytes;
                let runs = self.pool().lookup(id, first..first + run.len / self.block_bytes)?;
                own += runs
                    .iter()
                    .filter(|run| run.at.is_some_and(|at| !at.shared))
                    .map(|run| run.len)
                    .sum::<u64>();
            }
            from = step.next;
        }
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ThinId = ThinId(1);
    const B: ThinId = ThinId(2);

    #[test]
    fn what_is_owed_to_one_nobody_else_takes() {
        let space = Space::default();
        assert!(space.set(A, 3, None, 1, 10));
        assert_eq!(space.owed(), 2);
        assert_eq!(space.take(B, 2, 0, true), Ok(()));
        assert_eq!(space.take(B, 1, 1, true), Err(Refusal::Owed { blocks: 2 }));
        assert_eq!((space.take(A, 1, 1, true), space.take(A, 0, 2, true)), (Ok(()), Ok(())));
        assert_eq!((space.owed(), space.take(B, 0, 1, true)), (0, Ok(())));
        space.lost(A, 2);
        assert_eq!(space.owed(), 2);
        space.forget(A);
        assert_eq!(space.owed(), 0);
    }

    #[test]
    fn a_cut_is_refused_where_promises_could_not_be_kept_and_renews_them_where_they_can() {
        let space = Space::default();
        assert!(space.set(A, 4, None, 4, 0));
        assert!(!space.can_cut(&[A], 3));
        assert!(space.can_cut(&[A], 4) && space.can_cut(&[B], 0));
        space.cut(&[A]);
        assert_eq!(space.owed(), 4);
        assert!(!space.set(B, 1, None, 0, 4));
    }

    #[test]
    fn a_quota_bounds_what_a_device_maps() {
        let space = Space::default();
        assert!(space.set(A, 0, Some(2), 0, 0));
        assert_eq!(space.take(A, 5, 1, true), Ok(()));
        assert_eq!(space.take(A, 5, 1, true), Err(Refusal::Quota { blocks: 2 }), "one is on its way");
        space.settle(A, 1);
        assert_eq!(space.take(A, 5, 2, false), Ok(()), "a copy maps no more");
        assert_eq!(space.take(A, 5, 2, true), Err(Refusal::Quota { blocks: 2 }));
        assert_eq!(space.take(B, 5, 3, true), Ok(()));
    }
}
