//! Writers: applications that are brought to rest before their volumes are copied (VSS writers; design W2).
//!
//! ```text
//!   writers.d/*.toml --load--> WriterConfig --identify--> Identity (where its data lies)
//!                                   |
//!                                   +--join(set)--> Arc<dyn Writer>: prepare, freeze, attest, thaw, post_snapshot / abort
//! ```
//!
//! A [`WriterConfig`] lives as long as the service; a [`Writer`] takes part in one set. What always holds: a writer
//! claims a consistency only for volumes that have its data, and only as far as it can vouch for it; a writer of which
//! a part lies outside of the set fails with `inconsistent_snapshot`. What is left to others: when each event comes
//! (`vss`), and keeping the undo of a freeze that outlives us (the guard).

#![forbid(unsafe_code)]

mod command;
mod config;
mod join;
pub mod limits;
mod postgres;
mod program;
mod set;
mod writer;

pub use config::{CommandConfig, PostgresConfig, Program, WriterConfig, load, parse};
pub use set::{Identity, Place, SetContext, VolumeOf};
pub use writer::{Undo, Writer};
