//! A thin pool in the kernel's dm-thin format: pure logic, no I/O.
//!
//! ```text
//!   pool      devices, cuts, write plans, commits              one open transaction (pool/)
//!    |
//!   tree      persistent B-trees: find, insert, remove, delete (tree/)
//!    |
//!   meta      fresh and committed nodes, shadowing             the only way to a node that may be changed
//!    |   \
//!   node  space   bytes of a node; counts of blocks            in memory as on disk
//!    |   /
//!   page, superblock, bitmap, counts, values                   fields, checksums
//!
//!   log       bytes of the acknowledged-write log              beside the pool, not part of the format
//! ```
//!
//! A driver owns files and locks. It reads through [`MetaRead`], asks a [`Pool`] for plans, carries them out, and
//! writes [`Commit`]s in the order that they demand. Section numbers in comments are those of the dm-thin format
//! reference; R1 to R6 are its rules of transactions (section 8.1).
//!
//! What is absent: I/O, clocks, randomness, threads. What always holds: nothing that a committed state can reach is
//! ever written (R1 to R3), so a crash at any point leaves a committed state.

#![forbid(unsafe_code)]

mod bitmap;
mod counts;
mod error;
mod ids;
pub mod limits;
pub mod log;
mod meta;
mod node;
mod page;
mod pool;
mod space;
mod superblock;
mod tree;
mod values;

pub use error::{Lost, ThinError, TreeName};
pub use ids::{Snapshot, ThinId};
pub use meta::MetaRead;
pub use page::{Page, PageKind};
pub use pool::{
    Allocated, Block, Changed, Commit, DeleteStep, Difference, Fill, Format, LogUse, Mapped, Owner, Plan,
    Pool, Run, Source, Step, format,
};
pub use superblock::{INCOMPAT_LOG, SpaceMapRoot, Superblock};
pub use values::{BlockTime, Details};
