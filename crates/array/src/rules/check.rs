//! The door for what comes from outside: names, labels, sizes, texts. Nothing behind it checks again.

use crate::{
    limits,
    model::{Labels, Reserve},
};
use umbra_base::{Error, ErrorCode, Result, limits as shared};
use uuid::Uuid;

/// A name of a LUN or host: printable ASCII without spaces, slashes and quotes, and not the text of an id.
pub fn name(what: &str, name: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::new(ErrorCode::InvalidArgument, format!("{name:?} cannot name a {what}: {why}"))
            .hint("use letters, digits and . _ - @ + :, beginning with a letter or digit, such as data-1"))
    };
    if name.is_empty() || name.len() > shared::NAME_BYTES {
        return refuse(&format!("names have 1 to {} bytes", shared::NAME_BYTES));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@+:".contains(&b)) {
        return refuse("it has a character that names cannot have");
    }
    if !name.as_bytes()[0].is_ascii_alphanumeric() {
        return refuse("its first character is neither letter nor digit");
    }
    if Uuid::try_parse(name).is_ok() {
        return refuse("it is the text of an id");
    }
    Ok(())
}

/// An iSCSI name (RFC 7143 section 4.2.7): `iqn.`, `eui.` or `naa.`, in lower case.
pub fn initiator(text: &str) -> Result<()> {
    let known = ["iqn.", "eui.", "naa."].iter().any(|kind| text.starts_with(kind));
    let clean = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:_".contains(&b));
    if known && clean && (5..=shared::ISCSI_NAME_BYTES).contains(&text.len()) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::InvalidArgument, format!("{text:?} is not the iSCSI name of an initiator"))
        .hint("write it as in /etc/iscsi/initiatorname.iscsi, such as iqn.1993-08.org.debian:01:ab12"))
}

/// Labels: bounded in number and size.
pub fn labels(labels: &Labels) -> Result<()> {
    let refuse = |why: String| Err(Error::new(ErrorCode::InvalidArgument, why));
    if labels.len() > shared::LABELS {
        return refuse(format!("{} labels are more than {}", labels.len(), shared::LABELS));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > limits::LABEL_BYTES || value.len() > limits::LABEL_BYTES {
            return refuse(format!(
                "label {key:?} or its value is empty or longer than {}",
                limits::LABEL_BYTES
            ));
        }
    }
    Ok(())
}

/// A LUN's size, rounded up to whole physical blocks.
pub fn size(bytes: u64) -> Result<u64> {
    let rounded = bytes.checked_next_multiple_of(limits::SIZE_STEP);
    match rounded {
        Some(rounded) if bytes > 0 && rounded <= umbra_base::size::MAX_BYTES => Ok(rounded),
        _ => Err(Error::new(ErrorCode::InvalidArgument, format!("a LUN cannot have {bytes} bytes"))
            .hint("sizes are 1 byte to 1 EiB, rounded up to 4096")),
    }
}

/// What a LUN of `size` bytes may count on, and what it may not exceed.
pub fn allowance(size: u64, reserve: Reserve, quota: Option<u64>) -> Result<()> {
    let reserved = reserve.bytes(size);
    let refuse = |why: String, hint: &str| Err(Error::new(ErrorCode::InvalidArgument, why).hint(hint));
    if reserved > size {
        return refuse(
            format!("a LUN of {size} bytes cannot reserve {reserved}"),
            "reserve its size at most: --reserve all",
        );
    }
    match quota {
        Some(quota) if quota == 0 || quota < reserved => refuse(
            format!("a quota of {quota} bytes is below the {reserved} bytes that are reserved"),
            "give a larger quota, or reserve less",
        ),
        _ => Ok(()),
    }
}

/// A free text that a host records.
pub fn text(what: &str, text: &str) -> Result<()> {
    at_most(what, text.len(), limits::TEXT_BYTES)
}

/// A number of things, or of bytes.
pub fn at_most(what: &str, count: usize, limit: usize) -> Result<()> {
    if count <= limit {
        return Ok(());
    }
    Err(Error::new(ErrorCode::InvalidArgument, format!("{what}: {count} is more than {limit}"))
        .param("limit", limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_confuse_are_refused() {
        for good in ["data", "data-1", "a", "0.x_y@z+w:v"] {
            name("lun", good).unwrap();
        }
        let long = "x".repeat(65);
        for bad in ["", " ", "a b", "a/b", "-a", "ä", "a\n", "3f2c0a3e-1111-2222-3333-444455556666", &long] {
            assert_eq!(name("lun", bad).unwrap_err().code(), ErrorCode::InvalidArgument, "{bad:?}");
        }
    }

    #[test]
    fn initiator_names_are_those_of_the_standard() {
        for good in ["iqn.2004-10.com.example:host-a", "eui.02004567a425678d", "naa.52004567ba64678d"] {
            initiator(good).unwrap();
        }
        for bad in ["", "iqn", "host-a", "iqn.2004-10.com.Example:a", "iqn.a b"] {
            assert_eq!(initiator(bad).unwrap_err().code(), ErrorCode::InvalidArgument, "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_whole_physical_blocks() {
        assert_eq!(size(1).unwrap(), 4096);
        assert_eq!(size(4096).unwrap(), 4096);
        assert_eq!(size(4097).unwrap(), 8192);
        for bad in [0, u64::MAX, (1 << 60) + 1] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nobody_reserves_more_than_there_can_be_or_than_the_quota_lets_it_take() {
        for (reserve, quota) in [
            (Reserve::Nothing, None),
            (Reserve::All, None),
            (Reserve::Bytes(8192), Some(8192)),
            (Reserve::Nothing, Some(1)),
        ] {
            allowance(8192, reserve, quota).unwrap();
        }
        for (reserve, quota) in
            [(Reserve::Bytes(8193), None), (Reserve::All, Some(8191)), (Reserve::Nothing, Some(0))]
        {
            let code = allowance(8192, reserve, quota).unwrap_err().code();
            assert_eq!(code, ErrorCode::InvalidArgument, "{reserve:?} {quota:?}");
        }
    }
}
