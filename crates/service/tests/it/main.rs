//! The service against a real array, real attachments and real file systems.

mod breaks;
mod creates;
mod deaths;
mod lab;
