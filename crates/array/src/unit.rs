//! A LUN's bytes, between the pool's word for them and the target's.

use std::{
    fmt,
    fs::File,
    sync::{Arc, Weak},
};
use umbra_base::{Error, ErrorCode, Extent};
use umbra_store::{LunStore, Share, ThinId, Ticket, Volume};
use umbra_target::{LogicalUnit, MappedRun, MediumError, Space};

/// Who makes points in time of devices, and takes them away.
pub trait Instants: Send + Sync + 'static {
    /// A device of this size, as it is now.
    fn point_in_time(&self, origin: ThinId, size_bytes: u64) -> umbra_base::Result<Arc<Unit>>;
    /// Nobody needs this one any more. Waits for nothing.
    fn let_go(&self, copy: ThinId);
}

/// A thin device as a logical unit.
pub struct Unit {
    store: Arc<dyn LunStore>,
    id: ThinId,
    volume: Arc<dyn Volume>,
    file: Option<Arc<File>>,
    block_bytes: u32,
    instants: Weak<dyn Instants>,
    /// Of a point in time, whose device goes with it.
    hidden: Option<LetGo>,
}

/// Lets go of a hidden device when dropped.
struct LetGo(ThinId, Weak<dyn Instants>);

impl Drop for LetGo {
    fn drop(&mut self) {
        if let Some(instants) = self.1.upgrade() {
            instants.let_go(self.0);
        }
    }
}

/// What WRITE ATOMIC takes: seventeen blocks of the smallest size, of the 42 that the store flips at once.
const ATOMIC_BYTES: u32 = 1 << 20;

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit").field("size_bytes", &self.volume.size_bytes()).finish_non_exhaustive()
    }
}

impl Unit {
    /// The thin device of a LUN of `size_bytes` as a unit.
    pub fn open(
        store: &Arc<dyn LunStore>,
        id: ThinId,
        size_bytes: u64,
        instants: Weak<dyn Instants>,
    ) -> umbra_base::Result<Self> {
        let (volume, file) = (store.open(id, size_bytes)?, store.data_file());
        let block_bytes = u32::try_from(store.usage().block_bytes).unwrap_or(u32::MAX);
        Ok(Unit { store: store.clone(), id, volume, file, block_bytes, instants, hidden: None })
    }

    /// The same of a device that goes with the unit.
    pub fn hidden(
        store: &Arc<dyn LunStore>,
        id: ThinId,
        size_bytes: u64,
        instants: Weak<dyn Instants>,
    ) -> umbra_base::Result<Self> {
        let unit = Unit::open(store, id, size_bytes, instants.clone())?;
        Ok(Unit { hidden: Some(LetGo(id, instants)), ..unit })
    }

    /// Its device.
    pub fn id(&self) -> ThinId {
        self.id
    }
}

impl LogicalUnit for Unit {
    type Ticket = Ticket;

    fn size_bytes(&self) -> u64 {
        self.volume.size_bytes()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), MediumError> {
        self.volume.read(offset, buf).map_err(medium)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        self.volume.write(offset, buf).map_err(medium)
    }

    fn write_atomic(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        self.volume.write_atomic(offset, buf).map_err(medium)
    }

    fn atomic_bytes(&self) -> u32 {
        ATOMIC_BYTES
    }

    fn share(&self, from: &Self, from_offset: u64, to_offset: u64, len: u64) -> Result<bool, MediumError> {
        use ErrorCode as C;
        let wish = Share { from: from.id, from_offset, to: self.id, to_offset, len };
        match self.store.share(wish) {
            Ok(()) => Ok(true),
            // A device is held, the metadata has no room, something is promised to others: the bytes may still be copied.
            Err(error)
                if matches!(
                    error.code(),
                    C::HoldWritesTimeout | C::InsufficientStorage | C::LimitReached
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(medium(error)),
        }
    }

    fn has_points_in_time(&self) -> bool {
        self.hidden.is_none()
    }

    fn point_in_time(&self) -> Result<Arc<Self>, MediumError> {
        let stopping = || Error::new(ErrorCode::BadState, "the array stops");
        let instants = self.instants.upgrade().ok_or_else(stopping).map_err(medium)?;
        instants.point_in_time(self.id, self.size_bytes()).map_err(medium)
    }

    fn space(&self) -> Option<Space> {
        let usage = self.store.usage();
        let blocks = usage.data_total.saturating_sub(usage.data_used + usage.data_owed);
        let mapped = self.store.mapped_blocks(self.id).ok()?;
        Some(Space { available: blocks * usage.block_bytes, used: mapped * usage.block_bytes })
    }

    fn flush(&self) -> Result<(), MediumError> {
        self.volume.flush().map_err(medium)
    }

    fn unmap(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        self.volume.discard(offset, len).map_err(medium)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        self.volume.write_zeroes(offset, len).map_err(medium)
    }

    fn mapped(&self, offset: u64, len: u64) -> Result<Vec<MappedRun>, MediumError> {
        let runs = self.volume.mapped(offset, len).map_err(medium)?;
        let run =
            |run: umbra_store::MappedRun| MappedRun { offset: run.offset, len: run.len, mapped: run.mapped };
        Ok(runs.into_iter().map(run).collect())
    }

    fn allocation_bytes(&self) -> u32 {
        self.block_bytes
    }

    fn data_file(&self) -> Option<Arc<File>> {
        self.file.clone()
    }

    fn direct_read(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Ticket> {
        self.volume.direct_read(offset, len, extents)
    }

    fn direct_write(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Ticket> {
        self.volume.direct_write(offset, len, extents)
    }

    fn finish(&self, ticket: Ticket, done: bool) -> Result<(), MediumError> {
        self.volume.finish(ticket, done).map_err(medium)
    }
}

/// The pool's refusal as SCSI tells it.
fn medium(error: Error) -> MediumError {
    match error.code() {
        // A LUN at its quota is as full as one in a full pool.
        ErrorCode::InsufficientStorage | ErrorCode::LimitReached => MediumError::NoSpace,
        ErrorCode::BadState => MediumError::ReadOnly,
        ErrorCode::InvalidArgument => MediumError::OutOfRange,
        _ => MediumError::Io(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_and_a_lun_at_its_quota_are_told_as_no_space_and_nothing_else_is() {
        for code in ErrorCode::ALL {
            let no_space = matches!(code, ErrorCode::InsufficientStorage | ErrorCode::LimitReached);
            let told = medium(Error::new(*code, "write"));
            assert_eq!(matches!(told, MediumError::NoSpace), no_space, "{code}");
        }
    }
}
