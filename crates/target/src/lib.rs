//! An iSCSI target: drives `umbra-iscsi` and `umbra-scsi` on `umbra-ring`, for any set of logical units.
//!
//! ```text
//!   Target ── messages ── Shard, one a thread: connections ── iscsi core (pure) ── scsi plans (pure)
//!     │                     │                                        │
//!     │ hosts: what each    ├─ direct door: extents of a file, on the same ring as the sockets
//!     │ initiator sees      └─ slow.rs, on workers: whatever may block
//!     └─ Host ── LunMap ── Slot ── Arc<U: LogicalUnit>
//! ```
//!
//! What always holds (design A1): an initiator reaches a unit only through a slot of its own map. [`Target::set_luns`] tells every
//! shard, and returns when no command that began at a slot that went can still change its unit. What a unit is made of, and
//! who may log in, is others' knowledge ([`LogicalUnit`], [`Directory`]).

#![forbid(unsafe_code)]

mod book;
mod common;
mod config;
mod copy;
mod exclusion;
mod fence;
mod host;
pub mod limits;
mod message;
mod offload;
mod outcome;
mod portal;
mod shard;
mod slot;
mod slow;
mod target;
mod tokens;
mod unit;
mod unit_state;
mod watch;

pub use book::SessionInfo;
pub use config::{Directory, HostLogin, KeepNothing, Keeper, PortalAuth, TargetConfig};
pub use target::Target;
pub use umbra_base::Extent;
pub use umbra_iscsi::chap::Secret;
pub use umbra_iscsi::target::{Mutual, Resend};
pub use umbra_ring::Backend;
pub use umbra_scsi::{Access, LunIdentity};
pub use unit::{LogicalUnit, LunEntry, MappedRun, MediumError, Space};
