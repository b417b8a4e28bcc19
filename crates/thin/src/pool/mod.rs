//! The pool: devices, and what is being changed about them since the last commit.
//!
//! Picture: [`Pool`] is one open transaction on top of a committed state. Changes happen in memory at once; a driver
//! takes them to the disk with [`Pool::begin_commit`] and says so with [`Pool::commit_durable`]. Between the two the
//! next transaction already collects. A write is asked for ([`Pool::plan_write`]), carried out by the driver, and
//! entered ([`Pool::finish_write`]).
//!
//! What always holds: rules R1 to R6 of the dm-thin format section 8.1; whether a block may be written in place is
//! decided by the kernel's rule alone (section 9.4), which the committed state cannot contradict; a change that fails
//! half way closes the pool for changes for good ([`ThinError::Broken`]). Order of I/O and locking are the driver's.

mod commit;
mod devices;
mod open;
mod read;
mod replay;
mod write;

pub use commit::{Block, Commit, LogUse};
pub use open::{Format, format};
pub use read::{Mapped, Run};
pub use write::Plan;

use crate::{
    ThinError, ThinId,
    limits::META_RESERVE_MAX,
    meta::{Meta, MetaRead},
    superblock::Superblock,
    values::Details,
};
use std::collections::BTreeMap;

/// A device and its mapping tree.
#[derive(Debug)]
struct Device {
    details: Details,
    root: u64,
    /// Whether the details tree lags behind `details`.
    details_changed: bool,
    /// The last transaction in which anything of it changed.
    changed_in: u64,
    /// Where its next block would continue the last one.
    next_block: Option<u64>,
}

/// A thin pool with one open transaction.
#[derive(Debug)]
pub struct Pool<R> {
    superblock: Superblock,
    meta: Meta<R>,
    devices: BTreeMap<ThinId, Device>,
    /// Number of the open transaction, counted from opening.
    transaction: u64,
    changed: bool,
    in_flight: Option<commit::InFlight>,
    broken: bool,
}

/// How much of a map is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Blocks managed.
    pub total: u64,
    /// Blocks with a count above zero.
    pub used: u64,
    /// Blocks that can be handed out now.
    pub free: u64,
}

/// Whether an operation gives space back: those may dip into half of the metadata reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    ToGrow(u64),
    ToFree(u64),
}

impl<R: MetaRead> Pool<R> {
    /// Sectors, bytes and the like of block 0, as the open transaction has it.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Bytes of a data block.
    pub fn block_bytes(&self) -> u64 {
        u64::from(self.superblock.data_block_sectors) * crate::limits::SECTOR
    }

    /// Number of the open transaction. It grows by one with each commit that begins.
    pub fn transaction(&self) -> u64 {
        self.transaction
    }

    /// Whether the open transaction holds a change.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Data blocks.
    pub fn data_fill(&self) -> Fill {
        let map = &self.meta.data;
        Fill { total: map.nr_blocks(), used: map.nr_allocated(), free: map.nr_free() }
    }

    /// Metadata blocks; the commit's reserve counts as used.
    pub fn metadata_fill(&self) -> Fill {
        let map = &self.meta.blocks;
        let used = (map.nr_allocated() + self.reserve()).min(map.nr_blocks());
        Fill { total: map.nr_blocks(), used, free: map.nr_free().saturating_sub(self.reserve()) }
    }

    /// Whether a commit would free something that was given up.
    pub fn has_freed(&self) -> bool {
        self.meta.data.has_freed() || self.meta.blocks.has_freed()
    }

    /// Blocks kept back so that a commit can always be written (section 8.5).
    fn reserve(&self) -> u64 {
        META_RESERVE_MAX.min(self.meta.blocks.nr_blocks() / 10)
    }

    /// Refuses before anything is changed if the commit of it could run out of blocks.
    fn need(&self, need: Need) -> Result<(), ThinError> {
        let map = &self.meta.blocks;
        let (blocks, reserve) = match need {
            Need::ToGrow(blocks) => (blocks, self.reserve()),
            Need::ToFree(blocks) => (blocks, self.reserve() / 2),
        };
        let needed = blocks + reserve + self.commit_cost();
        match map.nr_free() >= needed {
            true => Ok(()),
            false => Err(ThinError::MetadataFull { free: map.nr_free(), total: map.nr_blocks(), needed }),
        }
    }

    fn device(&self, id: ThinId) -> Result<&Device, ThinError> {
        self.devices.get(&id).ok_or(ThinError::Unknown(id))
    }

    fn device_mut(&mut self, id: ThinId) -> Result<&mut Device, ThinError> {
        self.devices.get_mut(&id).ok_or(ThinError::Unknown(id))
    }

    /// Refuses changes where an earlier one failed half way.
    fn check_changeable(&self) -> Result<(), ThinError> {
        if self.broken { Err(ThinError::Broken) } else { Ok(()) }
    }

    /// Runs a change that was checked beforehand. If it fails nonetheless, the transaction is half changed and must
    /// never be committed.
    fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, ThinError>) -> Result<T, ThinError> {
        self.check_changeable()?;
        self.changed = true;
        let result = change(self);
        self.broken = result.is_err();
        result
    }
}
