//! The array as its users meet it: over its management socket and its iSCSI portals, in a folder of its own, with the
//! real pool under it.

mod away;
mod bench;
mod hosts;
mod restart;
mod sets;
