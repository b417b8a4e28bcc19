//! The ground that every crate stands on: ids, quantities, error codes, time, limits.
//!
//! Nothing here does I/O, reads a clock or draws a random number; ids and instants are made by the drivers and
//! handed in. What always holds: an [`ErrorCode`]'s text, once released, never changes its meaning, and every
//! quantity that comes from outside goes through a bounded parser ([`size::parse_size`]).

#![forbid(unsafe_code)]

mod code;
mod error;
mod extent;
mod id;
pub mod limits;
pub mod size;
mod time;

pub use code::{ErrorCode, ExitCode};
pub use error::{Error, Result, chain};
pub use extent::Extent;
pub use id::{ArrayId, CopyId, HostId, LunId, OperationId, SetId};
pub use time::{Deadline, Instant};
