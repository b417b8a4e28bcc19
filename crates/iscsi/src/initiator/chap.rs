//! The initiator's half of CHAP (RFC 7143 section 12.1.3): the answer to one challenge, as text, and the check of the target's
//! answer to ours.

use super::config::Mutual;
use crate::chap::{Algorithm, CHALLENGE_MAX, Secret, decode_binary, encode_binary, equal_in_constant_time};

/// The CHAP_R value for the target's CHAP_I and CHAP_C, or `None` if those are malformed, or are the challenge that we mean
/// to send ourselves.
pub(super) fn answer(
    algorithm: Algorithm,
    identifier: &str,
    challenge: &str,
    secret: &[u8],
    mutual: Option<&Mutual>,
) -> Option<String> {
    let identifier: u8 = parse_number(identifier)?.try_into().ok()?;
    let challenge = decode_binary(challenge, CHALLENGE_MAX).filter(|bytes| !bytes.is_empty())?;
    if mutual.is_some_and(|mutual| mutual.challenge.bytes == *challenge) {
        return None;
    }
    Some(encode_binary(&algorithm.response(identifier, &Secret::new(secret), &challenge)))
}

/// Whether a target's CHAP_R answers our challenge.
pub(super) fn is_right(algorithm: Algorithm, mutual: &Mutual, answer: &str) -> bool {
    let Mutual { secret, challenge } = mutual;
    let expected = algorithm.response(challenge.id, secret, &challenge.bytes);
    decode_binary(answer, expected.len()).is_some_and(|given| equal_in_constant_time(&given, &expected))
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
        let answer =
            |identifier, challenge, secret| answer(Algorithm::Md5, identifier, challenge, secret, None);
        assert!(answer("1", "0x0203", b"secret").is_some());
        assert_eq!(answer("0x01", "0x0203", b"secret"), answer("1", "0x0203", b"secret"));
        for (identifier, challenge) in [("256", "0x01"), ("x", "0x01"), ("1", "0x"), ("1", "01"), ("1", "")] {
            assert_eq!(answer(identifier, challenge, b"secret"), None, "{identifier} {challenge}");
        }
    }
}
