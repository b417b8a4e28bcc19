//! Running the file systems' own tools: no terminal, no input, their output kept for the error message.

use crate::limits::TOOL_OUTPUT_BYTES;
use std::{
    ffi::OsStr,
    io,
    process::{Command, Stdio},
};
use umbra_base::{Error, ErrorCode, Result};

/// What a tool said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
}

/// Runs `program`; `package` is what to install where it is missing.
pub(crate) fn run(program: &str, package: &str, args: &[&OsStr]) -> Result<Ended> {
    let output = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            let failed = Error::io(format!("run {program}"), io::Error::new(error.kind(), error.to_string()));
            if error.kind() == io::ErrorKind::NotFound {
                failed.hint(format!("apt-get install {package}"))
            } else {
                failed
            }
        })?;
    let mut bytes = output.stdout;
    bytes.extend_from_slice(&output.stderr);
    let start = bytes.len().saturating_sub(TOOL_OUTPUT_BYTES);
    let text = String::from_utf8_lossy(&bytes[start..]).trim().to_owned();
    Ok(Ended { code: output.status.code(), output: text })
}

impl Ended {
    /// An error that shows the tool's words.
    pub(crate) fn error(&self, what: impl std::fmt::Display) -> Error {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"));
        Error::new(
            ErrorCode::IdentityFailed,
            format!("{what} ended with {code}: {}", last_lines(&self.output)),
        )
    }
}

/// The end of a text, on one line.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("; ")
}
