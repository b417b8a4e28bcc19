//! What the array sees of storage: devices by id, and each as an array of bytes.
//!
//! Picture: a [`LunStore`] owns thin devices; [`Volume`] is one of them, opened. Names, sizes and owners are the
//! array's catalogue's. A volume has two doors. Calls that may wait ([`Volume::read`], [`Volume::write`], ...) do
//! everything. The direct door ([`Volume::direct_read`], [`Volume::direct_write`]) never waits: it plans I/O on mapped,
//! unshared blocks, and writes of whole blocks, as extents of the store's data file, for a caller with a ring of its own, and refuses
//! whatever needs more; the caller then takes the other door on a thread that may wait (docs/decisions/004). What always holds: an acknowledged write survives the death of the process, a flushed one
//! the loss of the machine (A2); a cut is one instant for all of its pairs (S1, A3).

use crate::{Allowance, Extend, Hold, SpacePolicy};
use std::{sync::Arc, time::Duration};
use umbra_base::{Extent, Result};
use umbra_thin::{Snapshot, ThinId};

/// A store of thin devices.
pub trait LunStore: Send + Sync + 'static {
    /// Makes an empty device. Durable on return. An id in use is `object_already_exists`.
    fn create(&self, id: ThinId) -> Result<()>;

    /// Opens a device as `size_bytes` bytes. All opens of one id share what is in flight and what is held.
    fn open(&self, id: ThinId, size_bytes: u64) -> Result<Arc<dyn Volume>>;

    /// Holds writes and discards to these devices: waits until those in flight are done; later ones queue. Ends when
    /// the [`Hold`] is dropped, or by itself after `lease` (at most 10 s): then [`LunStore::cut`] on it fails with
    /// `hold_writes_timeout`.
    fn hold(&self, ids: &[ThinId], lease: Duration) -> Result<Hold>;

    /// Under a hold: cuts all pairs at one instant, in memory, in one metadata transaction (A3). The cost grows with
    /// the number of pairs alone. Each origin is a held device, or the copy of an earlier pair.
    fn cut(&self, hold: &Hold, pairs: &[Snapshot]) -> Result<Cut>;

    /// Blocks until the transaction that has this cut is durable.
    fn wait_durable(&self, cut: &Cut) -> Result<()>;

    /// Deletes a device. Durable on return. An unknown id is no error: there is nothing to do.
    fn delete(&self, id: ThinId) -> Result<()>;

    /// Gives a device the very blocks that a range of another (or of its own) has, without a copy: both share them from now
    /// on, each until it writes there. What is unmapped there is unmapped here. Offsets and length are whole blocks.
    /// Durable on return; a loss before that may leave a part of a range of more than 1 GiB shared.
    fn share(&self, wish: Share) -> Result<()>;

    /// Blocks that differ between two devices from `from` on, in ascending order: at least one, or the end, at a cost that
    /// grows with the differences alone. True only of devices that nobody writes meanwhile, such as pristine copies.
    fn changed(&self, old: ThinId, new: ThinId, from: u64) -> Result<Difference>;

    /// Blocks that a device maps from `from` on, in ascending order, in the same way.
    fn allocated(&self, id: ThinId, from: u64) -> Result<Difference>;

    /// Says what a device may count on and may not exceed (A7); holds until the store is closed. `insufficient_storage`
    /// if the pool cannot promise that much.
    fn allow(&self, id: ThinId, allowance: Allowance) -> Result<()>;

    /// Who decides what goes when space runs out. Without one nothing goes.
    fn set_policy(&self, policy: Arc<dyn SpacePolicy>);

    /// Grows the pool's files while it serves. Durable on return.
    fn extend(&self, to: Extend) -> Result<()>;

    /// Makes everything acknowledged so far durable.
    fn flush(&self) -> Result<()>;

    /// Every device of the store, in ascending order.
    fn device_ids(&self) -> Result<Vec<ThinId>>;

    /// How full the store is.
    fn usage(&self) -> Usage;

    /// Why the store takes no changes, if it does not: damage, or a failed flush (A6).
    fn trouble(&self) -> Option<String>;

    /// What could not be read of the metadata since the opening: which tree, which keys, whose, which block and why; 64 such
    /// texts at most, and one that says how many more. It stops what needs it; the rest of the store works (decision 008).
    fn damage(&self) -> Vec<String>;

    /// How many blocks the device maps, shared ones included.
    fn mapped_blocks(&self, id: ThinId) -> Result<u64>;

    /// How many cuts the store still takes: the pool's format has an end of them.
    fn cuts_left(&self) -> u32;

    /// The file on which the extents of the direct door lie; `None`: there is no direct door.
    fn data_file(&self) -> Option<Arc<std::fs::File>>;

    /// Writes that wait for room fail now, and later ones do not wait: before a stop, which waits for all writes.
    fn end_waiting(&self);

    /// Clean stop: commits, empties the log (A4). Every later call but this one is refused with `bad_state`.
    fn close(&self) -> Result<()>;
}

