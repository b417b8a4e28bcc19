//! Writing by plan: what the cache does not know to be the device's own.

use super::{Doing, ThinVolume, fill::Piece, whole::new_places};
use crate::{core::Engine, journal::Together, limits::BLOCKS_PER_STEP, map_cache::Known};
use std::ops::Range;
use umbra_base::{Error, ErrorCode, Result};
use umbra_thin::{Plan, log::map_changes};

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many zeroes; blocks that are not mapped stay so.
    Zeroes(u64),
}

impl<'a> Source<'a> {
    pub(super) fn len(&self) -> u64 {
        match self {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::Zeroes(len) => *len,
        }
    }

    pub(super) fn part(&self, range: Range<u64>) -> Source<'a> {
        match self {
            Source::Bytes(bytes) => Source::Bytes(&bytes[range.start as usize..range.end as usize]),
            Source::Zeroes(_) => Source::Zeroes(range.end - range.start),
        }
    }
}

/// How each of some blocks is to be written.
pub(super) type Plans = Vec<(u64, Plan)>;

/// Where a block may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// In place if it is the device's own.
    Any,
    /// Never where it is.
    Fresh,
}

impl ThinVolume {
    /// Writes `source` at `offset`, a bounded number of blocks at a time.
    pub(super) fn write_pieces(&self, doing: Doing, offset: u64, source: Source<'_>) -> Result<()> {
        let step = BLOCKS_PER_STEP * self.core.block_bytes;
        let mut done = 0;
        while done < source.len() {
            // Pieces end at multiples of the step, so that whole blocks stay whole.
            let at = offset + done;
            let len = (source.len() - done).min(step - at % step);
            let piece = Piece { offset: at, source: source.part(done..done + len), doing };
            self.with_room(doing, || self.write_piece(&piece))?;
            done += len;
        }
        Ok(())
    }

    fn write_piece(&self, piece: &Piece<'_>) -> Result<()> {
        let blocks = self.blocks(piece.offset, piece.source.len());
        let _locked = self.shared.ranges.lock(blocks.clone());
        self.write_locked(piece, blocks, Target::Any)
    }

