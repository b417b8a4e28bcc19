//! Entering what the acknowledged-write log holds, before anything else happens to an opened pool (A2).
//!
//! A record may be in the pool already: it was appended while the commit that has it was closing. So entering one
//! twice changes nothing. A record of a device that the pool does not have belongs to a copy whose cut was lost with
//! the process: nothing was promised of it.

use super::Pool;
use crate::{
    ThinError, ThinId, limits::BLOCKS_PER_CALL, log::Change, log::Record, meta::MetaRead, tree::Care,
};
use std::ops::Range;

impl<R: MetaRead> Pool<R> {
    /// Enters one record. Until [`Pool::end_replay`] changes may use the reserve: what was acknowledged had its room, and
    /// must not be refused now, when one transaction takes in what two had.
    pub fn replay(&mut self, record: &Record) -> Result<(), ThinError> {
        self.replaying = true;
        let id = record.change.device();
        if self.device(id).is_err() {
            return Ok(());
        }
        match record.change {
            Change::Map { vblock, block, len, .. } => {
                (0..len).try_for_each(|i| self.replay_map(id, vblock + i, block + i, record.sequence))
            }
            Change::Unmap { vblock, len, .. } => self.replay_unmap(id, vblock, len),
        }
    }

    /// All records are entered. The next commit's generation passes over the one that a segment of the log may have as
    /// its base, so that no state of the pool ever matches a segment that was entered already.
    pub fn end_replay(&mut self) {
        self.replaying = false;
        self.next_generation();
    }

    fn replay_map(&mut self, id: ThinId, vblock: u64, block: u64, sequence: u64) -> Result<(), ThinError> {
        if self.mapping(id, vblock, Care::Write)?.is_some_and(|mapping| mapping.block == block) {
            return Ok(());
        }
        if !self.meta.data.reserve_exact(block) {
            let what = format!("maps block {vblock} of device {id} to data block {block}, which is not free");
            return Err(ThinError::LogRecord { sequence, what });
        }
        self.finish_write(id, vblock, block)
    }

    /// Goes from mapping to mapping, so that a length from a hostile log costs no more than what is mapped.
    fn replay_unmap(&mut self, id: ThinId, vblock: u64, len: u64) -> Result<(), ThinError> {
        let end = vblock.saturating_add(len);
        let mut at = vblock;
        while let Some(first) = self.first_mapped(id, at..end)? {
            at = first.saturating_add(BLOCKS_PER_CALL).min(end);
            self.discard(id, first..at)?;
        }
        Ok(())
    }

    /// Reads no node that a mapping of the range cannot be in, because that may be damaged.
    fn first_mapped(&mut self, id: ThinId, range: Range<u64>) -> Result<Option<u64>, ThinError> {
        let mut from = Some(range.start);
        while let Some(at) = from.filter(|at| *at < range.end) {
            let step = self.allocated(id, at, 1)?;
            if let Some(run) = step.runs.first() {
                return Ok(Some(run.vblock).filter(|first| *first < range.end));
            }
            from = step.next;
        }
        Ok(None)
    }
}
