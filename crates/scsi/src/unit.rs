//! What the decoder knows of a logical unit.

use crate::features::Features;
use crate::limits::BLOCK;
use crate::mode::ModeState;
use crate::topology::Topology;

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

/// Whose commands one task set holds (TST of the control mode page).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskSets {
    /// Those of all initiators.
    #[default]
    One,
    /// Those of one I_T nexus: order and aborts do not reach beyond it.
    PerNexus,
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

/// What WRITE ATOMIC can do, in logical blocks (SBC-4 section 6.6.4). All zero: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AtomicLimits {
    /// The longest write.
    pub blocks: u32,
    /// Where it may begin; zero and one are anywhere.
    pub alignment: u32,
    /// What its length is a multiple of; zero and one are any length.
    pub granularity: u32,
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
    /// Logical blocks per physical block, as a power of two (SBC-3 section 5.16.2): at most 15.
    pub physical_exponent: u8,
    /// Bytes that are allocated and released together.
    pub allocation: u32,
    /// What the driver carries out beyond the basic commands.
    pub features: Features,
    pub atomic: AtomicLimits,
    pub task_sets: TaskSets,
    /// The ports, where the driver tells them.
    pub topology: Option<Topology<'a>>,
}

impl Unit<'_> {
    /// Whole logical blocks.
    pub fn blocks(&self) -> u64 {
        self.size_bytes / BLOCK
    }
}
