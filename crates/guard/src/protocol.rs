//! What the service and the guard say to each other: JSON, one message a packet, each with the id of its request.
//!
//! Id 0 is the guard's own: [`Event`]s that nobody asked for.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use umbra_base::{Error, ErrorCode};

use crate::FileSystem;

/// A command that undoes a writer's freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The writer's name.
    pub name: String,
    /// Program (an absolute path) and arguments. May be run more than once, and in any state of the writer.
    pub argv: Vec<String>,
    /// Environment, on top of a bare PATH.
    pub env: Vec<(String, String)>,
    /// After this time it is killed with all that it started.
    pub limit_ms: u64,
}

/// What came of a thaw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thawed {
    /// From the order to freeze until the last file system was thawed.
    pub held_ms: u64,
    /// What is worth noting, such as a file system that stalled, or was thawed by somebody else.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Request {
    Mount { path: PathBuf },
    Undo { undo: Undo },
    Prepare { set: String, runtime: PathBuf, hold_ms: u64 },
    Sync,
    Arm { undo: String, within_ms: u64 },
    Freeze,
    Attest,
    Thaw,
    RunUndo { undo: String },
    Finish,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Reply {
    Done,
    Prepared { file_systems: Vec<FileSystem> },
    Thawed(Thawed),
    Failed(Failure),
}

/// An error on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
    pub params: Vec<(String, String)>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            code: error.code().as_str().to_owned(),
            message: error.chain(),
            hint: error.hint_text().map(str::to_owned),
            params: error.params().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let mut error = Error::new(ErrorCode::from_text(&failure.code), failure.message);
        if let Some(hint) = failure.hint {
            error = error.hint(hint);
        }
        failure.params.iter().fold(error, |error, (name, value)| error.param(name, value))
    }
}

/// A message with the id of its request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Numbered<T> {
    pub id: u64,
    pub body: T,
}
