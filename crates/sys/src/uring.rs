//! io_uring behind a safe interface: a ring owns what the kernel works on.
//!
//! The kernel reads and writes memory and uses descriptors between submission and completion, outside of what the
//! borrow checker sees. What always holds: a [`Ring`] owns each [`Op`] with its buffers and descriptors from
//! [`Ring::push`] until its completion was reaped by [`Ring::reap`], which hands it back; dropping a ring cancels what
//! is in flight and waits for it. No policy here: what is short, interrupted or cancelled is told as it came.

mod descriptor;
mod op;
mod ring;
mod slot;

pub use descriptor::Descriptor;
pub use op::Op;
pub use ring::{Reaped, Ring};
