//! What a ring, or whatever stands in for one, can be asked to do. Plain data that owns all it needs.

use super::Descriptor;
use crate::{buf::Buf, bufparts::Parts};
use std::sync::Arc;

/// One operation, with its progress.
#[derive(Debug)]
pub enum Op {
    /// pread(2) into the spare room of `buf`, from byte `offset + done` on.
    Read { file: Arc<Descriptor>, offset: u64, buf: Buf, done: u32 },
    /// pwritev(2) of the filled bytes of `parts` without the first `done`, at byte `offset + done`.
    Write { file: Arc<Descriptor>, offset: u64, parts: Parts, done: u32 },
    /// fdatasync(2), or fsync(2).
    Sync { file: Arc<Descriptor>, data_only: bool },
    /// recv(2) into the spare room of `buf`.
    Recv { socket: Arc<Descriptor>, buf: Buf },
    /// sendmsg(2) of the filled bytes of `parts` without the first `done`. Never raises SIGPIPE.
    Send { socket: Arc<Descriptor>, parts: Parts, done: u32 },
    /// accept4(2), again and again where the kernel can.
    Accept { socket: Arc<Descriptor> },
    /// Waits until the eventfd counts something and resets it; `buf` is where the count goes.
    Wake { event: Arc<Descriptor>, buf: Buf },
}

impl Op {
    /// Takes into account that the kernel read or wrote `bytes` more bytes.
    pub fn progress(&mut self, bytes: u32) {
        match self {
            Op::Read { buf, done, .. } => {
                buf.advance(bytes as usize);
                *done += bytes;
            }
            Op::Recv { buf, .. } => buf.advance(bytes as usize),
            Op::Write { done, .. } | Op::Send { done, .. } => *done += bytes,
            Op::Sync { .. } | Op::Accept { .. } | Op::Wake { .. } => (),
        }
    }

    /// The descriptor that it works on.
    pub fn descriptor(&self) -> &Arc<Descriptor> {
        match self {
            Op::Read { file, .. } | Op::Write { file, .. } | Op::Sync { file, .. } => file,
            Op::Recv { socket, .. } | Op::Send { socket, .. } | Op::Accept { socket } => socket,
            Op::Wake { event, .. } => event,
        }
    }
}
