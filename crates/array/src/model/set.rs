//! Snapshot sets: copies of one instant (S1), and the moves of their life (B1).
//!
//! ```text
//!   (nothing) --begin--> Pending --commit--> Created --import--> Imported --begin break--> Breaking --commit--> Broken
//!                           |                 |   ^                |   ^                     |
//!                     abort, expiry        delete  \---unimport---/ \----cancel break-------/
//! ```
//!
//! The moves are one table in `rules::moves`. What always holds: only a state that has an importer names one.

use super::{Labels, Thin, UnixNanos};
use serde::{Deserialize, Serialize};
use umbra_base::{CopyId, HostId, LunId, SetId};

/// Where a set is in its life, with what is true only there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum SetState {
    /// Being made; has a lease, and dies with it (S6).
    Pending,
    /// Whole and durable; nobody sees it.
    Created {
        /// When writes were held and the cut was made.
        cut: UnixNanos,
    },
    /// One host sees it.
    Imported {
        /// When the cut was made.
        cut: UnixNanos,
        /// Who.
        importer: HostId,
    },
    /// Its importer means to break it, and has not yet (B3).
    Breaking {
        /// When the cut was made.
        cut: UnixNanos,
        /// Who.
        importer: HostId,
        /// What access the LUNs are to have.
        access: super::Access,
    },
    /// No set any more: a memory of where its LUNs came from (B4).
    Broken {
        /// When the cut was made.
        cut: UnixNanos,
        /// When it was broken.
        at: UnixNanos,
        /// What access its LUNs were left with.
        access: super::Access,
    },
}

impl SetState {
    /// The host that has it imported.
    pub fn importer(&self) -> Option<HostId> {
        match *self {
            SetState::Imported { importer, .. } | SetState::Breaking { importer, .. } => Some(importer),
            _ => None,
        }
    }

    /// When the cut was made; 0 for a pending set, whose cut is only in memory.
    pub fn cut(&self) -> UnixNanos {
        match *self {
            SetState::Pending => 0,
            SetState::Created { cut }
            | SetState::Imported { cut, .. }
            | SetState::Breaking { cut, .. }
            | SetState::Broken { cut, .. } => cut,
        }
    }

    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            SetState::Pending => "pending",
            SetState::Created { .. } => "created",
            SetState::Imported { .. } => "imported",
            SetState::Breaking { .. } => "breaking",
            SetState::Broken { .. } => "broken",
        }
    }
}

/// One LUN of a set: the original and its two copies (C1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLun {
    /// The LUN that was copied.
    pub origin: LunId,
    /// Its name then.
    pub origin_name: String,
    /// Its size then.
    pub size_bytes: u64,
    /// The LUN of the working copy; its record is made when the set is created.
    pub working: LunId,
    /// The working copy's thin device.
    pub working_thin: Thin,
    /// The pristine cut: never written, never presented, gone after a break.
    pub pristine_thin: Thin,
    /// What was renewed on the working copy (I1).
    #[serde(default)]
    pub identity: Vec<IdentityChange>,
}

/// An identity that was renewed on a working copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityChange {
    /// The part of the LUN.
    pub place: String,
    /// What kind of identity.
    pub kind: String,
    /// What it was.
    pub before: String,
    /// What it became.
    pub after: String,
}

/// How consistent a copy really is (S5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Nobody said.
    Unspecified,
    /// As after a crash.
    Crash,
    /// File systems were frozen.
    FileSystem,
    /// Applications were prepared too.
    Application,
}

/// A run of bytes of an original LUN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Which LUN.
    pub lun: LunId,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// One volume's copy in a set, as the host recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// Its id.
    pub id: CopyId,
    /// The volume as the requester named it.
    pub volume: String,
    /// Its block device then.
    pub device: String,
    /// Its file system, "" when none was recognised.
    pub fs_type: String,
    /// The original file system's UUID.
    pub fs_uuid: String,
    /// Where it was mounted.
    pub mount_point: String,
    /// Where it lies, over the original LUNs.
    pub extents: Vec<Extent>,
    /// How consistent it is.
    pub consistency: Consistency,
    /// Why not better.
    pub consistency_reason: String,
    /// The writers that took part.
    pub writers: Vec<String>,
}

/// One step of a set's creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Since the creation began.
    pub start_us: u64,
    /// How long it took.
    pub duration_us: u64,
    /// "ok" or an error code.
    pub outcome: String,
    /// More about it.
    pub note: String,
}

/// A snapshot set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSet {
    /// Its id, made by the creating host.
    pub id: SetId,
    /// Where it is in its life.
    pub state: SetState,
    /// The host that made it.
    pub creator: HostId,
    /// That host's name then.
    pub creator_name: String,
    /// Raised by each import (B1).
    pub epoch: u64,
    /// Whether other hosts than the creator may import it.
    pub transportable: bool,
    /// Whether it dies with its requester's session (B6); the service sees to that.
    pub volatile: bool,
    /// The volumes.
    pub copies: Vec<CopyRecord>,
    /// The LUNs.
    pub luns: Vec<SetLun>,
    /// Free key and value pairs.
    #[serde(default)]
    pub labels: Labels,
    /// When it may be dropped; 0 is never.
    #[serde(default)]
    pub expires_at: UnixNanos,
    /// When it was begun.
    pub begun: UnixNanos,
    /// How its creation went.
    #[serde(default)]
    pub timeline: Vec<Step>,
    /// Volumes on its LUNs that nobody asked for.
    #[serde(default)]
    pub extra_volumes: Vec<String>,
    /// The catalogue revision of its last change.
    #[serde(default)]
    pub revision: u64,
}

impl SnapshotSet {
    /// Every thin device of the set: both copies of each LUN.
    pub fn thins(&self) -> impl Iterator<Item = Thin> + '_ {
        self.luns.iter().flat_map(|lun| [lun.pristine_thin, lun.working_thin])
    }
}
