//! A command that sees copies in the place of their originals and can write nothing else of this host (W1).
//!
//! ```text
//!   umbra sandbox ...         outer: makes the namespaces, waits, passes signals and the exit status on
//!     '- ... --stage init     process 1 of the PID namespace: builds the view of the host, collects orphans
//!          '- CMD             without the capabilities to undo it
//! ```
//! Namespaces of their own: mount (nothing propagates out), network (only `lo`), PID, IPC, UTS. The view: every mount
//! read-only; `/tmp`, `/run`, `/dev/shm` private and empty; `/dev` with only the harmless devices; the copies at the
//! originals' paths and the folders that were named, writable. The command cannot mount, make devices, load modules,
//! trace processes outside or open files by handle: those capabilities are gone for good. What always holds: the end
//! of `init` ends everything in the namespaces, and `init` ends with `outer`, however that ended.

mod init;
mod outer;
mod spec;
mod view;

pub use outer::run as run_sandbox;
pub use spec::{Bind, Sandbox, User};
