//! Persistent B-trees (dm-thin format sections 5 and 10): finding, inserting, removing, deleting whole trees.
//!
//! What always holds after each public function: keys ascend, leaves are equally deep, every node but the root is at
//! least a third full, and the counts of both space maps equal the pointers. A function that fails half way breaks
//! that; its caller never commits after a failure.

mod cursor;
mod delete;
mod insert;
mod lookup;
mod place;
mod remove;

pub(crate) use lookup::See;
pub(crate) use place::{Care, Place};
