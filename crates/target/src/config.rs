//! What the composition root supplies to a target.

use crate::limits::{BUSY_POLL, MEMORY};
use std::time::Duration;
use umbra_iscsi::{chap::Secret, target::Mutual};
use umbra_ring::Backend;

/// Constants of a target.
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// iSCSI name of the target.
    pub iqn: String,
    /// T10 vendor identification (8 characters).
    pub vendor: String,
    /// Product revision (4 characters).
    pub revision: String,
    /// Portal addresses that discovery tells, `HOST:PORT`, one for each portal in the order in which they listen; empty: those
    /// that it listens on, where one listens on every address the one that the initiator reached us at.
    pub advertised: Vec<String>,
    /// Shards: threads that serve connections; 0: as many as there are processors.
    pub shards: usize,
    /// What carries their I/O.
    pub backend: Backend,
    /// Bytes of commands' data in memory, at most, in all; but each shard has room for one command of the largest size.
    pub memory: usize,
    /// How long a shard keeps its processor, at most, for the next command before it sleeps, while hosts send one after
    /// another. Zero: it sleeps at once.
    pub busy_poll: Duration,
}

impl TargetConfig {
    /// A target with this name, Umbra's vendor strings, and defaults.
    pub fn new(iqn: impl Into<String>) -> Self {
        TargetConfig {
            iqn: iqn.into(),
            vendor: "UMBRA".to_owned(),
            revision: "0001".to_owned(),
            advertised: Vec::new(),
            shards: 0,
            backend: Backend::Auto,
            memory: MEMORY,
            busy_poll: BUSY_POLL,
        }
    }
}

/// Whether a TCP portal demands CHAP (design X1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortalAuth {
    /// It does.
    Chap,
    /// Whoever names himself comes in.
    InsecureNone,
}

/// Who may log in. Called by workers, with no lock of the target held; may block.
pub trait Directory: Send + Sync + 'static {
    /// What is known of this initiator; `None` refuses it.
    fn host(&self, initiator: &str) -> Option<HostLogin>;
}

/// How a known initiator logs in.
#[derive(Debug, Clone, Default)]
pub struct HostLogin {
    /// Its CHAP secret; without one it cannot use a portal that demands CHAP.
    pub secret: Option<Secret>,
    /// How we prove who we are, if it asks for that; without it such a login fails.
    pub mutual: Option<Mutual>,
}

/// Keeps what must outlive the target: persistent reservations with APTPL (SPC-4 section 5.13). Called by workers and by
/// [`Target::set_luns`](crate::Target::set_luns); may block.
pub trait Keeper: Send + Sync + 'static {
    /// Keeps the reservations of a unit, or forgets them. Durable on return.
    fn save_reservations(&self, unit: [u8; 16], bytes: Option<&[u8]>) -> umbra_base::Result<()>;
    /// What was kept last.
    fn reservations(&self, unit: [u8; 16]) -> umbra_base::Result<Option<Vec<u8>>>;
}

/// Keeps nothing: reservations end with the target, and APTPL is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepNothing;

impl Keeper for KeepNothing {
    fn save_reservations(&self, _unit: [u8; 16], bytes: Option<&[u8]>) -> umbra_base::Result<()> {
        match bytes {
            None => Ok(()),
            Some(_) => Err(umbra_base::Error::new(
                umbra_base::ErrorCode::InvalidArgument,
                "keep reservations: this target has no place for them",
            )),
        }
    }

    fn reservations(&self, _unit: [u8; 16]) -> umbra_base::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}
