//! What commands print: one type per result, as JSON by serde and as text by [`Shape`](crate::output::Shape).
//!
//! The JSON is documented in `docs/json.md`. What always holds: fields are only added; ids are whole; times are RFC 3339
//! UTC with nanoseconds, sizes bytes, durations microseconds; what is absent is `null`, never an empty text or zero.

pub mod diff;
pub mod done;
pub mod host;
pub mod info;
pub mod lun;
pub mod pool;
pub mod set;
mod time;

use umbra_api::v1;

pub use time::rfc3339;

/// The name of what a request did.
pub fn outcome(outcome: i32) -> &'static str {
    match v1::Outcome::try_from(outcome) {
        Ok(v1::Outcome::Created) => "created",
        Ok(v1::Outcome::Changed) => "changed",
        Ok(v1::Outcome::Unchanged) => "unchanged",
        Ok(v1::Outcome::Deleted) => "deleted",
        Ok(v1::Outcome::Unspecified) | Err(_) => "done",
    }
}

/// `text`, unless it is empty.
pub fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
