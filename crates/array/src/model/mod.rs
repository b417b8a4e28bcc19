//! What the array knows, as plain values: LUNs, hosts, masks, sets, and the counters that never go back.
//!
//! ```text
//!   Host --- Mask(number) --- Lun --- thin device
//!                              ^ working
//!                 SnapshotSet -+- pristine thin device (no LUN record)
//! ```
//!
//! No I/O, clock or randomness here. What always holds: a [`Catalogue`] changes only by [`Catalogue::apply`] of a
//! [`Change`], which is also what the catalogue file stores, so memory and file never differ.

mod catalogue;
mod change;
mod host;
mod identity;
mod key;
mod lun;
mod set;

pub use catalogue::{Catalogue, Counters, Grave, GraveKind};
pub use change::{Change, Edit};
pub use host::{Host, Mask};
pub use identity::ScsiIdentity;
pub use key::{Named, look_up};
pub use lun::{Access, Labels, Lun, LunKind, Origin, Reserve};
pub use set::{Consistency, CopyRecord, Extent, IdentityChange, SetLun, SetState, SnapshotSet, Step};

use serde::{Deserialize, Serialize};

/// Id of a thin device in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thin(pub u32);

/// Nanoseconds since 1970 UTC by the array's clock. Zero: never.
pub type UnixNanos = u64;
