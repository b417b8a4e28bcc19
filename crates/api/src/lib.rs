//! The `umbra.v1` gRPC interface: what the command line, the service and the array say to each other.
//!
//! ```text
//!   cli ----> Service (one per host, unix socket) ----> Array (unix socket)
//!     \------------------------------------------------/
//! ```
//!
//! [`v1`] is generated from `proto/`, which is the document of the interface. [`connect`] opens a channel to an
//! [`Address`]; [`convert`] carries [`umbra_base::Error`] through a gRPC status and back without losing code, message,
//! hint or parameters. What always holds: a client and a server meet only here.

#![forbid(unsafe_code)]

mod address;
mod connect;
pub mod convert;

pub use address::{Address, DEFAULT_ARRAY};
pub use connect::{ArrayClient, ServiceClient, array, service};

/// The generated messages, clients and servers.
#[allow(missing_debug_implementations, clippy::all, unused_qualifications)] // generated code
pub mod v1 {
    tonic::include_proto!("umbra.v1");
}
