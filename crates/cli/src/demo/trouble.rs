//! Why a step did not hold: a sentence. The demo matches on nothing; a person reads it.

use std::fmt;
use umbra_base::Error;

/// A check that did not hold, or something that could not be done.
#[derive(Debug, Clone)]
pub struct Trouble(String);

/// A step's result.
pub type Told<T> = Result<T, Trouble>;

impl Trouble {
    pub fn new(text: impl Into<String>) -> Self {
        Trouble(text.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble(error.chain())
    }
}

/// Demands that `held`, or says what did not.
pub fn demand(held: bool, otherwise: impl FnOnce() -> String) -> Told<()> {
    if held { Ok(()) } else { Err(Trouble(otherwise())) }
}

/// Adds what was being done to an error of the system.
pub fn doing<T>(what: impl fmt::Display, result: std::io::Result<T>) -> Told<T> {
    result.map_err(|source| Trouble(format!("{what}: {source}")))
}
