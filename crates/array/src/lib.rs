//! The array: catalogue, masking, sets and their leases, management API. The composition root of the storage side.
//!
//! ```text
//!   management socket --> server --> driver --> rules (pure) --> model
//!                                    |    |  \----> catalogue.sqlite (the only truth)
//!                     umbra_store <--/    \--> front = umbra_target (fences, sessions)
//! ```
//!
//! [`model`], [`rules`] and [`leases`] decide, without I/O; the driver carries decisions out in an order that survives
//! a crash between any two steps: a thin device is durable before the catalogue knows it, and the catalogue has given
//! it up before it leaves the pool. What always holds: what a host sees is what the catalogue says, and what the pool
//! holds is what the catalogue needs plus what it has doomed, and the points in time that ROD tokens keep.

#![forbid(unsafe_code)]

mod audit;
mod catalogue;
mod clock;
mod config;
mod driver;
mod faults;
mod folder;
mod front;
pub mod leases;
pub mod limits;
pub mod model;
mod portal;
mod reservations;
pub mod rules;
mod secrets;
mod serve;
mod server;
mod unit;

pub use config::{DEFAULT_CONFIG, PoolTuning, config_file};
pub use serve::{Options, PoolFiles, Server, serve};
pub use server::Addresses;
pub use umbra_target::{Backend, PortalAuth};
