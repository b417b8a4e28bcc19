//! Attachments: a LUN of an array as a block device of this host, each a process of its own (design section 1).
//!
//! ```text
//!   mount ... /dev/loop0 (+ p1, p2)          kernel: loop, direct I/O
//!                 |
//!   RUNTIME/attach/<lun-id>/view/disk        FUSE, direct I/O        p1, p2 ... windows for tools
//!                 |  view          control  <- control.sock <- Attachment::{status, make_device, detach, ...}
//!              engine + driver               the journal of unflushed writes lives here (A2)
//!                 |  iSCSI, unix socket or TCP
//!               array
//! ```
//!
//! The service starts, lists and stops attachments with the functions here; all of them block. An attachment outlives
//! whoever started it. One that was killed leaves a dead view and perhaps a loop device: [`sweep`] (and the next
//! [`start`]) clears them away.

mod control;
pub(crate) mod device;
mod driver;
mod engine;
mod launch;
mod run;
mod spec;
mod state;
mod sweep;
mod view;

pub use engine::{LinkStatus, cdb::Designators};
pub use launch::{Attachment, Launcher, find, list, start, stop};
pub use run::run;
pub use spec::{Credentials, DeviceWish, Endpoint, Spec};
pub use state::State;
pub use sweep::{Swept, sweep};
