//! The array: catalogue, masking, sets and their leases, management API. The composition root of the storage side.
//!
//! ```text
//!   management socket --> server --> Array (driver) --> rules (pure) --> model
//!                                       |    |   \----> catalogue.sqlite (the only truth)
//!                        umbra_store <--/    \--> umbra_target (fences, sessions)
//! ```
//!
//! [`model`] and [`rules`] decide, without I/O; the driver carries decisions out in an order that survives a crash
//! between any two steps: a thin device is durable before the catalogue knows it, and the catalogue has given it up
//! before it leaves the pool. What always holds: what a host sees is what the catalogue says, and what the pool holds
//! is what the catalogue needs plus what it has doomed.

#![forbid(unsafe_code)]

pub mod catalogue;
pub mod limits;
pub mod model;
pub mod rules;
