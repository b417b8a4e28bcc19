//! The control socket: one JSON request on a line, one JSON answer on a line, then it closes.

use super::State;
use crate::limits::{CONTROL_LINE_BYTES, CONTROL_TIME};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};
use umbra_base::{Error, ErrorCode, Result};

/// What can be asked of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Request {
    Status,
    /// Makes the block device; there already, it is left as it is but for its read-only mark.
    MakeDevice {
        read_only: bool,
    },
    /// Takes the block device down, keeps the file view.
    RemoveDevice,
    SetReadOnly {
        read_only: bool,
    },
    /// SYNCHRONIZE CACHE.
    Flush,
    /// Looks at size, identity and partitions again.
    Refresh,
    /// Ends the attachment, unless it is in use.
    Detach,
    /// Fails the device: whoever waits for it gets an error.
    Abandon {
        reason: String,
    },
}

/// An error on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireError {
    code: String,
    message: String,
    hint: Option<String>,
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> Self {
        let hint = error.hint_text().map(str::to_owned);
        WireError { code: error.code().as_str().to_owned(), message: error.chain(), hint }
    }
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Self {
        let error = Error::new(ErrorCode::from_text(&wire.code), wire.message);
        match wire.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Ok(Box<State>),
    Error(WireError),
}

impl Answer {
    pub(super) fn of(result: &Result<State>) -> Answer {
        match result {
            Ok(state) => Answer::Ok(Box::new(state.clone())),
            Err(error) => Answer::Error(error.into()),
        }
    }

    pub(super) fn into_result(self) -> Result<State> {
        match self {
            Answer::Ok(state) => Ok(*state),
            Answer::Error(error) => Err(error.into()),
        }
    }

    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Asks the attachment that listens at `socket`.
pub(super) fn ask(socket: &Path, request: &Request) -> Result<State> {
    let what = |error: io::Error| {
        Error::new(ErrorCode::Unreachable, format!("no attachment answers at {}", socket.display()))
            .because(error)
    };
    let mut stream = UnixStream::connect(socket).map_err(what)?;
    stream.set_read_timeout(Some(CONTROL_TIME)).map_err(what)?;
    stream.set_write_timeout(Some(CONTROL_TIME)).map_err(what)?;
    let mut line = serde_json::to_vec(request)
        .map_err(|e| Error::new(ErrorCode::Internal, "write a request").because(e))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(what)?;
    parse_answer(&read_line(stream).map_err(what)?)?.into_result()
}

pub(super) fn parse_answer(line: &[u8]) -> Result<Answer> {
    serde_json::from_slice(line).map_err(|error| {
        Error::new(ErrorCode::ProtocolError, "the attachment's answer makes no sense").because(error)
    })
}

/// One request from a peer, or why it is none.
pub(super) fn receive(stream: &UnixStream) -> Result<Request> {
    let what = |error: io::Error| Error::io("read a control request", error);
    stream.set_read_timeout(Some(CONTROL_TIME)).map_err(what)?;
    let line = read_line(stream.try_clone().map_err(what)?).map_err(what)?;
    serde_json::from_slice(&line)
        .map_err(|error| Error::new(ErrorCode::InvalidArgument, "not a control request").because(error))
}

fn read_line(stream: impl Read) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream).take(CONTROL_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}
