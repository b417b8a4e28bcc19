//! Tests of the checker against pools of the kernel, of thin-provisioning-tools and of an engine of the format's
//! proof, against deliberate damage, and against images that lie.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // in helpers of tests, which clippy does not take for tests

mod bad;
mod golden;
mod hostile;
mod listings;
mod support;
mod tools;
