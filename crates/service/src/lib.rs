//! The service of one host: the coordinator of its snapshot sets, and the composition root of all that it takes.
//!
//! ```text
//!   requester --umbra.v1.Service, unix socket--> rpc
//!                                                 |-- create     gate, plan, driver of vss::SetMachine, record
//!                                                 |-- exposure   copies beside their originals
//!                                                 |-- breaking   copies become LUNs of their own
//!                                                 |-- delete, luns, info
//!          provider/array <-- umbra.v1.Array --> array (another process, another machine)
//!          guard (processes of its own)   attachments (processes of their own)   writers
//! ```
//!
//! What always holds: the service holds no truth. Sets live in the array, attachments are found by their folders, mounts
//! in the kernel's table, what must be thawed in the guard's record; so it can be killed at any instant, and the next one
//! cleans up (`recovery`). What it leaves to others: what a set is and in which order it is made (crate vss), freezing
//! (guard), devices and identities (host), applications (writers).

#![forbid(unsafe_code)]

mod array;
mod attachments;
mod breaking;
mod config;
mod create;
mod delete;
mod exposure;
mod faults;
mod identity;
mod limits;
mod listen;
mod locks;
mod lookup;
mod mounting;
mod mounts;
mod node;
mod provider;
mod quiet;
mod recovery;
mod resolve;
mod rpc;
mod serve;
mod view;
mod writers;

pub use config::{Config, DEFAULT_CONFIG, Options};
pub use quiet::LogWriter;
pub use serve::serve;
