//! An independent checker of dm-thin pool metadata; it shares no code with the engine that writes pools, so that a
//! misunderstanding of the format there is not repeated here.
//!
//! ```text
//!   superblock ─┬─ top-level tree ── mapping trees ──▶ data blocks      devices, sharing
//!               ├─ details tree                                         devices
//!               ├─ data map: index tree ── bitmaps, overflow tree       spacemap
//!               ├─ metadata map: index block ── bitmaps, overflow tree  spacemap
//!               └─ held root ── its own top-level and details trees     check
//! ```
//!
//! [`check`] follows every pointer once, then compares what it found with what the pool says of itself:
//! 1. superblock fields are legal, roots lie within the device;
//! 2. every node is valid, in order, within its parent's keys, full enough, and all leaves of a tree are level;
//! 3. the same devices stand in the top-level and the details tree, with exact numbers of mapped blocks;
//! 4. every mapping names a data block that exists, and nothing is from the future;
//! 5. a mapping that looks private since its device's last snapshot is private;
//! 6. both space maps are complete, count exactly the pointers found, and carry true hints;
//! 7. no block has two uses, and blocks of space maps are never shared.
//!
//! Hostile images are expected: memory stays in proportion to the image, no walk visits a node twice, and nothing
//! panics. The checker never writes; repair is for others.

#![forbid(unsafe_code)]

mod check;
mod core;
mod counts;
mod devices;
mod finding;
mod image;
mod layout;
pub mod limits;
mod mappings;
mod node;
mod problem;
mod sharing;
mod spacemap;
mod summary;
mod superblock;
mod tree;

pub use check::{Expect, Report, check};
pub use devices::{Details, Device, Mapping};
pub use finding::{Finding, Findings, Tree, Version};
pub use image::{FileImage, MemoryImage, ReadBlock};
pub use layout::{BLOCK_BYTES, Block, BlockKind};
pub use mappings::for_each_mapping;
pub use problem::{Map, Owners, Problem, Severity, Use};
pub use summary::{MapSummary, Summary};
pub use superblock::{MapRoot, Superblock};
