//! A thin pool in the kernel's dm-thin format: pure logic, no I/O.

#![forbid(unsafe_code)]

mod ids;

pub use ids::{Snapshot, ThinId};
