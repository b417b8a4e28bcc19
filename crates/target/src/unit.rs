//! The storage behind a LUN, as the target sees it.

use std::{fmt, sync::Arc};
use umbra_scsi::{Access, LunIdentity};

/// A disk as an array of bytes. Offsets and lengths are multiples of 512 inside [`LogicalUnit::size_bytes`]. Calls come
/// from many threads at once and may block.
pub trait LogicalUnit: Send + Sync + 'static {
    fn size_bytes(&self) -> u64;
    /// What was never written, or was released, reads as zeroes.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), MediumError>;
    /// On return the write survives the death of this process.
    fn write(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError>;
    /// On return everything written before survives the loss of the machine.
    fn flush(&self) -> Result<(), MediumError>;
    /// Releases: the range reads as zeroes afterwards.
    fn unmap(&self, offset: u64, len: u64) -> Result<(), MediumError>;
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), MediumError>;
    /// Which parts of the range have space allocated: runs in order that cover it.
    fn mapped(&self, offset: u64, len: u64) -> Result<Vec<MappedRun>, MediumError>;
    /// Bytes that are allocated and released together (OPTIMAL UNMAP GRANULARITY).
    fn allocation_bytes(&self) -> u32 {
        4096
    }
}

/// A range that is allocated throughout, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedRun {
    pub offset: u64,
    pub len: u64,
    pub mapped: bool,
}

/// Why a unit did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// No space for a new block.
    #[error("no space")]
    NoSpace,
    /// The store takes no writes (after damage or a failed flush).
    #[error("the store is read-only")]
    ReadOnly,
    /// The range is not inside the unit.
    #[error("out of range")]
    OutOfRange,
    #[error("input or output failed")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One LUN of an initiator's view.
#[derive(Clone)]
pub struct LunEntry {
    pub number: u16,
    pub unit: Arc<dyn LogicalUnit>,
    pub identity: LunIdentity,
    pub access: Access,
}

impl fmt::Debug for LunEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LunEntry")
            .field("number", &self.number)
            .field("identity", &self.identity)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
