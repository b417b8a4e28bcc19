//! PERSISTENT RESERVE IN: the parameter data of SPC-4 section 6.15.
//!
//! What always holds: lengths are those of the whole data, whatever the allocation length.

use super::nexus::transport_id;
use super::{Holder, Kind, Registrant, Reservations};
use crate::bytes::put;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    Keys,
    Reservation,
    Capabilities,
    FullStatus,
}

impl Reservations {
    /// The parameter data.
    pub fn report(&self, report: Report, allocation: usize) -> Vec<u8> {
        let mut bytes = match report {
            Report::Keys => self.listed(|one, bytes| bytes.extend_from_slice(&one.key.get().to_be_bytes())),
            Report::Reservation => self.reservation(),
            Report::Capabilities => self.capabilities(),
            Report::FullStatus => self.listed(|one, bytes| self.full_status(one, bytes)),
        };
        bytes.truncate(allocation);
        bytes
    }

    /// PRGENERATION, ADDITIONAL LENGTH, and something of each registrant.
    fn listed(&self, describe: impl Fn(&Registrant, &mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = self.header();
        self.registrants.iter().for_each(|one| describe(one, &mut bytes));
        let following = (bytes.len() - 8) as u32;
        put(&mut bytes, 4, &following.to_be_bytes());
        bytes
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = self.generation.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 4]);
        bytes
    }

    /// Section 6.15.3: the key is zero where all registrants hold the reservation.
    fn reservation(&self) -> Vec<u8> {
        let mut bytes = self.header();
        let Some(held) = &self.held else { return bytes };
        let key = match &held.by {
            Holder::One(holder) => self.key_of(holder).map_or(0, |key| key.get()),
            Holder::AllRegistrants => 0,
        };
        bytes[7] = 16;
        bytes.extend_from_slice(&key.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, held.kind as u8, 0, 0]);
        bytes
    }

    /// Section 6.15.4.
    fn capabilities(&self) -> Vec<u8> {
        /// CRH, SIP_C, ATP_C, PTPL_C; RLR_C is zero.
        const CAPABLE: u8 = 0x10 | 0x08 | 0x04 | 0x01;
        const TYPES_VALID: u8 = 0x80;
        /// ALLOW COMMANDS 011b: TEST UNIT READY goes through all types; MODE SENSE and what else only looks goes
        /// through those that let others read.
        const ALLOWED: u8 = 0x30;
        let activated = u8::from(self.persists);
        let mut bytes = vec![0, 8, CAPABLE, TYPES_VALID | ALLOWED | activated];
        let types = Kind::ALL.iter().fold(0u16, |mask, kind| mask | type_bit(*kind));
        bytes.extend_from_slice(&types.to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes
    }

    /// Section 6.15.5: the full status descriptor.
    fn full_status(&self, one: &Registrant, bytes: &mut Vec<u8>) {
        const ALL_TG_PT: u8 = 0x02;
        const R_HOLDER: u8 = 0x01;
        let holds = self.held.as_ref().filter(|_| self.is_holder(&one.nexus));
        let all = if one.all_ports { ALL_TG_PT } else { 0 };
        let flags = all | holds.map_or(0, |_| R_HOLDER);
        let id = transport_id(&one.nexus.initiator);
        bytes.extend_from_slice(&one.key.get().to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, flags, holds.map_or(0, |held| held.kind as u8), 0, 0, 0, 0]);
        bytes.extend_from_slice(&one.nexus.port.to_be_bytes());
        bytes.extend_from_slice(&(id.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&id);
    }
}

/// The type's bit in PERSISTENT RESERVATION TYPE MASK.
fn type_bit(kind: Kind) -> u16 {
    match kind {
        Kind::WriteExclusive => 0x0200,
        Kind::ExclusiveAccess => 0x0800,
        Kind::WriteExclusiveRegistrantsOnly => 0x2000,
        Kind::ExclusiveAccessRegistrantsOnly => 0x4000,
        Kind::WriteExclusiveAllRegistrants => 0x8000,
        Kind::ExclusiveAccessAllRegistrants => 0x0001,
    }
}
