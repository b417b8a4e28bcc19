//! Sense data: SPC-4 section 4.5.

/// Status codes (SAM-5 section 5.3.1).
pub mod status {
    pub const GOOD: u8 = 0x00;
    pub const CHECK_CONDITION: u8 = 0x02;
    pub const BUSY: u8 = 0x08;
    pub const RESERVATION_CONFLICT: u8 = 0x18;
    pub const TASK_SET_FULL: u8 = 0x28;
    pub const TASK_ABORTED: u8 = 0x40;
}

/// How sense data is laid out (D_SENSE of the control mode page).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SenseFormat {
    #[default]
    Fixed,
    Descriptor,
}

/// Why a command ended with CHECK CONDITION, or a condition that waits to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    pub key: u8,
    /// Additional sense code and its qualifier.
    pub code: u8,
    pub qualifier: u8,
    /// INFORMATION field: an LBA or an offset, as the code defines it.
    pub information: Option<u64>,
    /// Field pointer of an illegal request: the byte of the CDB that is at fault.
    pub cdb_byte: Option<u16>,
}

const NO_SENSE: u8 = 0x0;
const MEDIUM_ERROR: u8 = 0x3;
const HARDWARE_ERROR: u8 = 0x4;
const ILLEGAL_REQUEST: u8 = 0x5;
const UNIT_ATTENTION: u8 = 0x6;
const DATA_PROTECT: u8 = 0x7;
const MISCOMPARE: u8 = 0xe;

macro_rules! senses {
    ($($name:ident = $key:ident $code:literal $qualifier:literal;)*) => {
        impl Sense {
            $(pub const $name: Sense = Sense { key: $key, code: $code, qualifier: $qualifier, information: None, cdb_byte: None };)*
        }
    };
}

// SPC-4 annex F.2.
senses! {
    NONE = NO_SENSE 0x00 0x00;
    WRITE_ERROR = MEDIUM_ERROR 0x0c 0x00;
    UNRECOVERED_READ_ERROR = MEDIUM_ERROR 0x11 0x00;
    INTERNAL_TARGET_FAILURE = HARDWARE_ERROR 0x44 0x00;
    PARAMETER_LIST_LENGTH_ERROR = ILLEGAL_REQUEST 0x1a 0x00;
    INVALID_OPERATION_CODE = ILLEGAL_REQUEST 0x20 0x00;
    LBA_OUT_OF_RANGE = ILLEGAL_REQUEST 0x21 0x00;
    INVALID_FIELD_IN_CDB = ILLEGAL_REQUEST 0x24 0x00;
    LOGICAL_UNIT_NOT_SUPPORTED = ILLEGAL_REQUEST 0x25 0x00;
    INVALID_FIELD_IN_PARAMETER_LIST = ILLEGAL_REQUEST 0x26 0x00;
    SAVING_NOT_SUPPORTED = ILLEGAL_REQUEST 0x39 0x00;
    INVALID_FIELD_IN_INFORMATION_UNIT = ILLEGAL_REQUEST 0x0e 0x03;
    POWER_ON = UNIT_ATTENTION 0x29 0x00;
    BUS_DEVICE_RESET = UNIT_ATTENTION 0x29 0x03;
    MODE_PARAMETERS_CHANGED = UNIT_ATTENTION 0x2a 0x01;
    CAPACITY_CHANGED = UNIT_ATTENTION 0x2a 0x09;
    COMMANDS_CLEARED = UNIT_ATTENTION 0x2f 0x00;
    INQUIRY_DATA_CHANGED = UNIT_ATTENTION 0x3f 0x03;
    REPORTED_LUNS_CHANGED = UNIT_ATTENTION 0x3f 0x0e;
    WRITE_PROTECTED = DATA_PROTECT 0x27 0x00;
    SOFTWARE_WRITE_PROTECTED = DATA_PROTECT 0x27 0x02;
    SPACE_ALLOCATION_FAILED = DATA_PROTECT 0x27 0x07;
    MISCOMPARE_DURING_VERIFY = MISCOMPARE 0x1d 0x00;
}

impl Sense {
    /// The same with an INFORMATION field.
    #[must_use]
    pub fn at(self, information: u64) -> Sense {
        Sense { information: Some(information), ..self }
    }

    /// The same, pointing at a byte of the CDB.
    #[must_use]
    pub fn in_byte(self, at: usize) -> Sense {
        Sense { cdb_byte: u16::try_from(at).ok(), ..self }
    }

    /// SENSE KEY SPECIFIC of an illegal request: SKSV, the fault is in the CDB, which byte (table 52).
    fn field_pointer(&self) -> Option<[u8; 3]> {
        let [high, low] = self.cdb_byte?.to_be_bytes();
        Some([0xc0, high, low])
    }

    /// The bytes.
    pub fn encode(&self, format: SenseFormat) -> Vec<u8> {
        match format {
            SenseFormat::Fixed => self.fixed(),
            SenseFormat::Descriptor => self.descriptor(),
        }
    }

    /// Section 4.5.3. An information value of more than 32 bits does not fit and is left out.
    fn fixed(&self) -> Vec<u8> {
        let mut bytes = vec![0; 18];
        bytes[0] = 0x70;
        bytes[2] = self.key;
        bytes[7] = 10;
        bytes[12] = self.code;
        bytes[13] = self.qualifier;
        if let Some(information) = self.information.and_then(|value| u32::try_from(value).ok()) {
            bytes[0] |= 0x80;
            bytes[3..7].copy_from_slice(&information.to_be_bytes());
        }
        if let Some(pointer) = self.field_pointer() {
            bytes[15..18].copy_from_slice(&pointer);
        }
        bytes
    }

    /// Section 4.5.2.
    fn descriptor(&self) -> Vec<u8> {
        let mut bytes = vec![0x72, self.key, self.code, self.qualifier, 0, 0, 0, 0];
        if let Some(information) = self.information {
            bytes.extend_from_slice(&[0x00, 0x0a, 0x80, 0x00]);
            bytes.extend_from_slice(&information.to_be_bytes());
        }
        if let Some([flags, high, low]) = self.field_pointer() {
            bytes.extend_from_slice(&[0x02, 0x06, 0, 0, flags, high, low, 0]);
        }
        bytes[7] = (bytes.len() - 8) as u8;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_carry_key_code_and_information() {
        let sense = Sense::MISCOMPARE_DURING_VERIFY.at(0x1234);
        let fixed = sense.encode(SenseFormat::Fixed);
        assert_eq!(fixed, [0xf0, 0, 0x0e, 0, 0, 0x12, 0x34, 10, 0, 0, 0, 0, 0x1d, 0, 0, 0, 0, 0]);
        let descriptor = sense.encode(SenseFormat::Descriptor);
        assert_eq!(descriptor[..8], [0x72, 0x0e, 0x1d, 0, 0, 0, 0, 12]);
        assert_eq!(descriptor[8..], [0, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34]);
    }

    #[test]
    fn an_illegal_field_is_pointed_at() {
        let sense = Sense::INVALID_FIELD_IN_CDB.in_byte(2);
        assert_eq!(sense.encode(SenseFormat::Fixed)[15..], [0xc0, 0, 2]);
        assert_eq!(sense.encode(SenseFormat::Descriptor)[7..], [8, 0x02, 0x06, 0, 0, 0xc0, 0, 2, 0]);
    }

    #[test]
    fn a_wide_information_value_is_left_out_of_fixed_sense() {
        let fixed = Sense::LBA_OUT_OF_RANGE.at(1 << 32).encode(SenseFormat::Fixed);
        assert_eq!(fixed[0], 0x70, "VALID must not be set");
    }
}
