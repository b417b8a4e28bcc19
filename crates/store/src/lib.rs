//! The LUN store: volumes, snapshots and durability behind one trait; the embedded thin pool.

#![forbid(unsafe_code)]

mod hold;
mod traits;

pub use hold::Hold;
pub use traits::{Cut, LunStore, MappedRun, Mode, Usage, Volume};
pub use umbra_thin::{Snapshot, ThinId};
