//! The one reporter of errors (design P1): three lines on stderr, or with `--json` one object on stdout.
//!
//! What always holds: the whole chain of causes is printed once, and the exit status is that of the code.

use crate::output::{self, Format, Output};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
};
use umbra_base::{Error, ErrorCode, ExitCode};

/// An error as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Failure {
    pub error: FailureBody,
}

#[derive(Debug, Serialize)]
pub struct FailureBody {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    pub params: BTreeMap<String, String>,
    pub retryable: bool,
    pub exit: u8,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Failure {
            error: FailureBody {
                code: error.code().as_str(),
                message: error.chain(),
                hint: error.hint_text().map(str::to_owned),
                params: error.params().clone(),
                retryable: error.code().retryable(),
                exit: error.code().exit() as u8,
            },
        }
    }
}

/// Tells of `error` and says with which status to end.
pub fn report(format: Format, error: &Error) -> ExitCode {
    let told = match format {
        Format::Json => output::json(&mut io::stdout().lock(), &Failure::from(error)),
        Format::Text => text(&mut io::stderr().lock(), error),
    };
    drop(told); // nobody reads: the exit status still tells
    error.code().exit()
}

/// The same, where an [`Output`] is at hand.
pub fn report_to(output: Output, error: &Error) -> ExitCode {
    report(output.format, error)
}

fn text(out: &mut dyn Write, error: &Error) -> io::Result<()> {
    writeln!(out, "error: {}", printable(&error.chain()))?;
    writeln!(out, "  code: {}{}", error.code(), retry_note(error.code()))?;
    match error.hint_text() {
        Some(hint) => writeln!(out, "  hint: {}", printable(hint)),
        None => Ok(()),
    }
}

/// Names and paths come from anywhere: what would steer a terminal is shown, not sent.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

fn retry_note(code: ErrorCode) -> &'static str {
    if code.retryable() { " (trying again may succeed)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Error {
        Error::new(ErrorCode::WriterTimeout, "freeze writer \"postgres\"")
            .hint("ask again")
            .because("no answer")
    }

    #[test]
    fn a_person_sees_what_failed_why_and_what_to_do() {
        let mut out = Vec::new();
        text(&mut out, &sample()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "error: freeze writer \"postgres\": no answer\n  code: writer_timeout (trying again may succeed)\n  hint: ask again\n"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut out = Vec::new();
        text(&mut out, &Error::new(ErrorCode::Io, "open /tmp/\u{1b}[31m")).unwrap();
        assert!(String::from_utf8(out).unwrap().starts_with("error: open /tmp/\\u{1b}[31m\n"));
    }

    #[test]
    fn every_code_ends_with_its_exit_status_in_both_formats() {
        for code in ErrorCode::ALL {
            let shown = Failure::from(&Error::new(*code, "x"));
            assert_eq!(shown.error.exit, code.exit() as u8, "{code}");
            assert_eq!(shown.error.retryable, shown.error.exit == 3, "{code}");
        }
    }
}
