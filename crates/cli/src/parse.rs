//! Values on the command line that clap does not know: sizes and labels.

use crate::args::Reserve;
use umbra_base::{limits, size};

/// `512M`, `10G`.
pub fn size_arg(text: &str) -> Result<u64, String> {
    size::parse_size(text).map_err(|error| match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    })
}

/// `all`, or a size.
pub fn reserve_arg(text: &str) -> Result<Reserve, String> {
    match text {
        "all" => Ok(Reserve::All),
        size => size_arg(size).map(Reserve::Bytes).map_err(|why| format!("{why}, or `all`")),
    }
}

/// `NAME=VALUE`.
pub fn label_arg(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() || name.len() > limits::NAME_BYTES {
        return Err(format!("a label's name has 1 to {} bytes", limits::NAME_BYTES));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_size_is_answered_with_what_a_size_looks_like() {
        assert!(size_arg("10X").unwrap_err().contains("512M"));
        assert_eq!(size_arg("10G"), Ok(10 << 30));
    }

    #[test]
    fn a_reservation_is_a_size_or_everything() {
        assert_eq!((reserve_arg("all"), reserve_arg("1G")), (Ok(Reserve::All), Ok(Reserve::Bytes(1 << 30))));
        assert!(reserve_arg("most").unwrap_err().contains("`all`"));
    }

    #[test]
    fn a_label_is_a_name_and_a_value() {
        assert_eq!(label_arg("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(label_arg("a").is_err() && label_arg("=b").is_err());
    }
}
