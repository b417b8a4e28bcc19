//! An error of a part, told as an error of the whole (P1): the same code and hint, with what was attempted in front.

use std::fmt::Display;
use umbra_base::Error;

/// What went wrong while doing `what`.
pub(crate) fn during(what: impl Display, inner: impl Into<Error>) -> Error {
    let inner = inner.into();
    let outer = Error::new(inner.code(), format!("{what}: {}", inner.chain()));
    match inner.hint_text().map(str::to_owned) {
        Some(hint) => outer.hint(hint),
        None => outer,
    }
}