/// A thin device as an array of bytes. Offsets and lengths are multiples of 512 and lie inside the size; anything
/// else is `invalid_argument`.
pub trait Volume: Send + Sync {
    /// The size that it was opened with.
    fn size_bytes(&self) -> u64;

    /// Fills `buf`; ranges never written read as zeroes.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes `buf`. On return it survives the death of the process (A2). A full pool is `insufficient_storage`.
    fn write(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// Writes `buf` as a whole or, whatever is lost (the process, the machine), not at all: into fresh blocks. At most
    /// 42 data blocks; more is `invalid_argument`. Waits for direct I/O under way, so it is not called between a plan and
    /// its [`Volume::finish`] on the same thread.
    fn write_atomic(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// Makes every write of this device that was acknowledged before the call survive the loss of the machine (A2).
    fn flush(&self) -> Result<()>;

    /// Gives up a range: afterwards it reads as zeroes. Whole blocks are unmapped, partial edges zeroed in place.
    fn discard(&self, offset: u64, len: u64) -> Result<()>;

    /// Makes a range read as zeroes; blocks that lie wholly in it cost no space afterwards.
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()>;

    /// What is mapped in the range, as runs in order that cover it without gaps (GET LBA STATUS).
    fn mapped(&self, offset: u64, len: u64) -> Result<Vec<MappedRun>>;

    /// Plans a read that the caller carries out on [`LunStore::data_file`]: appends its extents, in order. Takes no
    /// lock, allocates nothing (beyond `extents`), reads no metadata. `None`, with nothing appended: call
    /// [`Volume::read`]. The ticket goes back through [`Volume::finish`] when the I/O is done.
    fn direct_read(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Ticket>;

    /// Plans a write, in place or of whole blocks: as [`Volume::direct_read`]; every extent is in the file. Once all of it
    /// is written and the ticket is back, the write may be acknowledged (A2: the page cache outlives the process). While the ticket is
    /// out no cut can happen. Whole blocks that get new places take the engine's lock if it is free, and allocate.
    fn direct_write(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Ticket>;

    /// Ends what a ticket was for; `done` says whether all of its I/O was carried out. Each ticket comes back once, to the
    /// volume that gave it. A write that was not done, or that fails here, may have changed anything in its range; the
    /// other door may be asked to do it again, which waits for room or says why it fails. Never waits, except that blocks with
    /// new places need the engine's lock and an append to the log.
    fn finish(&self, ticket: Ticket, done: bool) -> Result<()>;
}

/// I/O under way that the store was not asked to carry out itself.
#[must_use = "a ticket that does not come back stops cuts and the reuse of space"]
#[derive(Debug)]
pub struct Ticket {
    pub(crate) entry: crate::epoch::Entry,
    /// Of a write: where it stands in its device's gate.
    pub(crate) gate: Option<crate::stripes::Stripe>,
    /// Of a write to new places: these.
    pub(crate) whole: Option<Box<crate::volume::Whole>>,
}

/// What [`LunStore::share`] is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Whose blocks.
    pub from: ThinId,
    /// First byte there.
    pub from_offset: u64,
    /// Who gets them.
    pub to: ThinId,
    /// First byte there.
    pub to_offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A part of the blocks in which two devices differ, or that one maps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Runs in ascending order, neighbours of one kind as one: first byte, bytes, kind.
    pub runs: Vec<DifferentRun>,
    /// Where to go on (`from` of the next call); `None` at the end.
    pub next: Option<u64>,
}

/// A run of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DifferentRun {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// How they differ.
    pub kind: DifferenceKind,
}

/// How two devices differ in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Only the old one maps it: it was discarded.
    OnlyOld,
    /// Only the new one maps it.
    OnlyNew,
    /// Both, to other blocks.
    Both,
}

/// A range of a volume and whether it has space behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedRun {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Whether the range is mapped; if not, it reads as zeroes.
    pub mapped: bool,
}

/// Names the transaction in which a cut was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub(crate) transaction: u64,
}

/// Whether the store takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything works.
    ReadWrite,
    /// A flush or metadata write failed (A6): reads work, changes are refused until the store is opened again.
    ReadOnly,
    /// Closed; nothing works.
    Closed,
}

/// How full a store is. Blocks of data are of `block_bytes`, blocks of metadata of 4096 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of a data block.
    pub block_bytes: u64,
    /// Data blocks in the pool.
    pub data_total: u64,
    /// Data blocks in use.
    pub data_used: u64,
    /// Metadata blocks in the pool.
    pub metadata_total: u64,
    /// Data blocks, of those not in use, that are kept for devices with a reservation.
    pub data_owed: u64,
    /// Metadata blocks in use, the commit's reserve included.
    pub metadata_used: u64,
    /// Whether the store takes writes.
    pub mode: Mode,
}
