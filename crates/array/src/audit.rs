//! The audit log (X2): one JSON line for each request that changes who sees what, that cannot be undone, or that
//! hands out a secret; refused ones too. Append-only: the file is opened for appending and never read.

use crate::{clock::Clock, rules::when};
use serde::Serialize;
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use umbra_base::{Error, Result};

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Principal {
    /// User id of the peer, as the kernel says.
    pub uid: u32,
    /// Its process, where the kernel says.
    pub pid: Option<i32>,
}

impl Principal {
    /// The array itself, for what it does unasked.
    pub fn of_this_process() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Principal { uid: rustix::process::geteuid().as_raw(), pid: Some(pid) }
    }
}

/// The log.
#[derive(Debug)]
pub struct Audit {
    file: Mutex<File>,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    at: String,
    principal: Principal,
    action: &'a str,
    subject: &'a Value,
    result: &'a str,
}

impl Audit {
    /// Opens the log at `path`, or begins one.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|source| Error::io(format!("open {}", path.display()), source))?;
        Ok(Audit { file: Mutex::new(file), clock })
    }

    /// Records what was asked and how it ended. A log that cannot be written is an error of its own, and no reason to
    /// tell the requester that what was done was not.
    pub fn record(&self, principal: Principal, action: &str, subject: &Value, result: Result<&str, &Error>) {
        let result = result.unwrap_or_else(|error| error.code().as_str());
        let line = Line { v: 1, at: when::text(self.clock.unix()), principal, action, subject, result };
        if let Err(error) = self.append(&line) {
            tracing::error!(action, uid = principal.uid, error = %error, "audit log");
        }
        tracing::info!(action, uid = principal.uid, pid = principal.pid, %subject, result, "audit");
    }

    fn append(&self, line: &Line<'_>) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text)?;
        file.sync_data()
    }
}
