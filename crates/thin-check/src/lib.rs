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
//! Beside the check stand listings, which read as they go and hold next to nothing: [`Listing`] of devices, [`Runs`] of
//! mappings, [`Delta`] between two devices, and [`xml`], which prints them as thin-provisioning-tools do.
//!
//! Hostile images are expected: memory stays in proportion to the image, no walk visits a node twice, and nothing
//! panics. The checker never writes; repair is for others.

#![forbid(unsafe_code)]

mod check;
mod core;
mod counts;
mod cursor;
mod delta;
mod devices;
mod finding;
mod image;
mod layout;
pub mod limits;
mod listing;
mod losses;
mod mappings;
mod names;
mod node;
mod problem;
mod sharing;
mod spacemap;
mod summary;
mod superblock;
mod tree;
pub mod xml;

pub use check::{Expect, Report, check, check_watched};
pub use core::Progress;
pub use delta::{Comparison, Delta, Difference};
pub use devices::{Details, Device};
pub use finding::{Finding, Findings, Keys, Tree, Version};
pub use image::{FileImage, MemoryImage, ReadBlock};
pub use layout::{BLOCK_BYTES, Block, BlockKind};
pub use listing::{Listed, Listing};
pub use mappings::{Mapping, Mappings, Run, Runs, for_each_mapping};
pub use problem::{Map, Owners, Problem, Severity, Use};
pub use summary::{MapSummary, Summary};
pub use superblock::{LOG_FEATURE, MapRoot, Superblock};
