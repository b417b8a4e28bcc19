//! This host's side of Umbra: LUNs as block devices, volumes and where they lie, mounts, identities, private views.
//!
//! ```text
//!   attach      a LUN of an array as /dev/loopN, by a process of its own; its file view for tools
//!   volumes     mount point or device -> extents over LUNs            partitions, probe, dev: what they are made of
//!   mounts      mount, unmount, remount                               procs: who is in the way
//!   stacked     which of our files would stand still in a freeze (S7)
//!   identity    UUIDs and GUIDs of copies, renewed and given back (I1)
//!   sandbox     a command that sees copies in the originals' place and can write nothing else (W1)
//! ```
//!
//! What always holds: every function blocks and none keeps state of its own; the truth is in the kernel, in the
//! attachments' processes and in their runtime folder. What this crate leaves to others: when to do any of it.

#![forbid(unsafe_code)]

pub mod attach;
pub mod dev;
pub mod identity;
pub mod limits;
pub mod mounts;
pub mod partitions;
pub mod probe;
pub mod procs;
pub mod sandbox;
pub mod stacked;
mod tools;
pub mod volumes;
