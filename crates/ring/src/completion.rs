//! What a shard's owner hears.

use crate::{Buf, Parts, Socket};
use std::io;

/// The end of an operation, or a message.
#[derive(Debug)]
pub struct Completion<M> {
    /// The token that the operation was submitted under, or that the sender of the message chose.
    pub token: u64,
    /// Bytes read, written, received or sent (zero for everything else), or why it failed.
    pub result: io::Result<u32>,
    /// What comes back with it, also after a failure.
    pub payload: Payload<M>,
}

/// What a completion carries.
#[derive(Debug)]
pub enum Payload<M> {
    /// Nothing: a sync, the end of an accept, a job that failed.
    None,
    /// The buffer of a read or receive.
    Buf(Buf),
    /// The buffers of a write or send.
    Parts(Parts),
    /// A connection that was accepted.
    Socket(Socket),
    /// A message, or what a job returned.
    Message(M),
}

impl<M> Payload<M> {
    /// The buffer, if it is one.
    pub fn buf(self) -> Option<Buf> {
        if let Payload::Buf(buf) = self { Some(buf) } else { None }
    }

    /// The gather list, if it is one.
    pub fn parts(self) -> Option<Parts> {
        if let Payload::Parts(parts) = self { Some(parts) } else { None }
    }

    /// The connection, if it is one.
    pub fn socket(self) -> Option<Socket> {
        if let Payload::Socket(socket) = self { Some(socket) } else { None }
    }

    /// The message, if it is one.
    pub fn message(self) -> Option<M> {
        if let Payload::Message(message) = self { Some(message) } else { None }
    }
}
