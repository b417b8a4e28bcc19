//! The direct door, and I/O on blocks that the cache knows: without a lock, a look into the engine, or an allocation.
//!
//! What always holds: the cache is looked at inside the epoch, and for writes inside the gate, so that what it says stays
//! true until the I/O is done: a cut waits for the gate, the reuse of a block for the epoch.

use super::{Doing, ThinVolume};
use crate::{
    Extent, Ticket,
    map_cache::{Known, MapCache},
};
use umbra_base::Result;

impl ThinVolume {
    /// Shows the extents of a range, neighbours as one. False when a block is not known, or not as `take` wants it.
    fn each_extent(
        &self,
        (offset, len): (u64, u64),
        take: impl Fn(Known) -> Option<Option<u64>>,
        mut see: impl FnMut(Extent) -> Result<()>,
    ) -> Result<bool> {
        let (key, stamp, block) = (self.shared.key(), self.shared.stamp(), self.core.block_bytes);
        let end = offset + len;
        let mut at = offset;
        let mut last: Option<Extent> = None;
        while at < end {
            let (vblock, inside) = (at / block, at % block);
            let Some(place) = self.core.cache.look(key, stamp, vblock).and_then(&take) else {
                return Ok(false);
            };
            let next =
                Extent { at: place.map(|to| to * block + inside), len: (block - inside).min(end - at) };
            at += next.len;
            match &mut last {
                Some(extent) if follows(extent, &next) => extent.len += next.len,
                _ => {
                    if let Some(extent) = last.replace(next) {
                        see(extent)?;
                    }
                }
            }
        }
        last.map_or(Ok(()), see)?;
        Ok(true)
    }

    /// All of a range's extents, or none.
    fn collect(
        &self,
        range: (u64, u64),
        take: impl Fn(Known) -> Option<Option<u64>>,
        extents: &mut Vec<Extent>,
    ) -> bool {
        let before = extents.len();
        let all = self.each_extent(range, take, |extent| {
            extents.push(extent);
            Ok(())
        });
        let all = matches!(all, Ok(true));
        if !all {
            extents.truncate(before);
        }
        all
    }

    pub(super) fn plan_read(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Ticket> {
        if !self.is_inside(offset, len) || !self.core.is_open() {
            return None;
        }
        let entry = self.core.epochs.begin();
        if self.collect((offset, len), anywhere, extents) {
            return Some(Ticket { entry, gate: None, whole: None });
        }
        self.core.epochs.leave(entry);
        None
    }

    pub(super) fn plan_write(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Ticket> {
        if !self.is_inside(offset, len) {
            return None;
        }
        let gate = self.shared.gate.try_enter()?;
        let entry = self.core.epochs.begin();
        if self.core.is_open() {
            if self.collect((offset, len), in_place, extents) {
                return Some(Ticket { entry, gate: Some(gate), whole: None });
            }
            if let whole @ Some(_) = self.plan_whole(offset, len, extents) {
                return Some(Ticket { entry, gate: Some(gate), whole });
            }
        }
        self.core.epochs.leave(entry);
        self.shared.gate.leave(gate);
        None
    }

    pub(super) fn give_back(&self, ticket: Ticket, done: bool) -> Result<()> {
        let result = match ticket.whole {
            Some(whole) => self.finish_whole(&whole, done),
            // In place, where the log may have been emptied meanwhile: then nothing is acknowledged any more.
            None if ticket.gate.is_some() && done => self.core.check_writable(),
            None => Ok(()),
        };
        self.core.epochs.leave(ticket.entry);
        if let Some(stripe) = ticket.gate {
            self.shared.gate.leave(stripe);
        }
        result
    }

    /// Reads a range that the cache knows; false if it does not know all of it.
    pub(super) fn read_known(&self, doing: Doing, buf: &mut [u8]) -> Result<bool> {
        if !self.core.is_open() {
            return Ok(false);
        }
        let _io = self.core.epochs.enter();
        let mut rest = buf;
        self.each_extent((doing.offset, doing.len), anywhere, |extent| {
            let (part, left) = std::mem::take(&mut rest).split_at_mut(extent.len as usize);
            rest = left;
            self.read_extent(doing, extent, part)
        })
    }

    pub(super) fn read_extent(&self, doing: Doing, extent: Extent, part: &mut [u8]) -> Result<()> {
        match extent.at {
            None => part.fill(0),
            Some(at) => self.core.backing.data.read_at(part, at).map_err(|e| doing.io(e))?,
        }
        Ok(())
    }

    /// Writes in place what the cache knows to be the device's own; false if that is not all of it.
    pub(super) fn write_known(&self, doing: Doing, buf: &[u8]) -> Result<bool> {
        let _inside = self.shared.gate.enter();
        if !self.core.is_open() {
            return Ok(false);
        }
        let _io = self.core.epochs.enter();
        let mut rest = buf;
        self.each_extent((doing.offset, doing.len), in_place, |extent| {
            let (part, left) = rest.split_at(extent.len as usize);
            rest = left;
            let Some(at) = extent.at else { return Ok(()) };
            self.core.backing.data.write_at(part, at).map_err(|e| doing.io(e))?;
            self.core.check_writable()
        })
    }

    /// Sees to it that the cache knows a range, as far as it has room and the metadata can be read. A line has
    /// neighbours that nobody asked for, so damage there is not this caller's failure.
    pub(super) fn learn(&self, doing: Doing) {
        let (key, stamp, blocks) =
            (self.shared.key(), self.shared.stamp(), self.blocks(doing.offset, doing.len));
        let mut at = blocks.start;
        while at < blocks.end {
            if self.core.cache.look(key, stamp, at).is_none()
                && let Err(error) = self.core.learn(self.id, &self.shared, at)
            {
                tracing::debug!(device = %self.id, block = at, %error, "mappings stay unknown");
            }
            at = MapCache::line_of(at).end;
        }
    }
}

pub(super) fn follows(before: &Extent, next: &Extent) -> bool {
    match (before.at, next.at) {
        (Some(before_at), Some(at)) => before_at + before.len == at,
        (None, None) => true,
        _ => false,
    }
}

/// For reads.
fn anywhere(known: Known) -> Option<Option<u64>> {
    match known {
        Known::Unmapped => Some(None),
        Known::At { block, .. } => Some(Some(block)),
    }
}

/// For writes: only where the device is alone.
fn in_place(known: Known) -> Option<Option<u64>> {
    match known {
        Known::At { block, private: true } => Some(Some(block)),
        _ => None,
    }
}
