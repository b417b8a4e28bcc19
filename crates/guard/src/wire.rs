//! Packets on a SOCK_SEQPACKET socket: one message each, bounded, never blocking the guard.

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use serde::{Serialize, de::DeserializeOwned};
use std::os::fd::AsFd;
use umbra_base::{Error, ErrorCode, Result};

use crate::limits::MESSAGE_BYTES;

/// What came from a peer.
#[derive(Debug)]
pub(crate) enum Received<T> {
    Message(T),
    /// The peer has closed its end, or died.
    Closed,
    /// Nothing now (only on a socket that does not block).
    Nothing,
}

pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd, flags: RecvFlags) -> Result<Received<T>> {
    let mut buffer = vec![0u8; MESSAGE_BYTES];
    let length = loop {
        match recv(&socket, &mut buffer, flags | RecvFlags::TRUNC) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET | Errno::PIPE) | Ok((_, 0)) => return Ok(Received::Closed),
            Err(error) => return Err(Error::io("receive from the guard's socket", error)),
            Ok((_, length)) => break length,
        }
    };
    let bytes = buffer.get(..length).ok_or_else(|| too_long(length))?;
    let message = serde_json::from_slice(bytes).map_err(|source| {
        Error::new(ErrorCode::ProtocolError, "a message on the guard's socket").because(source)
    })?;
    Ok(Received::Message(message))
}

pub(crate) fn transmit<T: Serialize>(socket: impl AsFd, message: &T, flags: SendFlags) -> Result<()> {
    let bytes = serde_json::to_vec(message).map_err(|source| {
        Error::new(ErrorCode::Internal, "encode a message for the guard").because(source)
    })?;
    if bytes.len() > MESSAGE_BYTES {
        return Err(too_long(bytes.len()));
    }
    loop {
        match send(&socket, &bytes, flags | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(Error::io("send on the guard's socket", error)),
            Ok(_) => return Ok(()),
        }
    }
}

fn too_long(bytes: usize) -> Error {
    let text = format!("a message of {bytes} bytes for the guard, at most {MESSAGE_BYTES} are allowed");
    Error::new(ErrorCode::LimitReached, text)
}
