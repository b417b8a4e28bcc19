//! I_T nexuses, and TransportIDs that name their initiator: SPC-4 section 7.6.4.
//!
//! What always holds: a name has 1 to 223 bytes and no comma or NUL, so every port fits its TransportID and nothing
//! else does.

use crate::bytes::be16;
use crate::limits::NAME_BYTES;
use std::sync::Arc;

/// An initiator port: an iSCSI name and an ISID (RFC 7143 section 4.4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InitiatorPort {
    name: Arc<str>,
    isid: [u8; 6],
}

/// An initiator port together with the target port through which it comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nexus {
    pub initiator: InitiatorPort,
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub port: u16,
}

impl InitiatorPort {
    /// A port, if its name is one.
    pub fn new(name: &str, isid: [u8; 6]) -> Option<InitiatorPort> {
        is_name(name).then(|| InitiatorPort { name: name.into(), isid })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn isid(&self) -> [u8; 6] {
        self.isid
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && !name.contains([',', '\0'])
}

/// Who a TransportID names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TransportId {
    /// Format 00b: every port of the initiator with this name.
    Device(String),
    /// Format 01b: one port.
    Port(InitiatorPort),
}

const ISCSI: u8 = 0x05;
const PORT_FORMAT: u8 = 0x40;
const SEPARATOR: &str = ",i,0x";
/// Bytes before the name.
const HEADER: usize = 4;
/// ADDITIONAL LENGTH is at least this, and a multiple of four.
const SHORTEST: usize = 20;
/// The longest name with separator, ISID and its end, as a multiple of four.
const LONGEST: usize = (NAME_BYTES + SEPARATOR.len() + 12 + 1).next_multiple_of(4);

impl TransportId {
    /// Takes one off a list. `None`: what stands there is none, or not all of it.
    pub fn take(list: &[u8]) -> Option<(TransportId, &[u8])> {
        let length = usize::from(be16(list.get(..HEADER)?, 2));
        if !(SHORTEST..=LONGEST).contains(&length) || length % 4 != 0 {
            return None;
        }
        let (bytes, rest) = list.split_at_checked(HEADER + length)?;
        let text = std::str::from_utf8(&bytes[HEADER..]).ok()?;
        let (text, padding) = text.split_once('\0')?;
        if !padding.bytes().all(|byte| byte == 0) {
            return None;
        }
        let id = match bytes[0] {
            ISCSI => is_name(text).then(|| TransportId::Device(text.to_owned()))?,
            byte if byte == PORT_FORMAT | ISCSI => {
                let (name, isid) = text.split_once(SEPARATOR)?;
                TransportId::Port(InitiatorPort::new(name, parse_isid(isid)?)?)
            }
            _ => return None,
        };
        Some((id, rest))
    }
}

/// Hexadecimal digits, at most twelve, in either case.
fn parse_isid(digits: &str) -> Option<[u8; 6]> {
    let plain = (1..=12).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = plain.then(|| u64::from_str_radix(digits, 16).ok())??;
    let [_, _, isid @ ..] = value.to_be_bytes();
    Some(isid)
}

/// The TransportID of a port, in format 01b.
pub(super) fn transport_id(port: &InitiatorPort) -> Vec<u8> {
    let isid = port.isid.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = format!("{}{SEPARATOR}{isid}\0", port.name);
    let length = text.len().next_multiple_of(4).max(SHORTEST);
    let mut bytes = vec![PORT_FORMAT | ISCSI, 0];
    bytes.extend_from_slice(&(length as u16).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(HEADER + length, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISID: [u8; 6] = [0x00, 0x02, 0x3d, 0x00, 0x00, 0x0a];

    #[test]
    fn a_transport_id_is_the_name_the_isid_and_zeroes() {
        let port = InitiatorPort::new("iqn.2024-01.test:a", ISID).unwrap();
        let bytes = transport_id(&port);
        assert_eq!(bytes[..4], [0x45, 0, 0, 36]);
        assert_eq!(&bytes[4..], b"iqn.2024-01.test:a,i,0x00023d00000a\0");
        assert_eq!(TransportId::take(&bytes), Some((TransportId::Port(port), &[][..])));
        let short = transport_id(&InitiatorPort::new("a", ISID).unwrap());
        assert_eq!((short[3], short.len()), (20, 24));
    }

    #[test]
    fn the_longest_name_fits_and_no_longer_one_is_a_name() {
        let name = "n".repeat(NAME_BYTES);
        let port = InitiatorPort::new(&name, ISID).unwrap();
        let bytes = transport_id(&port);
        assert_eq!(TransportId::take(&bytes).unwrap().0, TransportId::Port(port));
        for name in ["", "a,b", "a\0", &"n".repeat(NAME_BYTES + 1)] {
            assert_eq!(InitiatorPort::new(name, ISID), None, "{name:?}");
        }
    }

    #[test]
    fn what_is_no_iscsi_transport_id_is_not_taken() {
        let good = transport_id(&InitiatorPort::new("iqn.2024-01.test:a", ISID).unwrap());
        let broken = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            TransportId::take(&bytes).is_none()
        };
        assert!(broken(0, 0x46), "another protocol");
        assert!(broken(0, 0x85), "another format");
        assert!(broken(3, 35), "no multiple of four");
        assert!(broken(3, 16), "too short");
        assert!(broken(3, 40), "not all there");
        assert!(broken(39, b'x'), "no end");
        assert!(broken(30, b'g'), "no ISID");
        assert!(broken(4, 0xff), "no UTF-8");
        assert!(TransportId::take(&good[..3]).is_none());
    }

    #[test]
    fn without_an_isid_all_ports_of_the_name_are_meant() {
        let mut bytes = vec![0x05, 0, 0, 20];
        bytes.extend_from_slice(b"iqn.2024-01.test:a\0\0");
        let (id, rest) = TransportId::take(&bytes).unwrap();
        assert_eq!((id, rest.len()), (TransportId::Device("iqn.2024-01.test:a".to_owned()), 0));
    }
}
