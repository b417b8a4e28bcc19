//! The initiator's half of CHAP (RFC 7143 section 12.1.3, RFC 1994): the answer to one challenge.

use md5::{Digest, Md5};

/// Longest challenge that is answered (RFC 7143: at most 1024 bytes).
const CHALLENGE_BYTES: usize = 1024;

/// The CHAP_R value for the target's CHAP_I and CHAP_C, or `None` if those are malformed.
pub(super) fn response(identifier: &str, challenge: &str, secret: &[u8]) -> Option<String> {
    let identifier: u8 = parse_number(identifier)?.try_into().ok()?;
    let challenge =
        parse_binary(challenge).filter(|bytes| !bytes.is_empty() && bytes.len() <= CHALLENGE_BYTES)?;
    let mut hash = Md5::new();
    hash.update([identifier]);
    hash.update(secret);
    hash.update(&challenge);
    let mut text = String::from("0x");
    for byte in hash.finalize() {
        text.push_str(&format!("{byte:02x}"));
    }
    Some(text)
}

/// A number in decimal or hexadecimal (section 6.1).
pub(super) fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A binary value in hexadecimal or base64 (section 6.1).
fn parse_binary(text: &str) -> Option<Vec<u8>> {
    match text.get(..2)? {
        "0x" | "0X" => parse_hex(&text.as_bytes()[2..]),
        "0b" | "0B" => parse_base64(&text.as_bytes()[2..]),
        _ => None,
    }
}

fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let (odd, pairs) = digits.split_at(digits.len() % 2);
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    if let [digit] = odd {
        bytes.push(nibble(*digit)?);
    }
    for pair in pairs.chunks_exact(2) {
        bytes.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
    }
    Some(bytes)
}

fn parse_base64(digits: &[u8]) -> Option<Vec<u8>> {
    let sextet = |digit: u8| match digit {
        b'A'..=b'Z' => Some(u32::from(digit - b'A')),
        b'a'..=b'z' => Some(u32::from(digit - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(digit - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits = digits.strip_suffix(b"==").or_else(|| digits.strip_suffix(b"=")).unwrap_or(digits);
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for digit in digits {
        bits = (bits << 6 | sextet(*digit)?) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_values_read_in_both_forms() {
        assert_eq!(parse_binary("0x0aFF").unwrap(), [0x0a, 0xff]);
        assert_eq!(parse_binary("0xaff").unwrap(), [0x0a, 0xff]);
        assert_eq!(parse_binary("0bCv8=").unwrap(), [0x0a, 0xff]);
        assert_eq!(parse_binary("0bSGVsbG8h").unwrap(), b"Hello!");
        for text in ["", "x", "0xzz", "0b*", "12"] {
            assert_eq!(parse_binary(text), None, "{text}");
        }
    }

    #[test]
    fn the_answer_is_the_hash_of_identifier_secret_and_challenge() {
        // MD5 of the bytes 01 "secret" 02 03.
        let mut hash = Md5::new();
        hash.update(b"\x01secret\x02\x03");
        let expected: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(response("1", "0x0203", b"secret").unwrap(), format!("0x{expected}"));
        assert_eq!(response("256", "0x0203", b"secret"), None);
    }
}
