//! What `umbra pool` prints: of the array, and of pools in files.

mod check;
mod listing;
mod status;
mod usage;

pub use check::CheckReport;
pub use listing::{DumpDevice, DumpMapping, DumpPool, PoolDifference};
pub use status::{ArrayStatus, PoolDone};
pub use usage::Usage;
