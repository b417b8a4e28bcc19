//! One thin device as an array of bytes.
//!
//! Picture of a write: through the gate, into the epoch, look the blocks up in the cache (`direct`). Blocks of its own
//! are written where they are: no metadata, no log, no lock. For any other block the range is locked, the engine plans,
//! the data goes to new blocks, the engine enters them, the log has them, the cache is told, the write is acknowledged.
//!
//! What always holds: a new block is written whole before anything points to it; a block shared with a snapshot is
//! never written; what a write copies is copied only where the write does not cover it. The order of waiting is: gate,
//! range, epoch, engine; whoever is in an epoch waits for no range and no gate.

mod direct;
mod fill;
mod whole;
mod write;

pub(crate) use whole::Whole;

use crate::{
    Extent, MappedRun, Ticket, Volume,
    context::during,
    core::{Core, Shared},
    journal::Together,
    limits::BLOCKS_PER_LOOKUP,
    room::Search,
    space::Refusal,
};
use std::{ops::Range, sync::Arc};
use umbra_base::{Error, ErrorCode, Result};
use umbra_thin::{Run, ThinError, ThinId, limits::SECTOR, log::Change};

/// An opened thin device.
#[derive(Debug)]
pub(crate) struct ThinVolume {
    pub(crate) core: Arc<Core>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: ThinId,
    pub(crate) size_bytes: u64,
}

/// What to do to which bytes of which device, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doing {
    pub(crate) what: &'static str,
    pub(crate) id: ThinId,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Doing {
    /// An error of the engine, met while doing this.
    pub(crate) fn failed(&self, core: &Core, error: ThinError) -> Error {
        during(self, core.met(error)).param("device", self.id)
    }

    /// A refusal of space.
    pub(crate) fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Quota { blocks } => {
                let text = format!("{self}: it maps all of the {blocks} blocks that its quota allows");
                Error::new(ErrorCode::LimitReached, text)
                    .hint("discard what it does not need, or raise its quota")
            }
            Refusal::Owed { blocks } => {
                let text =
                    format!("{self}: what is free in the pool ({blocks} blocks) is reserved for others");
                Error::new(ErrorCode::InsufficientStorage, text)
                    .hint("delete copies or LUNs, or extend the pool")
            }
        }
        .param("device", self.id)
    }

    /// An error of a file.
    pub(crate) fn io(&self, error: std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::new(
                ErrorCode::InsufficientStorage,
                format!("{self}: the file system of the pool is full"),
            )
            .hint("make room in the file system under the pool, or delete copies or LUNs")
            .because(error),
            _ => Error::io(self, error),
        }
    }
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} bytes at {} of thin device {}", self.what, self.len, self.offset, self.id)
    }
}

