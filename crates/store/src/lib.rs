//! The LUN store: volumes, snapshots and durability behind one trait; the embedded thin pool.
//!
//! ```text
//!   array -> LunStore, Volume (traits)
//!              |
//!            store, volume ---- map_cache      gates and epochs around each I/O; where blocks are, without a lock
//!              |
//!            core ---- turns        the engine under its lock; group commit
//!            /  \
//!   umbra_thin   journal            what to write where; the acknowledged-write log
//!            \  /
//!           backing                 three files (or a disk that forgets, in tests)
//! ```
//!
//! What always holds: an acknowledged write survives the death of the process, a flushed one the loss of the machine
//! (A2); a cut is one instant of all its devices (S1, A3); after a clean close anyone may use the pool (A4); after a
//! failed flush or metadata write nothing is changed any more (A6). What is absent: names, sizes and owners of
//! devices.

#![forbid(unsafe_code)]

mod background;
pub mod backing;
mod context;
mod core;
mod epoch;
mod grow;
mod hold;
mod journal;
pub mod limits;
mod map_cache;
mod needs_check;
mod open;
mod params;
mod provision;
mod ranges;
mod reaper;
mod room;
mod sharing;
mod space;
mod store;
mod stripes;
mod traits;
mod turns;
mod volume;

pub use grow::Extend;
pub use hold::Hold;
pub use params::{Background, PoolParams};
pub use room::{Level, SpacePolicy, Thresholds};
pub use space::Allowance;
pub use store::ThinPoolStore;
pub use traits::{
    Cut, Difference, DifferenceKind, DifferentRun, LunStore, MappedRun, Mode, Share, Ticket, Usage, Volume,
};
pub use umbra_base::Extent;
pub use umbra_thin::{Snapshot, ThinId};
