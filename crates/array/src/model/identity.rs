//! SCSI identity: page 83h designators and serial number, from a counter that never goes back (I2).
//!
//! Each is the array's own part and the counter's value, so that no two LUNs of one array ever share one, and two
//! arrays share one only if 28 random bits meet.

use serde::{Deserialize, Serialize};
use umbra_base::ArrayId;
use uuid::{Builder, Uuid};

/// What SCSI calls a LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScsiIdentity {
    /// The array's part.
    array: ArrayId,
    /// The counter's value, from 1.
    sequence: u32,
}

impl ScsiIdentity {
    /// The identity number `sequence` of `array`.
    pub fn new(array: ArrayId, sequence: u32) -> Self {
        ScsiIdentity { array, sequence }
    }

    /// The counter's value.
    pub fn sequence(self) -> u32 {
        self.sequence
    }

    /// The NAA designator, locally assigned (SPC-4 section 7.8.6.6.3): 3h, 28 bits of the array, 32 of the counter.
    pub fn naa(self) -> u64 {
        let array = u64::from(self.array_part() & 0x0fff_ffff);
        0x3 << 60 | array << 32 | u64::from(self.sequence)
    }

    /// The unit serial number of page 80h.
    pub fn serial(self) -> String {
        format!("{:08x}{:08x}", self.array_part(), self.sequence)
    }

    /// The UUID designator (RFC 9562 version 8: our own layout).
    pub fn uuid(self) -> Uuid {
        let mut bytes = *self.array.0.as_bytes();
        bytes[12..].copy_from_slice(&self.sequence.to_be_bytes());
        Builder::from_custom_bytes(bytes).into_uuid()
    }

    fn array_part(self) -> u32 {
        let bytes = self.array.0.as_bytes();
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn identities_of_one_array_all_differ_and_are_locally_assigned() {
        let array = ArrayId(Uuid::from_u128(0xfedc_ba98_7654_4321_8000_0000_0000_0001));
        let all: Vec<_> = (1..=1000).map(|n| ScsiIdentity::new(array, n)).collect();
        assert_eq!(all.iter().map(|id| id.naa()).collect::<BTreeSet<_>>().len(), 1000);
        assert_eq!(all.iter().map(|id| id.serial()).collect::<BTreeSet<_>>().len(), 1000);
        assert_eq!(all.iter().map(|id| id.uuid()).collect::<BTreeSet<_>>().len(), 1000);
        assert!(all.iter().all(|id| id.naa() >> 60 == 3));
    }
}
