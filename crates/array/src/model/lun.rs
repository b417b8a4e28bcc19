//! A LUN as the catalogue knows it.

use super::{ScsiIdentity, Thin, UnixNanos};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use umbra_base::{LunId, SetId};

/// Free key and value pairs of a LUN or set.
pub type Labels = BTreeMap<String, String>;

/// Whether hosts may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Reads and writes.
    ReadWrite,
    /// Reads only; writes are refused by the target.
    ReadOnly,
}

/// Where a copy came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The LUN that it was taken from, which may be gone by now.
    pub lun: LunId,
    /// The set that it was taken in.
    pub set: SetId,
}

/// What a LUN is to the array, with what is true only of that kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum LunKind {
    /// Made by a request of its own.
    Ordinary,
    /// The working copy of a set that is not broken (C1); lives and dies with the set.
    Copy(Origin),
    /// Was a copy; a life of its own since the break (B4).
    Broken(Origin),
}

impl LunKind {
    /// Where it came from, if it was ever a copy.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            LunKind::Ordinary => None,
            LunKind::Copy(origin) | LunKind::Broken(origin) => Some(origin),
        }
    }
}

/// How much of the pool is kept for a LUN (A7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reserve {
    /// It takes what is free, like everyone.
    #[default]
    Nothing,
    /// So many bytes.
    Bytes(u64),
    /// As much as it can ever need, also after it has grown.
    All,
}

impl Reserve {
    /// In bytes, for a LUN of `size_bytes`.
    pub fn bytes(self, size_bytes: u64) -> u64 {
        match self {
            Reserve::Nothing => 0,
            Reserve::Bytes(bytes) => bytes,
            Reserve::All => size_bytes,
        }
    }
}

/// A logical unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lun {
    /// Its id, made by whoever created it.
    pub id: LunId,
    /// Its name, unique among LUNs.
    pub name: String,
    /// Its size; a multiple of 4096.
    pub size_bytes: u64,
    /// The thin device that holds its data; its own for life.
    pub thin: Thin,
    /// Whether hosts may write.
    pub access: Access,
    /// What it is.
    pub kind: LunKind,
    /// What SCSI calls it (I2).
    pub scsi: ScsiIdentity,
    /// Free key and value pairs.
    #[serde(default)]
    pub labels: Labels,
    /// When it may be dropped; 0 is never.
    #[serde(default)]
    pub expires_at: UnixNanos,
    /// How much of the pool is kept for it; copies have none.
    #[serde(default)]
    pub reserve: Reserve,
    /// The most that it may map, in bytes.
    #[serde(default)]
    pub quota_bytes: Option<u64>,
    /// When it was made.
    pub created: UnixNanos,
    /// The catalogue revision of its last change.
    #[serde(default)]
    pub revision: u64,
}
