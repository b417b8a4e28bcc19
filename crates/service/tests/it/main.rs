//! The service against a real array, real attachments and real file systems.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where it stood")]

mod breaks;
mod creates;
mod deaths;
mod lab;
