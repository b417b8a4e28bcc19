//! What can go wrong in the engine: damage with its place, refusals with their numbers, reading that failed.

use crate::{PageKind, ThinId, values::Tree};
use std::{fmt, ops::Range};
use umbra_base::{Error, ErrorCode};

/// The tree that a damaged block belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeName {
    /// Device id -> root of its mappings.
    Devices,
    /// Virtual block -> data block, of one device.
    Mappings,
    /// Device id -> details.
    Details,
    /// Bitmap number -> bitmap, of the data space map.
    DataIndex,
    /// Block -> count above two, of either space map.
    Counts,
    /// Bitmap number -> bitmap, of the metadata space map.
    MetadataIndex,
}

impl TreeName {
    pub(crate) fn of(tree: Tree) -> Self {
        match tree {
            Tree::Top => TreeName::Devices,
            Tree::Mapping => TreeName::Mappings,
            Tree::Details => TreeName::Details,
            Tree::Index => TreeName::DataIndex,
            Tree::Overflow => TreeName::Counts,
        }
    }

    /// What the tree's keys are.
    fn keys(self) -> &'static str {
        match self {
            TreeName::Devices => "the devices",
            TreeName::Mappings => "the mappings of virtual blocks",
            TreeName::Details => "the details of devices",
            TreeName::DataIndex => "the data space map's bitmaps",
            TreeName::Counts => "the counts of blocks",
            TreeName::MetadataIndex => "the metadata space map's bitmaps",
        }
    }
}

