//! The storage behind a LUN, as the target sees it.

use std::{fmt, fs::File, sync::Arc};
use umbra_base::Extent;
use umbra_scsi::{Access, LunIdentity};

/// A disk as an array of bytes. Offsets and lengths are multiples of 512 inside [`LogicalUnit::size_bytes`].
///
/// It has two doors. Calls that may block ([`LogicalUnit::read`], ...) come from workers, many at once. The direct door never
/// waits: it names the bytes of a file that a shard is to read or write by itself; whatever needs more is refused there.
pub trait LogicalUnit: Send + Sync + 'static {
    /// What stands for I/O that was planned at the direct door, until it is done.
    type Ticket: Send + 'static;

    /// Its size, which never changes: an extended disk is another unit.
    fn size_bytes(&self) -> u64;
    /// What was never written, or was released, reads as zeroes.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), MediumError>;
    /// On return the write survives the death of this process.
    fn write(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError>;
    /// The same, but all or nothing, whatever is lost.
    fn write_atomic(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError>;
    /// On return everything written before survives the loss of the machine.
    fn flush(&self) -> Result<(), MediumError>;
    /// Releases: the range reads as zeroes afterwards.
    fn unmap(&self, offset: u64, len: u64) -> Result<(), MediumError>;
    /// The range reads as zeroes afterwards.
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), MediumError>;
    /// Which parts of the range have space allocated: runs in order that cover it.
    fn mapped(&self, offset: u64, len: u64) -> Result<Vec<MappedRun>, MediumError>;
    /// Bytes of a physical block: smaller or misaligned writes cost more. A power of two, 512 at least.
    fn physical_bytes(&self) -> u32 {
        4096
    }
    /// Bytes that are allocated and released together (OPTIMAL UNMAP GRANULARITY).
    fn allocation_bytes(&self) -> u32 {
        4096
    }

    /// Longest write that [`LogicalUnit::write_atomic`] takes, anywhere.
    fn atomic_bytes(&self) -> u32 {
        0
    }
    /// Gives this unit the very blocks of a range of another (or of its own), without a copy; both ranges are whole
    /// multiples of [`LogicalUnit::allocation_bytes`]. False: it has to be copied. Durable on return.
    fn share(&self, from: &Self, from_offset: u64, to_offset: u64, len: u64) -> Result<bool, MediumError> {
        let _has_to_be_copied = (from, from_offset, to_offset, len);
        Ok(false)
    }
    /// Whether [`LogicalUnit::point_in_time`] can be asked for: then ROD tokens are offered.
    fn has_points_in_time(&self) -> bool {
        false
    }
    /// The unit as it is at one instant of this call, whatever is written to it later, at no cost but metadata;
    /// everything acknowledged before the call is in it. It is only read and shared from, and ends when it is dropped,
    /// which waits for nothing. It need not outlive the process.
    fn point_in_time(&self) -> Result<Arc<Self>, MediumError> {
        Err(MediumError::Io("the unit has no points in time".into()))
    }
    /// Space for blocks, as it is now.
    fn space(&self) -> Option<Space> {
        None
    }

    /// The file that the extents of the direct door lie in; `None`: there is no direct door.
    fn data_file(&self) -> Option<Arc<File>> {
        None
    }
    /// Plans a read: appends its extents in order. `None`, with nothing appended: [`LogicalUnit::read`] it.
    fn direct_read(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Self::Ticket> {
        let _nothing_is_planned = (offset, len, extents);
        None
    }
    /// Plans a write, every extent of which is in the file. `None`, with nothing appended: [`LogicalUnit::write`] it.
    fn direct_write(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Self::Ticket> {
        let _nothing_is_planned = (offset, len, extents);
        None
    }
    /// Ends planned I/O, all of which was carried out if `done`. A write is acknowledged only after this has returned Ok;
    /// one that fails may be tried at the other door.
    fn finish(&self, ticket: Self::Ticket, done: bool) -> Result<(), MediumError>;
}

/// Space behind a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that it could still allocate, if nobody else did.
    pub available: u64,
    /// Bytes that it has allocated.
    pub used: u64,
}

/// A range that is allocated throughout, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedRun {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Whether it is allocated.
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
    /// Anything else.
    #[error("input or output failed")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One LUN of an initiator's view.
pub struct LunEntry<U> {
    /// Its number.
    pub number: u16,
    /// The disk.
    pub unit: Arc<U>,
    /// What names the disk, the same for every initiator.
    pub identity: LunIdentity,
    /// Whether this initiator may change it.
    pub access: Access,
}

impl<U> Clone for LunEntry<U> {
    fn clone(&self) -> Self {
        let LunEntry { number, unit, identity, access } = self;
        LunEntry { number: *number, unit: unit.clone(), identity: identity.clone(), access: *access }
    }
}

impl<U> fmt::Debug for LunEntry<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LunEntry")
            .field("number", &self.number)
            .field("identity", &self.identity)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
