//! Errors on their way out. A refusal quotes what was asked, and what was asked may be megabytes; the trailers of an
//! answer that carry the error may not.

use tonic::Status;
use umbra_api::convert;
use umbra_base::{Error, ErrorCode};

/// Bytes of a message, and of a parameter.
const MESSAGE_BYTES: usize = 2048;
const PARAM_BYTES: usize = 512;

/// The status that carries `error`, shortened where that is needed. Faults of ours are logged here, once.
pub fn status(error: &Error) -> Status {
    if matches!(error.code(), ErrorCode::Internal | ErrorCode::Io | ErrorCode::Corrupt) {
        tracing::error!(error = ?error, "a request failed");
    }
    convert::status(&bounded(error))
}

fn bounded(error: &Error) -> Error {
    let short = Error::new(error.code(), cut(&error.chain(), MESSAGE_BYTES));
    let short = error.hint_text().into_iter().fold(short, |short, hint| short.hint(cut(hint, MESSAGE_BYTES)));
    error.params().iter().fold(short, |short, (name, value)| short.param(name, cut(value, PARAM_BYTES)))
}

fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_quotation_is_cut_and_a_short_error_is_left_alone() {
        let long = Error::new(ErrorCode::ObjectNotFound, "ä".repeat(100_000)).param("lun", "x".repeat(9_000));
        let short = bounded(&long);
        assert!(short.message().len() < MESSAGE_BYTES + 4 && short.params()["lun"].len() < PARAM_BYTES + 4);
        let fine = Error::new(ErrorCode::BadState, "no").hint("yes").because("that");
        assert_eq!(bounded(&fine).chain(), "no: that");
        assert_eq!(bounded(&fine).hint_text(), Some("yes"));
    }
}