impl ThinVolume {
    fn doing(&self, what: &'static str, offset: u64, len: u64) -> Result<Doing> {
        let doing = Doing { what, id: self.id, offset, len };
        if self.is_inside(offset, len) {
            return Ok(doing);
        }
        let size = self.size_bytes;
        Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("{doing}: not whole sectors of 512 bytes inside its {size} bytes"),
        ))
    }

    fn is_inside(&self, offset: u64, len: u64) -> bool {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.size_bytes);
        inside && offset.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR)
    }

    /// The blocks that a range of bytes touches.
    fn blocks(&self, offset: u64, len: u64) -> Range<u64> {
        let block = self.core.block_bytes;
        offset / block..(offset + len).div_ceil(block)
    }

    /// Shows each run of a range, clipped to it, as bytes: offset, length, run.
    fn each_run(&self, doing: Doing, mut see: impl FnMut(u64, u64, &Run) -> Result<()>) -> Result<()> {
        let block = self.core.block_bytes;
        let blocks = self.blocks(doing.offset, doing.len);
        let end = doing.offset + doing.len;
        for start in blocks.clone().step_by(BLOCKS_PER_LOOKUP as usize) {
            let range = start..blocks.end.min(start + BLOCKS_PER_LOOKUP);
            let runs = self.core.pool().lookup(self.id, range).map_err(|e| doing.failed(&self.core, e))?;
            for run in &runs {
                let from = (run.vblock * block).max(doing.offset);
                let to = ((run.vblock + run.len) * block).min(end);
                see(from, to - from, run)?;
            }
        }
        Ok(())
    }

    /// Unmaps whole blocks, in steps.
    fn unmap(&self, doing: Doing, blocks: Range<u64>) -> Result<()> {
        for start in blocks.clone().step_by(BLOCKS_PER_LOOKUP as usize) {
            let range = start..blocks.end.min(start + BLOCKS_PER_LOOKUP);
            self.with_room(doing, || self.unmap_step(doing, range.clone()))?;
        }
        Ok(())
    }

    fn unmap_step(&self, doing: Doing, range: Range<u64>) -> Result<()> {
        let _locked = self.shared.ranges.lock(range.clone());
        self.core.cache.forget(self.shared.key(), range.clone());
        let mut pool = self.core.pool();
        let result = pool.discard(self.id, range.clone());
        if let Ok(removed) = &result {
            // Under the engine's lock: whoever counts what the device has sees both, or neither.
            self.core.space.lost(self.id, *removed);
        }
        drop(pool);
        let (gone, removed) = match &result {
            Ok(removed) => (range.clone(), *removed),
            // What was unmapped before it failed must be found again like everything that is in the engine.
            Err(_) => {
                let gone = range.start..self.first_mapped(&range);
                self.core.space.lost(self.id, gone.end - gone.start);
                (gone.clone(), gone.end - gone.start)
            }
        };
        if removed > 0 && !gone.is_empty() {
            let len = gone.end - gone.start;
            let change = Change::Unmap { device: self.id, vblock: gone.start, len };
            self.core.log(&[change], Together::No)?;
        }
        result.map(drop).map_err(|e| doing.failed(&self.core, e))
    }

    /// Where the first mapped block of a range is, or what cannot be read; its end, if there is none.
    fn first_mapped(&self, range: &Range<u64>) -> u64 {
        let (mut pool, mut end) = (self.core.pool(), range.end);
        loop {
            match pool.lookup(self.id, range.start..end) {
                Ok(runs) => return runs.iter().find(|run| run.at.is_some()).map_or(end, |run| run.vblock),
                Err(ThinError::Damaged { lost, .. }) if (range.start..end).contains(&lost.keys.start) => {
                    end = lost.keys.start;
                }
                Err(_) => return range.start,
            }
        }
    }

    /// Runs a change inside the gate, and again while the pool has no room and commits may make some.
    fn with_room(&self, doing: Doing, change: impl Fn() -> Result<()>) -> Result<()> {
        self.core.make_log_room()?;
        let pass = || {
            let _inside = self.shared.gate.enter();
            self.core.check_writable()?;
            change()
        };
        self.core.with_room(Search::Everything, pass, |error| {
            let full = error.code() == ErrorCode::InsufficientStorage;
            if full {
                tracing::debug!(device = %self.id, doing = %doing, "pool is full: looking for what was freed");
            }
            full
        })?
    }

    fn zero(&self, doing: Doing) -> Result<()> {
        let block = self.core.block_bytes;
        let end = doing.offset + doing.len;
        let first = doing.offset.div_ceil(block);
        // The last block of a device may be cut short by its size; nobody sees the rest of it.
        let last = if end == self.size_bytes { end.div_ceil(block) } else { end / block };
        if first >= last {
            return self.write_pieces(doing, doing.offset, write::Source::Zeroes(doing.len));
        }
        self.write_pieces(doing, doing.offset, write::Source::Zeroes(first * block - doing.offset))?;
        self.unmap(doing, first..last)?;
        self.write_pieces(doing, last * block, write::Source::Zeroes(end.saturating_sub(last * block)))
    }
}

impl Volume for ThinVolume {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let doing = self.doing("read", offset, buf.len() as u64)?;
        if self.read_known(doing, buf)? {
            return Ok(());
        }
        self.core.check_open()?;
        self.learn(doing);
        let _io = self.core.epochs.enter();
        let block = self.core.block_bytes;
        self.each_run(doing, |from, len, run| {
            let part = &mut buf[(from - offset) as usize..][..len as usize];
            // A damaged pool may name blocks that no file has.
            let start =
                |at: umbra_thin::Mapped| at.block.checked_mul(block)?.checked_add(from - run.vblock * block);
            let at =
                run.at.map(|at| start(at).ok_or_else(|| doing.io(std::io::ErrorKind::UnexpectedEof.into())));
            self.read_extent(doing, Extent { at: at.transpose()?, len }, part)
        })
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let doing = self.doing("write", offset, buf.len() as u64)?;
        if self.write_known(doing, buf)? {
            return Ok(());
        }
        self.write_pieces(doing, offset, write::Source::Bytes(buf))?;
        self.learn(doing);
        Ok(())
    }

    fn write_atomic(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.redirect(self.doing("write at once", offset, buf.len() as u64)?, buf)
    }

    fn flush(&self) -> Result<()> {
        self.core.flush_device(self.id)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.zero(self.doing("discard", offset, len)?)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.zero(self.doing("write zeroes to", offset, len)?)
    }

    fn mapped(&self, offset: u64, len: u64) -> Result<Vec<MappedRun>> {
        let doing = self.doing("look up", offset, len)?;
        self.core.check_open()?;
        let mut found: Vec<MappedRun> = Vec::new();
        self.each_run(doing, |offset, len, run| {
            let mapped = run.at.is_some();
            match found.last_mut() {
                Some(last) if last.mapped == mapped => last.len += len,
                _ => found.push(MappedRun { offset, len, mapped }),
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn direct_read(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Ticket> {
        self.plan_read(offset, len, extents)
    }

    fn direct_write(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Ticket> {
        self.plan_write(offset, len, extents)
    }

    fn finish(&self, ticket: Ticket, done: bool) -> Result<()> {
        self.give_back(ticket, done)
    }
}
