//! An iSCSI target: drives `umbra-iscsi` and `umbra-scsi` over sockets, for any set of logical units.
//!
//! ```text
//!   Target ── portals (listener threads) ── connection: reader thread ── iscsi::target::Connection (pure)
//!     │                                         │  queue (window)            │ responses
//!     │ hosts: what each initiator sees         └─ workers (a few a session) ─┘
//!     └─ Host ── LunMap ── Slot (gate, mode) ── Arc<dyn LogicalUnit>    scsi::plan decides, execute.rs does
//! ```
//!
//! What always holds (design A1): an initiator reaches a unit only through a slot of its own map, and only inside the
//! slot's gate; [`Target::set_luns`] closes the gates of slots that went and waits until they are empty, so that nothing
//! issued earlier can change the unit afterwards. What a unit is made of, and who may log in, is others' knowledge
//! ([`LogicalUnit`], [`Directory`]).

#![forbid(unsafe_code)]

mod config;
mod connection;
mod execute;
mod host;
pub mod limits;
mod login;
mod output;
mod portal;
mod session;
mod slot;
mod socket;
mod target;
mod task_management;
mod unit;

pub use config::{Directory, HostLogin, PortalAuth, TargetConfig};
pub use session::SessionInfo;
pub use target::Target;
pub use umbra_iscsi::chap::Secret;
pub use umbra_iscsi::target::Resend;
pub use umbra_scsi::{Access, LunIdentity};
pub use unit::{LogicalUnit, LunEntry, MappedRun, MediumError};
