//! EXTENDED COPY on a worker: blocks of one unit to another, or within one, shared where that is possible and copied where it
//! is not (SPC-4 section 5.17).
//!
//! What always holds: a copy touches only units that its initiator sees, and that reservations let it touch; a range
//! that overlaps its own source gets what the source held before.

use crate::limits::CHUNK;
use crate::slot::{Slot, lock};
use crate::slow::{Run, Viewer, with_scratch};
use crate::unit::{LogicalUnit, MediumError};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use umbra_scsi::copy::{
    self, End, Form, Keep, ListId, Move, Operations, Place, Progress, Request, Service, Token,
};
use umbra_scsi::{Access, Durability, Sense};

impl<U: LogicalUnit> Run<'_, U> {
    pub(crate) fn extended_copy(&self, form: Form, list: &[u8]) -> Result<(), Sense> {
        let request = copy::parse(form, list)?;
        let viewer = self.viewer()?;
        let service = match form {
            Form::Lid1 => Service::ExtendedCopyLid1,
            Form::Lid4 => Service::ExtendedCopyLid4,
        };
        let book = viewer.entry(request.id);
        book.begin(service, request.keep)?;
        let mut progress = Progress::default();
        let result = self.copy_segments(&request, viewer, &mut progress, &book);
        book.end(&result, None);
        match result {
            Ok(true) => self.settle(self.by_cache()),
            Ok(false) => Err(Sense::COPY_FAILED),
            Err(sense) => Err(sense),
        }
    }

    /// False if it was aborted.
    fn copy_segments(
        &self,
        request: &Request,
        viewer: &Viewer<U>,
        progress: &mut Progress,
        book: &Entry<'_>,
    ) -> Result<bool, Sense> {
        for (index, segment) in request.segments.iter().enumerate() {
            let source = self.find(request, segment.source, viewer);
            let destination = self.find(request, segment.destination, viewer);
            let blocks = |slot: &Option<Arc<Slot<U>>>| slot.as_ref().map(|slot| slot.announced_bytes / 512);
            let found = segment.locate(index, blocks(&source), blocks(&destination))?;
            let (Some(source), Some(destination)) = (source, destination) else {
                return Err(Sense::UNREACHABLE_COPY_TARGET.in_segment(index));
            };
            let moved = self.copy(&source, &destination, found, viewer);
            moved.map_err(|sense| sense.in_segment(index))?;
            progress.segments += 1;
            progress.blocks += found.to.blocks;
            if !book.advance(*progress) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn find(&self, request: &Request, place: Place, viewer: &Viewer<U>) -> Option<Arc<Slot<U>>> {
        match request.target(place)? {
            None => Some(self.job.slot.clone()),
            Some(designator) => viewer.luns.values().find(|slot| designator.names(&slot.identity)).cloned(),
        }
    }

    fn check_allowed(
        &self,
        source: &Slot<U>,
        destination: &Slot<U>,
        viewer: &Viewer<U>,
    ) -> Result<(), Sense> {
        let reads = source.state.reserved().is_none_or(|held| held.admits_reads(&viewer.nexus));
        let writes = destination.state.reserved().is_none_or(|held| held.admits_writes(&viewer.nexus));
        let protected =
            destination.access == Access::ReadOnly || destination.state.mode().software_write_protect;
        match reads && writes && !protected {
            true => Ok(()),
            false => Err(Sense::THIRD_PARTY_DEVICE_FAILURE),
        }
    }

    fn copy(
        &self,
        source: &Slot<U>,
        destination: &Slot<U>,
        found: Move,
        viewer: &Viewer<U>,
    ) -> Result<(), Sense> {
        // Who preempts this initiator waits for what is inside, and what comes later finds that it was preempted.
        let _inside = destination.state.exclusion.enter_scoped(self.job.stripe);
        self.check_allowed(source, destination, viewer)?;
        let flush = || match self.by_cache() {
            Durability::Cached => Ok(()),
            Durability::BeforeStatus => destination.unit.flush().map_err(|error| Trouble("flush", error)),
        };
        let copied = self.transfer(&source.unit, destination, found).and_then(|()| flush());
        copied.map_err(|Trouble(operation, error)| {
            self.failed(operation, &error);
            Sense::THIRD_PARTY_DEVICE_FAILURE
        })
    }

    /// Carries one move out: whole blocks of the store in the middle are shared, if both ends lie alike in them. Whoever calls
    /// is counted in at the destination.
    pub(crate) fn transfer(
        &self,
        source: &Arc<U>,
        destination: &Slot<U>,
        found: Move,
    ) -> Result<(), Trouble> {
        let (from, to, len) = (found.from.offset(), found.to.offset(), found.to.bytes());
        let destination = &destination.unit;
        let same = Arc::ptr_eq(source, destination);
        let overlaps = same && from < to + len && to < from + len;
        let block = u64::from(destination.allocation_bytes());
        if overlaps || from % block != to % block {
            return copy_bytes(&**source, &**destination, (from, to, len), overlaps);
        }
        let head = (block - to % block).min(len) % block;
        let body = (len - head) / block * block;
        copy_bytes(&**source, &**destination, (from, to, head), false)?;
        share(&**source, &**destination, (from + head, to + head, body))?;
        let done = head + body;
        copy_bytes(&**source, &**destination, (from + done, to + done, len - done), false)
    }
}

/// What a unit failed at, and why.
pub(crate) struct Trouble(pub &'static str, pub MediumError);

fn share<U: LogicalUnit>(
    source: &U,
    destination: &U,
    (from, to, len): (u64, u64, u64),
) -> Result<(), Trouble> {
    if len == 0 {
        return Ok(());
    }
    match destination.share(source, from, to, len) {
        Ok(true) => Ok(()),
        Ok(false) => copy_bytes(source, destination, (from, to, len), false),
        Err(error) => Err(Trouble("share", error)),
    }
}

/// In steps; backwards where a later step would read what an earlier one has overwritten.
fn copy_bytes<U: LogicalUnit>(
    source: &U,
    destination: &U,
    (from, to, len): (u64, u64, u64),
    overlaps: bool,
) -> Result<(), Trouble> {
    let steps = len.div_ceil(CHUNK as u64);
    let backwards = overlaps && to > from;
    for step in 0..steps {
        let step = if backwards { steps - 1 - step } else { step };
        let done = step * CHUNK as u64;
        let part = (len - done).min(CHUNK as u64) as usize;
        with_scratch(part, |bytes| {
            source.read(from + done, bytes).map_err(|error| Trouble("read", error))?;
            destination.write(to + done, bytes).map_err(|error| Trouble("write", error))
        })?;
    }
    Ok(())
}

/// A copy's entry in the list that results are asked from, if it has one.
pub(crate) struct Entry<'a> {
    pub id: Option<ListId>,
    pub copies: &'a Mutex<Operations>,
    pub given_up: &'a AtomicBool,
}

impl Entry<'_> {
    pub fn begin(&self, service: Service, keep: Keep) -> Result<(), Sense> {
        self.id.map_or(Ok(()), |id| lock(self.copies).begin(id, service, keep))
    }

    /// Whether it should go on.
    pub fn advance(&self, progress: Progress) -> bool {
        let goes_on = self.id.is_none_or(|id| lock(self.copies).advance(id, progress));
        goes_on && !self.given_up.load(Relaxed)
    }

    /// It has ended: false if it was aborted.
    pub fn end(&self, how: &Result<bool, Sense>, token: Option<Token>) {
        let end = match how {
            Ok(true) => End::Done,
            Ok(false) => End::Aborted,
            Err(sense) => End::Failed(*sense),
        };
        if let Some(id) = self.id {
            lock(self.copies).end(id, end, token);
        }
    }
}
