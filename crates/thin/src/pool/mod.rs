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

mod changes;
mod commit;
mod devices;
mod discard;
mod doomed;
mod held;
mod load;
mod need;
mod open;
mod owner;
mod read;
mod replay;
mod share;
#[cfg(test)]
mod tests;
mod write;

pub use changes::{Allocated, Changed, Difference, Source, Step};
pub use commit::{Block, Commit, LogUse};
pub use doomed::DeleteStep;
pub use open::{Format, format};
pub use owner::Owner;
pub use read::{Mapped, Run};
pub use write::Plan;

use crate::{
    ThinError, ThinId,
    meta::{Meta, MetaRead},
    page::Page,
    superblock::Superblock,
    values::Details,
};
use need::Need;
use std::collections::{BTreeMap, BTreeSet};

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
    /// Whether it is being deleted; it does not exist for the outside.
    doomed: bool,
}

impl Device {
    /// As it stands on disk.
    fn new(details: Details, root: u64) -> Self {
        Device { details, root, details_changed: false, changed_in: 0, next_block: None, doomed: false }
    }
}

/// A thin pool with one open transaction.
#[derive(Debug)]
pub struct Pool<R> {
    superblock: Superblock,
    meta: Meta<R>,
    owner: Owner,
    /// Generation of a foreign pool.
    session: u64,
    devices: BTreeMap<ThinId, Device>,
    /// Those that are being deleted, without those that cannot be because they are damaged.
    doomed: BTreeSet<ThinId>,
    /// The metadata snapshot that the next commit writes, and its place.
    new_held: Option<(u64, Box<Page>)>,
    /// Number of the open transaction, counted from opening.
    transaction: u64,
    changed: bool,
    /// Who is about to close it has begun to write counts ([`Pool::write_counts`]).
    commit_near: bool,
    in_flight: Option<commit::InFlight>,
    broken: bool,
    /// Opened although damaged ([`Pool::open_damaged`]).
    read_only: bool,
    /// The log is being entered: changes may use the metadata reserve.
    replaying: bool,
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

impl<R: MetaRead> Pool<R> {
    /// Sectors, bytes and the like of block 0, as the open transaction has it.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Sets how many metadata pages are kept in memory, about; those that the open transaction needs come on top.
    pub fn set_cache_pages(&mut self, pages: usize) {
        self.meta.cache_pages = pages;
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

    /// Cuts that the format has times for.
    pub fn cuts_left(&self) -> u32 {
        crate::limits::TIME_MAX.saturating_sub(self.superblock.time)
    }

    /// Data blocks.
    pub fn data_fill(&self) -> Fill {
        let map = &self.meta.data;
        Fill { total: map.nr_blocks(), used: map.nr_allocated(), free: map.nr_unused() }
    }

    /// Metadata blocks; the commit's reserve counts as used.
    pub fn metadata_fill(&self) -> Fill {
        let map = &self.meta.blocks;
        let used = (map.nr_allocated() + self.reserve()).min(map.nr_blocks());
        Fill {
            total: map.nr_blocks(),
            used,
            free: map.nr_free().saturating_sub(self.reserve() + map.kept_for_commit()),
        }
    }

    /// Whether a commit would free something that was given up.
    pub fn has_freed(&self) -> bool {
        self.meta.data.has_freed() || self.meta.blocks.has_freed()
    }

    /// A device that exists for the outside.
    fn device(&self, id: ThinId) -> Result<&Device, ThinError> {
        self.any_device(id)
            .and_then(|device| if device.doomed { Err(ThinError::Unknown(id)) } else { Ok(device) })
    }

    fn device_mut(&mut self, id: ThinId) -> Result<&mut Device, ThinError> {
        self.device(id)?;
        self.any_device_mut(id)
    }

    /// A device, also one that is being deleted.
    fn any_device(&self, id: ThinId) -> Result<&Device, ThinError> {
        self.devices.get(&id).ok_or(ThinError::Unknown(id))
    }

    fn any_device_mut(&mut self, id: ThinId) -> Result<&mut Device, ThinError> {
        self.devices.get_mut(&id).ok_or(ThinError::Unknown(id))
    }

    /// Refuses changes of a damaged pool, and where an earlier one failed half way.
    fn check_changeable(&self) -> Result<(), ThinError> {
        match (self.read_only, self.broken) {
            (true, _) => Err(ThinError::ReadOnly),
            (_, true) => Err(ThinError::Broken),
            _ => Ok(()),
        }
    }

    /// Runs a change that was checked beforehand. If it fails nonetheless, the transaction is half changed and must
    /// never be committed.
    fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, ThinError>) -> Result<T, ThinError> {
        self.check_changeable()?;
        self.changed = true;
        let counts = self.overflow_changes();
        let result = change(self).and_then(|done| self.write_counts_in_passing(counts).map(|()| done));
        self.broken = result.is_err();
        result
    }
}
