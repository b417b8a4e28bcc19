//! Fields of a command descriptor block, big-endian (SPC-4 section 4.3).

use crate::sense::Sense;

/// A CDB of up to 16 bytes, as the transport brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cdb<'a>(pub &'a [u8; 16]);

impl Cdb<'_> {
    pub fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    pub fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    pub fn u24(&self, at: usize) -> u32 {
        u32::from_be_bytes([0, self.0[at], self.0[at + 1], self.0[at + 2]])
    }

    pub fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) << 16 | u32::from(self.u16(at + 2))
    }

    pub fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4))
    }

    pub fn has(&self, at: usize, mask: u8) -> bool {
        self.0[at] & mask != 0
    }

    /// Refuses a CDB with any of these bits: a feature that we do not offer.
    pub fn refuse(&self, at: usize, mask: u8) -> Result<(), Sense> {
        if self.has(at, mask) { Err(Sense::INVALID_FIELD_IN_CDB.in_byte(at)) } else { Ok(()) }
    }
}

/// A reply cut to the allocation length (SPC-4 section 4.3.5.6).
pub(crate) fn truncated(mut bytes: Vec<u8>, allocation: usize) -> Vec<u8> {
    bytes.truncate(allocation);
    bytes
}
