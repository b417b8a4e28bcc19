//! The initiator's half of CHAP (RFC 7143 section 12.1.3): the answer to one challenge, as text.

use crate::chap::{Secret, decode_binary, encode_binary, response};

/// Longest challenge that is answered (RFC 7143: at most 1024 bytes).
const CHALLENGE_BYTES: usize = 1024;

/// The CHAP_R value for the target's CHAP_I and CHAP_C, or `None` if those are malformed.
pub(super) fn answer(identifier: &str, challenge: &str, secret: &[u8]) -> Option<String> {
    let identifier: u8 = parse_number(identifier)?.try_into().ok()?;
    let challenge = decode_binary(challenge, CHALLENGE_BYTES).filter(|bytes| !bytes.is_empty())?;
    Some(encode_binary(&response(identifier, &Secret::new(secret), &challenge)))
}

/// A number in decimal or hexadecimal (section 6.1).
pub(super) fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_challenges_have_no_answer() {
        assert!(answer("1", "0x0203", b"secret").is_some());
        assert_eq!(answer("0x01", "0x0203", b"secret"), answer("1", "0x0203", b"secret"));
        for (identifier, challenge) in [("256", "0x01"), ("x", "0x01"), ("1", "0x"), ("1", "01"), ("1", "")] {
            assert_eq!(answer(identifier, challenge, b"secret"), None, "{identifier} {challenge}");
        }
    }
}
