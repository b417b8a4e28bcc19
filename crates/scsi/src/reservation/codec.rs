//! The saved form of registrations and reservations, for APTPL.
//!
//! ```text
//!   0  "UMBRAPR1"    8  flags: 01h persists    9  type, 0: none    10  holder's index, FFFFh: all registrants
//!   12  PRGENERATION    16  count of registrants    18  registrants    then CRC-32C of all before
//!   registrant: key (8), port (2), flags: 01h all ports, name's length, ISID (6), name
//! ```
//!
//! Big-endian. What always holds: what is decoded keeps the invariants of [`Reservations`], or it is not decoded.

use super::{Held, Holder, InitiatorPort, Key, Kind, Nexus, Registrant, Reservations};
use crate::bytes::{array, be16, be32, be64};
use crate::limits::REGISTRANTS;

const MAGIC: [u8; 8] = *b"UMBRAPR1";
const HEADER: usize = 18;
/// A registrant without its name.
const REGISTRANT: usize = 18;
const CHECKSUM: usize = 4;
const PERSISTS: u8 = 0x01;
const ALL_PORTS: u8 = 0x01;
const ALL_HOLD: u16 = 0xffff;

/// Why saved bytes are not a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("no state of reservations, or one of a newer version")]
    Foreign,
    #[error("the checksum is wrong")]
    Checksum,
    #[error("the contents contradict themselves")]
    Contents,
}

impl Reservations {
    /// Whether the state survives a loss of power (APTPL): only then is it saved, else what was saved is removed.
    pub fn persists(&self) -> bool {
        self.persists
    }

    /// The bytes. SPC-2's reservation is not in them: it never survives anything.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let index = |holder: &Nexus| self.registrants.iter().position(|one| one.nexus == *holder);
        let (kind, holder) = match &self.held {
            None => (0, 0),
            Some(Held { kind, by: Holder::AllRegistrants }) => (*kind as u8, ALL_HOLD),
            Some(Held { kind, by: Holder::One(holder) }) => {
                (*kind as u8, index(holder).map_or(0, |at| at as u16))
            }
        };
        bytes.extend_from_slice(&[if self.persists { PERSISTS } else { 0 }, kind]);
        bytes.extend_from_slice(&holder.to_be_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&(self.registrants.len() as u16).to_be_bytes());
        self.registrants.iter().for_each(|one| one.encode(&mut bytes));
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The state that these bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Reservations, Unreadable> {
        if bytes.len() < HEADER + CHECKSUM || array(bytes, 0) != MAGIC {
            return Err(Unreadable::Foreign);
        }
        let (bytes, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        if crc32c::crc32c(bytes) != be32(checksum, 0) {
            return Err(Unreadable::Checksum);
        }
        let (header, rest) = bytes.split_at(HEADER);
        let state = decode_registrants(rest, usize::from(be16(header, 16))).ok_or(Unreadable::Contents)?;
        let held = state.decode_held(header).ok_or(Unreadable::Contents)?;
        let persists = header[8] & PERSISTS != 0;
        Ok(Reservations { generation: be32(header, 12), persists, held, ..state })
    }

    /// The reservation that the header says; `None` if it cannot be.
    fn decode_held(&self, header: &[u8]) -> Option<Option<Held>> {
        if header[9] == 0 {
            return Some(None);
        }
        let (kind, index) = (Kind::from_code(header[9])?, be16(header, 10));
        let by = match index {
            ALL_HOLD => Holder::AllRegistrants,
            index => Holder::One(self.registrants.get(usize::from(index))?.nexus.clone()),
        };
        let is_sound = kind.is_for_all() == (by == Holder::AllRegistrants) && !self.registrants.is_empty();
        is_sound.then_some(Some(Held { kind, by }))
    }
}

fn decode_registrants(mut bytes: &[u8], count: usize) -> Option<Reservations> {
    let mut state = Reservations::default();
    if count > REGISTRANTS {
        return None;
    }
    for _ in 0..count {
        let (one, rest) = Registrant::decode(bytes)?;
        if state.key_of(&one.nexus).is_some() {
            return None;
        }
        state.registrants.push(one);
        bytes = rest;
    }
    bytes.is_empty().then_some(state)
}

impl Registrant {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let initiator = &self.nexus.initiator;
        bytes.extend_from_slice(&self.key.get().to_be_bytes());
        bytes.extend_from_slice(&self.nexus.port.to_be_bytes());
        bytes.extend_from_slice(&[if self.all_ports { ALL_PORTS } else { 0 }, initiator.name().len() as u8]);
        bytes.extend_from_slice(&initiator.isid());
        bytes.extend_from_slice(initiator.name().as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<(Registrant, &[u8])> {
        let (head, rest) = bytes.split_at_checked(REGISTRANT)?;
        let (name, rest) = rest.split_at_checked(usize::from(head[11]))?;
        let initiator = InitiatorPort::new(std::str::from_utf8(name).ok()?, array(head, 12))?;
        let nexus = Nexus { initiator, port: be16(head, 8) };
        let one = Registrant { nexus, key: Key::new(be64(head, 0))?, all_ports: head[10] & ALL_PORTS != 0 };
        Some((one, rest))
    }
}
