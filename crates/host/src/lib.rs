//! This host's side.
#![forbid(unsafe_code)]
pub mod attach;
pub mod limits;
pub mod partitions;
pub mod procs;
pub mod volumes;
