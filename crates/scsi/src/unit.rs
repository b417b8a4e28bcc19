//! What the decoder knows of a logical unit.

use crate::limits::BLOCK;
use crate::mode::ModeState;

/// Whether an initiator may change a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// Whether acknowledged writes may still be in a volatile cache (WCE of the caching mode page).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteCache {
    /// WCE=1: the initiator flushes.
    Back,
    /// WCE=0: each write is durable before its status.
    Through,
}

/// What names a unit for good (design I2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LunIdentity {
    /// Locally assigned NAA designator: the top four bits are 3h.
    pub naa: u64,
    pub uuid: [u8; 16],
    pub serial: String,
    pub product: String,
}

/// A unit at the time of one command.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    /// T10 vendor identification and product revision.
    pub vendor: &'a str,
    pub revision: &'a str,
    pub identity: &'a LunIdentity,
    pub size_bytes: u64,
    pub access: Access,
    pub cache: WriteCache,
    pub mode: ModeState,
    /// Bytes that are allocated and released together.
    pub allocation: u32,
}

impl Unit<'_> {
    /// Whole logical blocks.
    pub fn blocks(&self) -> u64 {
        self.size_bytes / BLOCK
    }
}
