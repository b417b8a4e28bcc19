//! Sizes as people write them (`10G`, `512M`) and as Umbra prints them. All are binary units and whole bytes.

use crate::{Error, ErrorCode, Result};

/// The largest size that any part of Umbra accepts: 2^60 bytes (1 EiB), below every 64-bit sector arithmetic.
pub const MAX_BYTES: u64 = 1 << 60;

const UNITS: [(char, u32); 6] = [('B', 0), ('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50)];

/// Reads `4096`, `512M`, `10G`, `10GiB` as bytes; 1 up to [`MAX_BYTES`].
pub fn parse_size(text: &str) -> Result<u64> {
    let refuse = || {
        Error::new(ErrorCode::InvalidArgument, format!("{text:?} is not a size"))
            .hint("write a whole number with B, K, M, G, T or P, such as 512M or 10G")
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_suffix("iB").unwrap_or(unit).to_ascii_uppercase();
    let shift = match unit.as_str() {
        "" => 0,
        unit => UNITS.iter().find(|(name, _)| unit == name.to_string()).ok_or_else(refuse)?.1,
    };
    let number: u64 = number.parse().map_err(|_| refuse())?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if (1..=MAX_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err(refuse()),
    }
}

/// `bytes` in the largest unit that keeps it readable: `1.5 GiB`, `64 KiB`, `12 B`.
pub fn format_size(bytes: u64) -> String {
    for (name, shift) in UNITS.iter().skip(1).rev() {
        let unit = 1u64 << shift;
        if bytes >= unit {
            let whole = bytes / unit;
            let tenth = (bytes % unit) * 10 / unit;
            return if tenth == 0 {
                format!("{whole} {name}iB")
            } else {
                format!("{whole}.{tenth} {name}iB")
            };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [("1", 1), ("512M", 512 << 20), ("10G", 10 << 30), ("3KiB", 3072), ("7b", 7)] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_a_hint() {
        for text in ["", "0", "G", "-1", "1.5G", "10X", "99999999999999999999", "2048P"] {
            assert!(parse_size(text).unwrap_err().hint_text().is_some(), "{text}");
        }
    }

    #[test]
    fn printed_sizes_are_short() {
        assert_eq!(format_size(1536 << 20), "1.5 GiB");
        assert_eq!(format_size(12), "12 B");
    }
}
