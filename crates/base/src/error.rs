//! The one error shape that crosses crates and processes (design P1): a code to match on, a sentence that says what
//! was attempted, on what and why it failed, a hint that says what to do, parameters, and the cause.
//!
//! Crates with errors of their own (the pure cores) keep a typed enum and convert it here at their edge. What always
//! holds: the message never repeats the text of its source; whoever prints the error prints the chain once.

use crate::ErrorCode;
use std::{collections::BTreeMap, error::Error as StdError, fmt};

/// An error with a stable code.
pub struct Error(Box<Inner>);

struct Inner {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    params: BTreeMap<String, String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result with [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says `message`: lower case, no full stop, the values in it.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            code,
            message: message.into(),
            hint: None,
            params: BTreeMap::new(),
            source: None,
        }))
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// A named value for programs (`volume`, `writer`, `limit_ms`, ...).
    #[must_use]
    pub fn param(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.0.params.insert(name.to_owned(), value.to_string());
        self
    }

    /// The cause, printed after the message by the reporter.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// An I/O error on `what` (for example `write pool.data at 4096`).
    pub fn io(what: impl fmt::Display, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Error::new(ErrorCode::Io, what.to_string()).because(source)
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The sentence, without the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it, where there is something.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The named values.
    pub fn params(&self) -> &BTreeMap<String, String> {
        &self.0.params
    }

    /// The message and every cause below it, joined with `: `.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and every cause below it, joined with `: `.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        // Some errors of others print their own cause; it is told once.
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.0.code, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_each_cause_once() {
        let disk = std::io::Error::other("disk on fire");
        let error = Error::io("write pool.data at 4096", disk).hint("replace the disk").param("offset", 4096);
        assert_eq!(error.chain(), "write pool.data at 4096: disk on fire");
        assert_eq!(error.params()["offset"], "4096");
    }
}
