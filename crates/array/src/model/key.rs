//! KEYs: how people name things. A name, an id, or a unique prefix of an id; a name wins over a prefix.

use umbra_base::{Error, ErrorCode, Result};
use uuid::Uuid;

/// Shortest prefix of an id that is looked up; anything shorter hits too much by accident.
const PREFIX_MIN: usize = 4;

/// Something that a key can name.
pub trait Named {
    /// Its id.
    fn uuid(&self) -> Uuid;
    /// Its name, where it has one.
    fn name(&self) -> Option<&str>;
}

impl Named for super::Lun {
    fn uuid(&self) -> Uuid {
        self.id.0
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
}

impl Named for super::Host {
    fn uuid(&self) -> Uuid {
        self.id.0
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
}

impl Named for super::SnapshotSet {
    fn uuid(&self) -> Uuid {
        self.id.0
    }
    fn name(&self) -> Option<&str> {
        None
    }
}

/// The one thing of `all` that `key` names: `object_not_found` if none, `invalid_argument` if several.
pub fn look_up<'a, T: Named>(
    what: &str,
    key: &str,
    all: impl Iterator<Item = &'a T> + Clone,
) -> Result<&'a T> {
    if let Some(found) = all.clone().find(|item| item.name() == Some(key)) {
        return Ok(found);
    }
    let mut hits = all.filter(|item| is_prefix(key, item.uuid()));
    match (hits.next(), hits.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("{key:?} is the beginning of more than one {what}'s id"),
        )
        .hint("write more of the id")
        .param(what, key)),
        (None, _) => Err(not_found(what, key)),
    }
}

/// Nothing is known by `key`.
pub fn not_found(what: &str, key: &str) -> Error {
    Error::new(ErrorCode::ObjectNotFound, format!("no {what} {key:?} is known to this array"))
        .hint(format!("list the {what}s for what there is"))
        .param(what, key)
}

fn is_prefix(key: &str, id: Uuid) -> bool {
    let mut buffer = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut buffer);
    key.len() >= PREFIX_MIN && text.starts_with(&key.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(u128, &'static str);
    impl Named for Thing {
        fn uuid(&self) -> Uuid {
            Uuid::from_u128(self.0)
        }
        fn name(&self) -> Option<&str> {
            Some(self.1)
        }
    }

    fn check(key: &str) -> Result<&'static str> {
        static ALL: [Thing; 3] = [
            Thing(0xaaaa_1111 << 96, "data"),
            Thing(0xaaaa_2222 << 96, "wal"),
            Thing(0xbbbb_0000 << 96, "aaaa1"),
        ];
        look_up("lun", key, ALL.iter()).map(|thing| thing.1)
    }

    #[test]
    fn a_key_is_a_name_an_id_or_a_unique_prefix() {
        assert_eq!(check("data").unwrap(), "data");
        assert_eq!(check("aaaa2222-0000-0000-0000-000000000000").unwrap(), "wal");
        assert_eq!(check("AAAA2").unwrap(), "wal");
        assert_eq!(check("aaaa1").unwrap(), "aaaa1", "a name wins over a prefix");
    }

    #[test]
    fn what_names_nothing_or_several_is_refused() {
        assert_eq!(check("aaaa").unwrap_err().code(), ErrorCode::InvalidArgument);
        for key in ["", "aaa", "nothing", "cccc", "dat"] {
            assert_eq!(check(key).unwrap_err().code(), ErrorCode::ObjectNotFound, "{key}");
        }
    }
}