    /// Writes all of `buf` or, whatever is lost, nothing of it: into fresh blocks, to which the mappings turn together.
    pub(super) fn redirect(&self, doing: Doing, buf: &[u8]) -> Result<()> {
        let blocks = self.blocks(doing.offset, doing.len);
        if blocks.end - blocks.start > Together::MOST {
            let most = Together::MOST * self.core.block_bytes;
            let text = format!("{doing}: at most {most} bytes in whole blocks can be written at once");
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        let piece = Piece { offset: doing.offset, source: Source::Bytes(buf), doing };
        self.with_room(doing, || {
            let _locked = self.shared.ranges.lock(blocks.clone());
            // Writes in place that looked before this are done after it; later ones wait for the range.
            self.core.cache.forget(self.shared.key(), blocks.clone());
            self.core.epochs.grace();
            self.write_locked(&piece, blocks.clone(), Target::Fresh)
        })
    }

    fn write_locked(&self, piece: &Piece<'_>, blocks: Range<u64>, target: Target) -> Result<()> {
        let _io = self.core.epochs.enter();
        let plans = self.plan(piece, blocks, target)?;
        match self.carry_out(piece, &plans) {
            Ok(()) => self.enter(piece.doing, &plans, target),
            Err(error) => {
                // Places were found: it is the backing that has no more.
                if error.code() == ErrorCode::InsufficientStorage {
                    // What they took of it is none that the search for room could find: nobody else has them yet.
                    let runs: Vec<_> = new_places(&plans).map(|to| to..to + 1).collect();
                    self.core.provision.punch_rest(&*self.core.backing.data, &runs);
                    self.core.provision.note_full();
                }
                self.give_up(&plans);
                Err(error)
            }
        }
    }

    /// One plan for each block. Blocks that need none are left out.
    fn plan(&self, piece: &Piece<'_>, blocks: Range<u64>, target: Target) -> Result<Plans> {
        let mut pool = self.core.pool();
        if !matches!(piece.source, Source::Zeroes(_)) {
            return self.plan_blocks(&mut pool, piece.doing, blocks, target);
        }
        let mut plans = Plans::new();
        // What is not mapped reads as zeroes already, and needs no block for it.
        let runs = pool.lookup(self.id, blocks).map_err(|error| piece.doing.failed(&self.core, error))?;
        for run in runs.iter().filter(|run| run.at.is_some()) {
            match self.plan_blocks(&mut pool, piece.doing, run.vblock..run.vblock + run.len, target) {
                Ok(more) => plans.extend(more),
                Err(error) => {
                    self.give_up_under(&mut pool, &plans);
                    return Err(error);
                }
            }
        }
        Ok(plans)
    }

    /// A plan for each of these blocks, or for none.
    pub(super) fn plan_blocks(
        &self,
        pool: &mut Engine,
        doing: Doing,
        blocks: Range<u64>,
        target: Target,
    ) -> Result<Plans> {
        let mut plans = Plans::with_capacity((blocks.end - blocks.start) as usize);
        for vblock in blocks {
            match self.plan_block(pool, doing, vblock, target) {
                Ok(plan) => plans.push((vblock, plan)),
                Err(error) => {
                    self.give_up_under(pool, &plans);
                    return Err(error);
                }
            }
        }
        Ok(plans)
    }

    fn plan_block(&self, pool: &mut Engine, doing: Doing, vblock: u64, target: Target) -> Result<Plan> {
        let failed = |error| doing.failed(&self.core, error);
        let plan = match target {
            Target::Any => pool.plan_write(self.id, vblock),
            Target::Fresh => pool.plan_redirect(self.id, vblock),
        };
        let plan = plan.map_err(failed)?;
        if !matches!(plan, Plan::InPlace(_)) {
            let (free, mapped) =
                (pool.data_fill().free, pool.details(self.id).map_err(failed)?.mapped_blocks);
            let fresh = matches!(plan, Plan::Fresh { .. });
            if let Err(refusal) = self.core.space.take(self.id, free, mapped, fresh) {
                pool.abort_write(plan);
                return Err(doing.refused(refusal));
            }
        }
        Ok(plan)
    }

    fn carry_out(&self, piece: &Piece<'_>, plans: &[(u64, Plan)]) -> Result<()> {
        let provision = &self.core.provision;
        for run in plans.chunk_by(|a, b| self.go_together(piece, a, b)) {
            let (vblock, len) = (run[0].0, run.len() as u64);
            match run[0].1 {
                Plan::InPlace(to) => self.write_run(piece, vblock, to, len)?,
                Plan::Fresh { to } | Plan::Copy { to, .. } if self.covers(piece, vblock) => {
                    self.write_whole(to..to + len, || self.write_run(piece, vblock, to, len))?;
                }
                Plan::Fresh { to } => {
                    let take = || provision.take(&*self.core.backing.data, to);
                    match provision.is_zeroes(to) && take().map_err(|e| piece.doing.io(e))? {
                        true => self.write_run(piece, vblock, to, 1)?,
                        false => self.write_whole(to..to + 1, || self.fill_block(piece, vblock, None, to))?,
                    }
                }
                Plan::Copy { from, to } => {
                    self.write_whole(to..to + 1, || self.fill_block(piece, vblock, Some(from), to))?;
                }
            }
        }
        Ok(())
    }

    /// Writes every byte of some new blocks, which takes their space in the backing, or fails before anything points to
    /// them (A5).
    fn write_whole(&self, blocks: Range<u64>, write: impl FnOnce() -> Result<()>) -> Result<()> {
        self.core.provision.unknown(blocks.clone());
        write()?;
        self.core.provision.written(blocks);
        Ok(())
    }

    /// Whether two neighbours are one write: nothing to fill up in either, and consecutive places.
    fn go_together(&self, piece: &Piece<'_>, a: &(u64, Plan), b: &(u64, Plan)) -> bool {
        let plain = |(vblock, plan): &(u64, Plan)| match *plan {
            Plan::InPlace(to) => Some((false, to)),
            Plan::Fresh { to } | Plan::Copy { to, .. } => self.covers(piece, *vblock).then_some((true, to)),
        };
        // New ones stay among themselves: what they hold from now on has to be noted.
        let follow = |(a_new, a): (bool, u64), (b_new, b)| a_new == b_new && a + 1 == b;
        a.0 + 1 == b.0 && plain(a).zip(plain(b)).is_some_and(|(a, b)| follow(a, b))
    }

    /// Whether the piece has all of a block.
    fn covers(&self, piece: &Piece<'_>, vblock: u64) -> bool {
        let block = self.core.block_bytes;
        piece.offset <= vblock * block && (vblock + 1) * block <= piece.offset + piece.source.len()
    }

    /// Enters what was written, all of it or nothing, logs it, tells the cache.
    pub(super) fn enter(&self, doing: Doing, plans: &[(u64, Plan)], target: Target) -> Result<()> {
        let moved = plans.iter().filter_map(|(vblock, plan)| match *plan {
            Plan::InPlace(_) => None,
            Plan::Fresh { to } | Plan::Copy { to, .. } => Some((*vblock, to)),
        });
        let moved: Vec<_> = moved.collect();
        if moved.is_empty() {
            return Ok(());
        }
        let key = self.shared.key();
        moved.iter().for_each(|(vblock, _)| self.core.cache.forget(key, *vblock..*vblock + 1));
        let mut pool = self.core.pool();
        let entered = pool.finish_writes(self.id, &moved);
        if entered.is_ok() {
            // Together with their entry, or they would count twice against the quota.
            self.settle(plans);
        }
        drop(pool);
        if let Err(error) = entered {
            self.give_up(plans);
            return Err(doing.failed(&self.core, error));
        }
        let mut together = Together::No;
        if target == Target::Fresh {
            together = Together::Yes;
            // What was redirected may have been its own before; it is not one block more then.
            let copies = plans.iter().filter(|(_, plan)| matches!(plan, Plan::Copy { .. })).count();
            self.core.space.lost(self.id, copies as u64);
        }
        self.core.log(&map_changes(self.id, moved.iter().copied()), together)?;
        for (vblock, block) in moved {
            let known = Known::At { block, private: true };
            self.core.cache.tell(key, self.shared.stamp(), vblock, known);
        }
        Ok(())
    }

    /// Gives back what was planned and will not be written.
    pub(super) fn give_up(&self, plans: &[(u64, Plan)]) {
        self.give_up_under(&mut self.core.pool(), plans);
    }

    fn give_up_under(&self, pool: &mut Engine, plans: &[(u64, Plan)]) {
        let taken = plans.iter().filter(|(_, plan)| !matches!(plan, Plan::InPlace(_))).count();
        self.core.space.lost(self.id, taken as u64);
        self.settle(plans);
        plans.iter().for_each(|(_, plan)| pool.abort_write(*plan));
    }

    fn settle(&self, plans: &[(u64, Plan)]) {
        let fresh = plans.iter().filter(|(_, plan)| matches!(plan, Plan::Fresh { .. })).count();
        self.core.space.settle(self.id, fresh as u64);
    }
}
