//! EXTENDED COPY on a worker: blocks of one unit to another, or within one, shared where that is possible and copied where it
//! is not (SPC-4 section 5.17).
//!
//! What always holds: a copy touches only units that its initiator sees, and that reservations let it touch; a range
//! that overlaps its own source gets what the source held before.

use crate::limits::CHUNK;
use crate::slot::{Slot, lock};
use crate::slow::{Run, Viewer, with_scratch};
use crate::unit::LogicalUnit;
use std::sync::Arc;
use umbra_scsi::copy::{self, End, Form, Keep, ListId, Move, Operations, Place, Progress, Request, Service};
use umbra_scsi::{Access, Sense};

impl<U: LogicalUnit> Run<'_, U> {
    pub(crate) fn extended_copy(&self, form: Form, list: &[u8]) -> Result<(), Sense> {
        let request = copy::parse(form, list)?;
        let viewer = self.viewer()?;
        let service = match form {
            Form::Lid1 => Service::ExtendedCopyLid1,
            Form::Lid4 => Service::ExtendedCopyLid4,
        };
        let book = Entry { id: request.id, copies: &viewer.copies };
        book.begin(service, request.keep)?;
        let mut progress = Progress::default();
        let result = self.copy_segments(&request, viewer, &mut progress, &book);
        book.end(match result {
            Ok(true) => End::Done,
            Ok(false) => End::Aborted,
            Err(sense) => End::Failed(sense),
        });
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
            self.check_allowed(&source, &destination, viewer).map_err(|sense| sense.in_segment(index))?;
            let moved = self.copy(&source, &destination, found);
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

    /// Carries one move out: whole blocks of the store in the middle are shared, if both ends lie alike in them.
    pub(crate) fn copy(&self, source: &Slot<U>, destination: &Slot<U>, found: Move) -> Result<(), Sense> {
        let (from, to, len) = (found.from.offset(), found.to.offset(), found.to.bytes());
        let inside = destination.state.exclusion.enter_scoped(self.job.stripe);
        let same = Arc::ptr_eq(&source.unit, &destination.unit);
        let overlaps = same && from < to + len && to < from + len;
        let block = u64::from(destination.unit.allocation_bytes());
        if overlaps || from % block != to % block {
            self.copy_bytes(source, destination, (from, to, len), overlaps)?;
        } else {
            let head = (block - to % block).min(len) % block;
            let body = (len - head) / block * block;
            self.copy_bytes(source, destination, (from, to, head), false)?;
            self.share(source, destination, (from + head, to + head, body))?;
            let done = head + body;
            self.copy_bytes(source, destination, (from + done, to + done, len - done), false)?;
        }
        drop(inside);
        let flushed = match self.by_cache() {
            umbra_scsi::Durability::Cached => Ok(()),
            umbra_scsi::Durability::BeforeStatus => destination.unit.flush(),
        };
        flushed.map_err(|error| self.copy_failed("flush", &error))
    }

    fn share(
        &self,
        source: &Slot<U>,
        destination: &Slot<U>,
        (from, to, len): (u64, u64, u64),
    ) -> Result<(), Sense> {
        if len == 0 {
            return Ok(());
        }
        match destination.unit.share(&source.unit, from, to, len) {
            Ok(true) => Ok(()),
            Ok(false) => self.copy_bytes(source, destination, (from, to, len), false),
            Err(error) => Err(self.copy_failed("share", &error)),
        }
    }

    /// In steps; backwards where a later step would read what an earlier one has overwritten.
    fn copy_bytes(
        &self,
        source: &Slot<U>,
        destination: &Slot<U>,
        (from, to, len): (u64, u64, u64),
        overlaps: bool,
    ) -> Result<(), Sense> {
        let steps = len.div_ceil(CHUNK as u64);
        let backwards = overlaps && to > from;
        for step in 0..steps {
            let step = if backwards { steps - 1 - step } else { step };
            let done = step * CHUNK as u64;
            let part = (len - done).min(CHUNK as u64) as usize;
            with_scratch(part, |bytes| {
                source.unit.read(from + done, bytes).map_err(|error| self.copy_failed("read", &error))?;
                let written = destination.unit.write(to + done, bytes);
                written.map_err(|error| self.copy_failed("write", &error))
            })?;
        }
        Ok(())
    }

    fn copy_failed(&self, operation: &'static str, error: &crate::unit::MediumError) -> Sense {
        self.failed(operation, error);
        Sense::THIRD_PARTY_DEVICE_FAILURE
    }
}

/// A copy's entry in the list that results are asked from, if it has one.
struct Entry<'a> {
    id: Option<ListId>,
    copies: &'a std::sync::Mutex<Operations>,
}

impl Entry<'_> {
    fn begin(&self, service: Service, keep: Keep) -> Result<(), Sense> {
        self.id.map_or(Ok(()), |id| lock(self.copies).begin(id, service, keep))
    }

    fn advance(&self, progress: Progress) -> bool {
        self.id.is_none_or(|id| lock(self.copies).advance(id, progress))
    }

    fn end(&self, how: End) {
        if let Some(id) = self.id {
            lock(self.copies).end(id, how, None);
        }
    }
}