/// What a damaged metadata block costs (A6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The tree.
    pub tree: TreeName,
    /// Whose mappings, where it is known.
    pub device: Option<ThinId>,
    /// The keys that cannot be read: virtual blocks, device ids, ... `u64::MAX` as the end: all from the start on.
    pub keys: Range<u64>,
    /// The damaged metadata block.
    pub block: u64,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { tree, device, keys, block } = self;
        write!(f, "{} {}", tree.keys(), keys.start)?;
        match keys.end {
            u64::MAX => f.write_str(" and above")?,
            end => write!(f, " to {}", end.saturating_sub(1))?,
        }
        if let Some(id) = device {
            write!(f, " of device {id}")?;
        }
        write!(f, " (metadata block {block})")
    }
}

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThinError {
    /// A block's checksum is wrong.
    #[error("{kind} at metadata block {block}: checksum {found:#010x}, expected {want:#010x}")]
    Checksum { kind: PageKind, block: u64, found: u32, want: u32 },
    /// A block says that it belongs elsewhere.
    #[error("{kind} at metadata block {block} says it is block {found}")]
    Misplaced { kind: PageKind, block: u64, found: u64 },
    /// The superblock has a field that we cannot accept.
    #[error("superblock: {field} is {found}, expected {want}")]
    Superblock { field: &'static str, found: u64, want: String },
    /// The pool has to be checked before it may be written.
    #[error("the pool is marked needs_check")]
    NeedsCheck,
    /// A feature bit that we do not know.
    #[error("superblock: unknown {field} {bits:#x}")]
    Features { field: &'static str, bits: u32 },
    /// A file is smaller than the pool.
    #[error("{device} has {found} blocks, the pool needs {want}")]
    TooSmall { device: &'static str, found: u64, want: u64 },
    /// A node breaks a rule of the format.
    #[error("node at metadata block {block}: {what}")]
    Node { block: u64, what: String },
    /// Damage in a tree: what it costs, and what is wrong.
    #[error("cannot read {lost}")]
    Damaged { lost: Lost, source: Box<ThinError> },
    /// A space map contradicts itself or the trees.
    #[error("{map} space map, block {block}: {what}")]
    SpaceMap { map: &'static str, block: u64, what: String },
    /// The log holds a record that cannot be applied to this pool.
    #[error("log record {sequence}: {what}")]
    LogRecord { sequence: u64, what: String },
    /// A metadata block could not be read.
    #[error("read metadata block {block}")]
    Read { block: u64, source: std::io::Error },
    /// The device id is in use.
    #[error("thin device {0} exists already")]
    Exists(ThinId),
    /// No such device.
    #[error("thin device {0} does not exist")]
    Unknown(ThinId),
    /// An id above 24 bits, a bad size and the like.
    #[error("{what} is {found}, allowed is {allowed}")]
    Argument { what: &'static str, found: u64, allowed: String },
    /// Every data block is in use.
    #[error("no free data block: {total} blocks, all in use")]
    DataFull { total: u64 },
    /// Only the commit's reserve of metadata is left.
    #[error("no free metadata block beside the reserve: {free} free of {total}, {needed} needed")]
    MetadataFull { free: u64, total: u64, needed: u64 },
    /// The pool has seen 2^24 - 1 group snapshots.
    #[error("the pool's snapshot time has reached its limit {0}")]
    TimeExhausted(u32),
    /// A change failed half way earlier; the transaction cannot be committed.
    #[error("an earlier change failed half way; the pool is read-only until it is opened again")]
    Broken,
    /// The open transaction holds changes where none may be.
    #[error("the open transaction holds changes that are not committed")]
    NotCommitted,
    /// The pool was opened although it is damaged.
    #[error("the pool is damaged and open for reading only")]
    ReadOnly,
    /// There is one metadata snapshot at most.
    #[error("the pool has a metadata snapshot already")]
    HeldExists,
    /// No metadata snapshot.
    #[error("the pool has no metadata snapshot")]
    NotHeld,
    /// A commit is being written; there is one at a time.
    #[error("a commit is in flight")]
    CommitInFlight,
}

impl ThinError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        use ThinError as E;
        match self {
            E::Checksum { .. } | E::Misplaced { .. } | E::Superblock { .. } | E::Node { .. } => {
                ErrorCode::Corrupt
            }
            E::Damaged { source, .. } => source.code(),
            E::SpaceMap { .. } | E::TooSmall { .. } | E::LogRecord { .. } => ErrorCode::Corrupt,
            E::NeedsCheck | E::Broken | E::ReadOnly => ErrorCode::BadState,
            E::CommitInFlight | E::NotCommitted => ErrorCode::BadState,
            E::HeldExists => ErrorCode::ObjectAlreadyExists,
            E::NotHeld => ErrorCode::ObjectNotFound,
            E::Features { .. } => ErrorCode::Unsupported,
            E::Read { .. } => ErrorCode::Io,
            E::Exists(_) => ErrorCode::ObjectAlreadyExists,
            E::Unknown(_) => ErrorCode::ObjectNotFound,
            E::Argument { .. } => ErrorCode::InvalidArgument,
            E::DataFull { .. } | E::MetadataFull { .. } => ErrorCode::InsufficientStorage,
            E::TimeExhausted(_) => ErrorCode::LimitReached,
        }
    }

    /// The same error, saying whose mappings are damaged.
    pub(crate) fn of_device(mut self, id: ThinId) -> Self {
        if let ThinError::Damaged { lost: Lost { device, tree: TreeName::Mappings, .. }, .. } = &mut self {
            device.get_or_insert(id);
        }
        self
    }

    /// The same error, without the reserved id of a device that is being deleted, which nobody knows.
    pub(crate) fn of_a_deleted_device(mut self) -> Self {
        if let ThinError::Damaged { lost, .. } = &mut self {
            lost.device = None;
        }
        self
    }

    /// Whether a commit may free what was missing.
    pub fn is_full(&self) -> bool {
        matches!(self, ThinError::DataFull { .. } | ThinError::MetadataFull { .. })
    }
}

impl From<ThinError> for Error {
    fn from(error: ThinError) -> Error {
        let converted = Error::new(error.code(), error.to_string());
        match error {
            ThinError::Read { source, .. } => converted.because(source),
            ThinError::Damaged { source, .. } => converted.because(source).hint(
                "check the pool (umbra pool check), then repair its metadata (thin_repair) or restore it",
            ),
            ThinError::NeedsCheck => {
                converted.hint("check the pool (thin_check, thin_repair), then clear the flag")
            }
            ThinError::DataFull { .. } | ThinError::MetadataFull { .. } => {
                converted.hint("delete copies or LUNs, or extend the pool")
            }
            _ => converted,
        }
    }
}
