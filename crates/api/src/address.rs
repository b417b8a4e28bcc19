//! Where a management interface is reached.

use std::{fmt, path::PathBuf, str::FromStr};
use umbra_base::{Error, ErrorCode};

/// Where an array in its usual folder is reached, for clients and services that are told nothing else.
pub const DEFAULT_ARRAY: &str = "unix:/var/lib/umbra/array/array.sock";

/// The address of a service or an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket on this machine; the peer's credentials are the authentication (design X1).
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        Err(Error::new(ErrorCode::InvalidArgument, format!("{text:?} is not an address"))
            .hint("write unix:/absolute/path/of/the.sock"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_address_reads_with_and_without_its_scheme() {
        for text in ["unix:/run/a.sock", "/run/a.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), "unix:/run/a.sock");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "a.sock", "http://x", "unix:"] {
            assert_eq!(text.parse::<Address>().unwrap_err().code(), ErrorCode::InvalidArgument, "{text}");
        }
    }
}
