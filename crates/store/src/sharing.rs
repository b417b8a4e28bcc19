//! Blocks that two devices share, made and found: copies without copying, and what differs between two devices.
//!
//! What always holds: while sharing is entered no write to either device is under way, and afterwards no write goes in
//! place to a block that both map: the cache forgets both ranges under the engine's lock, before a commit can make the
//! sharing durable.

use crate::{
    Difference, DifferenceKind, DifferentRun, Hold, Share,
    core::{Core, Engine},
    limits,
    volume::Doing,
};
use std::ops::Range;
use umbra_base::{Error, ErrorCode, Result, limits::HOLD_MAX};
use umbra_thin::{ThinId, limits::SHARE_MAX};

impl Core {
    pub(crate) fn share(&self, wish: Share) -> Result<()> {
        self.check_writable()?;
        let (from, to, len) = self.whole_blocks(&wish)?;
        let step = (limits::SHARED_AT_ONCE / self.block_bytes).clamp(1, SHARE_MAX);
        let mut transaction = 0;
        for done in (0..len).step_by(step as usize) {
            transaction = self.share_step(&wish, from + done, to + done, step.min(len - done))?;
        }
        self.commit_through(transaction).map(drop)
    }

    fn whole_blocks(&self, wish: &Share) -> Result<(u64, u64, u64)> {
        let block = self.block_bytes;
        let end = |offset: u64| offset.checked_add(wish.len).is_some();
        let whole = [wish.from_offset, wish.to_offset, wish.len].iter().all(|n| n.is_multiple_of(block));
        if whole && end(wish.from_offset) && end(wish.to_offset) {
            return Ok((wish.from_offset / block, wish.to_offset / block, wish.len / block));
        }
        Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("{}: not whole blocks of {block} bytes", doing(wish)),
        ))
    }

    /// Shares some blocks, and returns the transaction that has it.
    fn share_step(&self, wish: &Share, from: u64, to: u64, len: u64) -> Result<u64> {
        let (source, destination) = (self.shared(wish.from), self.shared(wish.to));
        let mut gates = vec![(wish.from, source.gate.clone()), (wish.to, destination.gate.clone())];
        gates.sort_by_key(|(id, _)| *id);
        gates.dedup_by_key(|(id, _)| *id);
        let hold = Hold::take(gates, HOLD_MAX)?;
        let enter = || {
            let mut pool = self.pool();
            if self.space.has_any() {
                self.check_promises(&mut pool, wish, from..from + len, to..to + len)?;
            }
            pool.share(wish.from, from, wish.to, to, len).map_err(|e| self.met(e))?;
            for (shared, id, blocks) in
                [(&source, wish.from, from..from + len), (&destination, wish.to, to..to + len)]
            {
                shared.restamp(pool.details(id)?.snapshotted_time);
                self.cache.forget(shared.key(), blocks);
                self.space.lost(id, len);
            }
            Ok(pool.transaction())
        };
        self.change(doing(wish), || hold.while_held(enter))
    }

    /// Sharing is refused where a quota or what is reserved forbids it, like a write or a cut.
    fn check_promises(
        &self,
        pool: &mut Engine,
        wish: &Share,
        from: Range<u64>,
        to: Range<u64>,
    ) -> Result<()> {
        let len = from.end - from.start;
        let mut mapped = |id, blocks| -> Result<u64> {
            let runs = pool.lookup(id, blocks).map_err(|e| self.met(e))?;
            Ok(runs.iter().filter(|run| run.at.is_some()).map(|run| run.len).sum())
        };
        let more = mapped(wish.from, from)?.saturating_sub(mapped(wish.to, to)?);
        let (maps, free) = (pool.details(wish.to)?.mapped_blocks, pool.data_fill().free);
        let doing = Doing { what: "share into", id: wish.to, offset: wish.to_offset, len: wish.len };
        let allowed = self.space.may_share((wish.from, wish.to), len, (maps, more), free);
        allowed.map_err(|refusal| doing.refused(refusal))
    }

    pub(crate) fn changed(&self, old: ThinId, new: ThinId, from: u64) -> Result<Difference> {
        self.check_open()?;
        [old, new].into_iter().try_for_each(|id| self.check_not_behind(id))?;
        let step = self.pool().changed(old, new, from / self.block_bytes, limits::NODES_PER_STEP);
        let step = step.map_err(|e| self.met(e))?;
        let kind = |kind| match kind {
            umbra_thin::Difference::LeftOnly => DifferenceKind::OnlyOld,
            umbra_thin::Difference::RightOnly => DifferenceKind::OnlyNew,
            umbra_thin::Difference::Different => DifferenceKind::Both,
        };
        let runs = step.runs.iter().map(|run| self.in_bytes(run.vblock, run.len, kind(run.kind))).collect();
        Ok(Difference { runs, next: step.next.map(|block| block * self.block_bytes) })
    }

    pub(crate) fn allocated(&self, id: ThinId, from: u64) -> Result<Difference> {
        self.check_open()?;
        self.check_not_behind(id)?;
        let step = self.pool().allocated(id, from / self.block_bytes, limits::NODES_PER_STEP);
        let step = step.map_err(|e| self.met(e))?;
        let runs =
            step.runs.iter().map(|run| self.in_bytes(run.vblock, run.len, DifferenceKind::OnlyNew)).collect();
        Ok(Difference { runs, next: step.next.map(|block| block * self.block_bytes) })
    }

    fn in_bytes(&self, vblock: u64, len: u64, kind: DifferenceKind) -> DifferentRun {
        DifferentRun { offset: vblock * self.block_bytes, len: len * self.block_bytes, kind }
    }
}

fn doing(wish: &Share) -> String {
    let Share { from, from_offset, to, to_offset, len } = *wish;
    format!("share {len} bytes at {from_offset} of thin device {from} with thin device {to} at {to_offset}")
}
