//! Key=value text of login and text PDUs: RFC 7143 section 6.1. Pairs are separated by NUL bytes.
//!
//! What always holds of a parsed list: keys and values are within [`limits`](crate::limits), keys are made of the
//! standard's characters, values are UTF-8.

use crate::limits::{TEXT_BYTES, TEXT_KEY_BYTES, TEXT_PAIRS, TEXT_VALUE_BYTES};

/// Why text is no key=value list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("text of {len} bytes, at most {TEXT_BYTES} are allowed")]
    TooLong { len: usize },
    #[error("more than {TEXT_PAIRS} pairs in one text")]
    TooManyPairs,
    #[error("a piece of text without '='")]
    NoEquals,
    #[error("key of {len} bytes, 1 to {TEXT_KEY_BYTES} are allowed")]
    KeyLength { len: usize },
    #[error("a key with a character outside A-Z a-z 0-9 . + - @ _ / #")]
    KeyCharacter,
    #[error("value of {len} bytes for {key}, at most {TEXT_VALUE_BYTES} are allowed")]
    ValueLength { key: String, len: usize },
    #[error("the value of {key} is not UTF-8")]
    ValueEncoding { key: String },
}

/// An ordered list of pairs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextList {
    pairs: Vec<(String, String)>,
}

impl TextList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads all pairs of a text (the data segments of one request joined, if it came in several PDUs).
    pub fn parse(bytes: &[u8]) -> Result<TextList, TextError> {
        if bytes.len() > TEXT_BYTES {
            return Err(TextError::TooLong { len: bytes.len() });
        }
        let mut list = TextList::new();
        for piece in bytes.split(|byte| *byte == 0).filter(|piece| !piece.is_empty()) {
            if list.pairs.len() == TEXT_PAIRS {
                return Err(TextError::TooManyPairs);
            }
            list.pairs.push(parse_pair(piece)?);
        }
        Ok(list)
    }

    /// The value of the first pair with this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether a key is there more than once.
    pub fn has_duplicates(&self) -> bool {
        let mut keys: Vec<&str> = self.pairs.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Adds a pair at the end.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.pairs.push((key.into(), value.into()));
    }

    /// All pairs in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The pairs as they stand in a data segment, each ended by NUL.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in &self.pairs {
            bytes.extend_from_slice(key.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        bytes
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for TextList {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        TextList { pairs: pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }
}

fn parse_pair(piece: &[u8]) -> Result<(String, String), TextError> {
    let at = piece.iter().position(|byte| *byte == b'=').ok_or(TextError::NoEquals)?;
    let (key, value) = (&piece[..at], &piece[at + 1..]);
    if key.is_empty() || key.len() > TEXT_KEY_BYTES {
        return Err(TextError::KeyLength { len: key.len() });
    }
    if !key.iter().all(|byte| byte.is_ascii_alphanumeric() || b".+-@_/#".contains(byte)) {
        return Err(TextError::KeyCharacter);
    }
    let key: String = key.iter().map(|byte| char::from(*byte)).collect();
    if value.len() > TEXT_VALUE_BYTES {
        return Err(TextError::ValueLength { key, len: value.len() });
    }
    match std::str::from_utf8(value) {
        Ok(value) => Ok((key, value.to_owned())),
        Err(_) => Err(TextError::ValueEncoding { key }),
    }
}
