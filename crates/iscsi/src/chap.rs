//! CHAP (RFC 1994, RFC 7143 section 12.1.3): algorithms, secrets, challenges and responses, and binary values in text.

use md5::{Digest, Md5};
use sha2::Sha256;
use std::fmt;

/// Bytes of a challenge that we make.
pub const CHALLENGE_BYTES: usize = 16;
/// Bytes of a challenge that we take.
pub const CHALLENGE_MAX: usize = 1024;

/// A CHAP secret. Its `Debug` prints stars, and nothing else prints it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Secret(bytes.into())
    }

    /// The bytes, for whoever must write them to a protected file.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A fresh challenge, random; made by a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    pub id: u8,
    pub bytes: [u8; CHALLENGE_BYTES],
}

/// What a response is made with: CHAP_A, by the numbers of the PPP authentication algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// 5: the one that every implementation has.
    Md5,
    /// 7.
    Sha256,
}

impl Algorithm {
    /// All, as an offer: the better first.
    pub const OFFER: &str = "7,5";

    /// The value of CHAP_A.
    pub fn number(self) -> &'static str {
        match self {
            Algorithm::Md5 => "5",
            Algorithm::Sha256 => "7",
        }
    }

    /// The algorithm of a number that stands in CHAP_A.
    pub fn of(number: &str) -> Option<Self> {
        [Algorithm::Md5, Algorithm::Sha256].into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// Bytes of a response.
    pub fn response_len(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha256 => 32,
        }
    }

    /// The response to a challenge: the hash of identifier, secret, challenge (RFC 1994 section 4.1).
    pub fn response(self, id: u8, secret: &Secret, challenge: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 3] = [&[id], &secret.0, challenge];
        match self {
            Algorithm::Md5 => hash::<Md5>(parts),
            Algorithm::Sha256 => hash::<Sha256>(parts),
        }
    }
}

fn hash<H: Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
    let mut hash = H::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hash.finalize().to_vec()
}

/// The response to a challenge, by MD5.
pub fn response(id: u8, secret: &Secret, challenge: &[u8]) -> [u8; 16] {
    let response = Algorithm::Md5.response(id, secret, challenge);
    std::array::from_fn(|at| response[at])
}

/// Whether two byte strings are equal, in a time that depends on their lengths alone.
pub fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |seen, (a, b)| seen | (a ^ b));
    std::hint::black_box(difference) == 0 && a.len() == b.len()
}

/// A binary value in hex, as every implementation reads it.
pub fn encode_binary(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    "0x".chars().chain(digits).collect()
}

/// Reads a binary value in hex (`0x`) or base64 (`0b`); `None` when malformed or longer than `max` bytes (RFC 7143
/// section 6.1).
pub fn decode_binary(text: &str, max: usize) -> Option<Vec<u8>> {
    let (prefix, digits) = text.split_at_checked(2)?;
    let bytes = match prefix {
        "0x" | "0X" => decode_hex(digits)?,
        "0b" | "0B" => decode_base64(digits)?,
        _ => return None,
    };
    (bytes.len() <= max).then_some(bytes)
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let values: Option<Vec<u8>> = digits.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let mut values = values?;
    if values.len() % 2 == 1 {
        values.insert(0, 0);
    }
    Some(values.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// RFC 4648 section 4, with its padding or without.
fn decode_base64(digits: &str) -> Option<Vec<u8>> {
    let (padded, digits) = (digits.len(), digits.trim_end_matches('='));
    if digits.len() % 4 == 1 || padded - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for c in digits.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_the_hash_of_identifier_secret_and_challenge() {
        // printf '\x01secretchallenge' | md5sum
        let hash = response(1, &Secret::new("secret"), b"challenge");
        assert_eq!(encode_binary(&hash), "0x46e47770030e2b4e26a0db72a7efec00");
    }

    #[test]
    fn each_algorithm_has_its_number_and_length() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            assert_eq!(Algorithm::of(algorithm.number()), Some(algorithm));
            assert_eq!(algorithm.response(1, &Secret::new("s"), b"c").len(), algorithm.response_len());
        }
        assert_eq!(Algorithm::of("6"), None);
        // printf '\x01secretchallenge' | sha256sum
        let hash = Algorithm::Sha256.response(1, &Secret::new("secret"), b"challenge");
        assert_eq!(
            encode_binary(&hash),
            "0x2dfa0526f4764864b7c3c5bc6596bcead3d8dbd984f4fc1d9f330299f0beced4"
        );
    }

    #[test]
    fn binary_values_read_in_hex_and_base64() {
        assert_eq!(decode_binary("0x0aFf", 8), Some(vec![0x0a, 0xff]));
        assert_eq!(decode_binary("0xaff", 8), Some(vec![0x0a, 0xff]));
        assert_eq!(decode_binary("0bSGVsbG8=", 8), Some(b"Hello".to_vec()));
        assert_eq!(decode_binary(&encode_binary(b"round trip"), 16), Some(b"round trip".to_vec()));
        assert_eq!(decode_binary("0bSGVsbG8", 8), Some(b"Hello".to_vec()));
        for bad in ["", "0", "12", "0xzz", "0b*", "0x010203", "é", "0bA", "0bAA===", "0bA=A="] {
            assert_eq!(decode_binary(bad, 2), None, "{bad}");
        }
    }

    #[test]
    fn secrets_print_as_stars() {
        assert_eq!(format!("{:?}", Secret::new("hunter2hunter2")), "Secret(***)");
    }

    #[test]
    fn comparison_sees_each_difference() {
        assert!(equal_in_constant_time(b"abc", b"abc"));
        assert!(!equal_in_constant_time(b"abc", b"abd"));
        assert!(!equal_in_constant_time(b"abc", b"ab"));
        assert!(!equal_in_constant_time(b"", b"a"));
    }
}
