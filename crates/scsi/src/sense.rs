//! Sense data: SPC-4 section 4.5.
//!
//! What always holds: a value that a format has no room for is left out, never cut; the encoding is at most 252 bytes.

/// Status codes (SAM-5 section 5.3.1).
pub mod status {
    pub const GOOD: u8 = 0x00;
    pub const CHECK_CONDITION: u8 = 0x02;
    pub const CONDITION_MET: u8 = 0x04;
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
    /// COMMAND-SPECIFIC INFORMATION field: of a copy, the segment at which it ended (SPC-4 section 5.17).
    pub command_specific: Option<u32>,
    /// SENSE KEY SPECIFIC field.
    pub specific: Specific,
}

/// SENSE KEY SPECIFIC field (section 4.5.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specific {
    /// SKSV is zero.
    Nothing,
    /// Field pointer of an illegal request: the byte that is at fault, and the leftmost bit of the field in it.
    Field { place: Place, byte: u16, bit: Option<u8> },
    /// Segment pointer of an aborted copy: the byte of the segment descriptor that is at fault.
    Segment { byte: u16 },
    /// Progress of what keeps the unit busy, in 65536ths.
    Progress(u16),
}

/// What a field pointer counts from (C/D).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Cdb,
    ParameterList,
}

const NO_SENSE: u8 = 0x0;
const NOT_READY: u8 = 0x2;
const MEDIUM_ERROR: u8 = 0x3;
const HARDWARE_ERROR: u8 = 0x4;
const ILLEGAL_REQUEST: u8 = 0x5;
const UNIT_ATTENTION: u8 = 0x6;
const DATA_PROTECT: u8 = 0x7;
const COPY_ABORTED: u8 = 0xa;
const ABORTED_COMMAND: u8 = 0xb;
const MISCOMPARE: u8 = 0xe;

macro_rules! senses {
    ($($name:ident = $key:ident $code:literal $qualifier:literal;)*) => {
        impl Sense {
            $(pub const $name: Sense = Sense::plain($key, $code, $qualifier);)*
        }
    };
}

// SPC-4 annex F.2.
senses! {
    NONE = NO_SENSE 0x00 0x00;
    LOGICAL_UNIT_BECOMING_READY = NOT_READY 0x04 0x01;
    WRITE_ERROR = MEDIUM_ERROR 0x0c 0x00;
    UNRECOVERED_READ_ERROR = MEDIUM_ERROR 0x11 0x00;
    INTERNAL_TARGET_FAILURE = HARDWARE_ERROR 0x44 0x00;
    OPERATION_IN_PROGRESS = ILLEGAL_REQUEST 0x00 0x16;
    INVALID_FIELD_IN_INFORMATION_UNIT = ILLEGAL_REQUEST 0x0e 0x03;
    PARAMETER_LIST_LENGTH_ERROR = ILLEGAL_REQUEST 0x1a 0x00;
    INVALID_OPERATION_CODE = ILLEGAL_REQUEST 0x20 0x00;
    LBA_OUT_OF_RANGE = ILLEGAL_REQUEST 0x21 0x00;
    UNSUPPORTED_TOKEN_TYPE = ILLEGAL_REQUEST 0x23 0x01;
    REMOTE_TOKEN_NOT_SUPPORTED = ILLEGAL_REQUEST 0x23 0x02;
    TOKEN_UNKNOWN = ILLEGAL_REQUEST 0x23 0x04;
    TOKEN_CORRUPT = ILLEGAL_REQUEST 0x23 0x05;
    TOKEN_REVOKED = ILLEGAL_REQUEST 0x23 0x06;
    TOKEN_EXPIRED = ILLEGAL_REQUEST 0x23 0x07;
    TOKEN_CANCELLED = ILLEGAL_REQUEST 0x23 0x08;
    TOKEN_DELETED = ILLEGAL_REQUEST 0x23 0x09;
    INVALID_TOKEN_LENGTH = ILLEGAL_REQUEST 0x23 0x0a;
    INVALID_FIELD_IN_CDB = ILLEGAL_REQUEST 0x24 0x00;
    LOGICAL_UNIT_NOT_SUPPORTED = ILLEGAL_REQUEST 0x25 0x00;
    INVALID_FIELD_IN_PARAMETER_LIST = ILLEGAL_REQUEST 0x26 0x00;
    INVALID_RELEASE = ILLEGAL_REQUEST 0x26 0x04;
    TOO_MANY_TARGET_DESCRIPTORS = ILLEGAL_REQUEST 0x26 0x06;
    UNSUPPORTED_TARGET_DESCRIPTOR = ILLEGAL_REQUEST 0x26 0x07;
    TOO_MANY_SEGMENT_DESCRIPTORS = ILLEGAL_REQUEST 0x26 0x08;
    UNSUPPORTED_SEGMENT_DESCRIPTOR = ILLEGAL_REQUEST 0x26 0x09;
    INLINE_DATA_LENGTH_EXCEEDED = ILLEGAL_REQUEST 0x26 0x0b;
    SAVING_NOT_SUPPORTED = ILLEGAL_REQUEST 0x39 0x00;
    INSUFFICIENT_RESOURCES = ILLEGAL_REQUEST 0x55 0x03;
    INSUFFICIENT_REGISTRATION_RESOURCES = ILLEGAL_REQUEST 0x55 0x04;
    POWER_ON = UNIT_ATTENTION 0x29 0x00;
    POWER_ON_OCCURRED = UNIT_ATTENTION 0x29 0x01;
    BUS_DEVICE_RESET = UNIT_ATTENTION 0x29 0x03;
    DEVICE_INTERNAL_RESET = UNIT_ATTENTION 0x29 0x04;
    NEXUS_LOSS = UNIT_ATTENTION 0x29 0x07;
    MODE_PARAMETERS_CHANGED = UNIT_ATTENTION 0x2a 0x01;
    RESERVATIONS_PREEMPTED = UNIT_ATTENTION 0x2a 0x03;
    RESERVATIONS_RELEASED = UNIT_ATTENTION 0x2a 0x04;
    REGISTRATIONS_PREEMPTED = UNIT_ATTENTION 0x2a 0x05;
    ASYMMETRIC_ACCESS_CHANGED = UNIT_ATTENTION 0x2a 0x06;
    CAPACITY_CHANGED = UNIT_ATTENTION 0x2a 0x09;
    COMMANDS_CLEARED = UNIT_ATTENTION 0x2f 0x00;
    THIN_PROVISIONING_THRESHOLD = UNIT_ATTENTION 0x38 0x07;
    INQUIRY_DATA_CHANGED = UNIT_ATTENTION 0x3f 0x03;
    REPORTED_LUNS_CHANGED = UNIT_ATTENTION 0x3f 0x0e;
    WRITE_PROTECTED = DATA_PROTECT 0x27 0x00;
    SOFTWARE_WRITE_PROTECTED = DATA_PROTECT 0x27 0x02;
    SPACE_ALLOCATION_FAILED = DATA_PROTECT 0x27 0x07;
    COMMAND_CLEARED = ABORTED_COMMAND 0x2f 0x02;
    COPY_FAILED = COPY_ABORTED 0x00 0x00;
    UNREACHABLE_COPY_TARGET = COPY_ABORTED 0x08 0x04;
    THIRD_PARTY_DEVICE_FAILURE = COPY_ABORTED 0x0d 0x01;
    INSUFFICIENT_RESOURCES_FOR_ROD = COPY_ABORTED 0x55 0x0c;
    INSUFFICIENT_RESOURCES_FOR_TOKEN = COPY_ABORTED 0x55 0x0d;
    MISCOMPARE_DURING_VERIFY = MISCOMPARE 0x1d 0x00;
}

impl Sense {
    const fn plain(key: u8, code: u8, qualifier: u8) -> Sense {
        Sense { key, code, qualifier, information: None, command_specific: None, specific: Specific::Nothing }
    }

    /// The same with an INFORMATION field.
    #[must_use]
    pub fn at(self, information: u64) -> Sense {
        Sense { information: Some(information), ..self }
    }

    /// The same, pointing at a byte of the CDB.
    #[must_use]
    pub fn in_byte(self, at: usize) -> Sense {
        self.points(Place::Cdb, at)
    }

    /// The same, pointing at a byte of the parameter list.
    #[must_use]
    pub fn in_list(self, at: usize) -> Sense {
        self.points(Place::ParameterList, at)
    }

    /// The same, pointing at this bit of the byte that it points at.
    #[must_use]
    pub fn in_bit(self, bit: u8) -> Sense {
        match self.specific {
            Specific::Field { place, byte, .. } => {
                Sense { specific: Specific::Field { place, byte, bit: Some(bit & 0x07) }, ..self }
            }
            _ => self,
        }
    }

    /// The same, ended by this segment of a copy.
    #[must_use]
    pub fn in_segment(self, number: usize) -> Sense {
        Sense { command_specific: u16::try_from(number).ok().map(u32::from), ..self }
    }

    /// The same, pointing at a byte of the segment's descriptor.
    #[must_use]
    pub fn in_segment_byte(self, at: u16) -> Sense {
        Sense { specific: Specific::Segment { byte: at }, ..self }
    }

    /// The same with a progress indication.
    #[must_use]
    pub fn in_progress(self, share: u16) -> Sense {
        Sense { specific: Specific::Progress(share), ..self }
    }

    /// Whether another sense tells the same condition, wherever it points.
    pub fn is_same_condition(&self, other: &Sense) -> bool {
        (self.key, self.code, self.qualifier) == (other.key, other.code, other.qualifier)
    }

    /// A place beyond what the pointer can say is left out.
    fn points(self, place: Place, at: usize) -> Sense {
        match u16::try_from(at) {
            Ok(byte) => Sense { specific: Specific::Field { place, byte, bit: None }, ..self },
            Err(_) => self,
        }
    }

    /// SENSE KEY SPECIFIC with SKSV, if there is any (tables 52 to 55).
    fn key_specific(&self) -> Option<[u8; 3]> {
        const SKSV: u8 = 0x80;
        const IN_CDB: u8 = 0x40;
        const SEGMENT_DESCRIPTOR: u8 = 0x20;
        const BIT_VALID: u8 = 0x08;
        let (flags, value) = match self.specific {
            Specific::Nothing => return None,
            Specific::Field { place, byte, bit } => {
                let place = if place == Place::Cdb { IN_CDB } else { 0 };
                (place | bit.map_or(0, |bit| BIT_VALID | bit), byte)
            }
            Specific::Segment { byte } => (SEGMENT_DESCRIPTOR, byte),
            Specific::Progress(share) => (0, share),
        };
        let [high, low] = value.to_be_bytes();
        Some([SKSV | flags, high, low])
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
        if let Some(specific) = self.command_specific {
            bytes[8..12].copy_from_slice(&specific.to_be_bytes());
        }
        if let Some(specific) = self.key_specific() {
            bytes[15..18].copy_from_slice(&specific);
        }
        bytes
    }

    /// Section 4.5.2.
    fn descriptor(&self) -> Vec<u8> {
        const INFORMATION: u8 = 0x00;
        const COMMAND_SPECIFIC: u8 = 0x01;
        const KEY_SPECIFIC: u8 = 0x02;
        const VALID: u8 = 0x80;
        let mut bytes = vec![0x72, self.key, self.code, self.qualifier, 0, 0, 0, 0];
        if let Some(information) = self.information {
            bytes.extend_from_slice(&[INFORMATION, 0x0a, VALID, 0]);
            bytes.extend_from_slice(&information.to_be_bytes());
        }
        if let Some(specific) = self.command_specific {
            bytes.extend_from_slice(&[COMMAND_SPECIFIC, 0x0a, 0, 0]);
            bytes.extend_from_slice(&u64::from(specific).to_be_bytes());
        }
        if let Some([flags, high, low]) = self.key_specific() {
            bytes.extend_from_slice(&[KEY_SPECIFIC, 0x06, 0, 0, flags, high, low, 0]);
        }
        bytes[7] = (bytes.len() - 8) as u8;
        bytes
    }
}

/// How a command ends that is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// CHECK CONDITION.
    Check(Sense),
    /// RESERVATION CONFLICT, which has no sense data.
    ReservationConflict,
}

impl Refusal {
    /// The status that the command ends with.
    pub fn status(&self) -> u8 {
        match self {
            Refusal::Check(_) => status::CHECK_CONDITION,
            Refusal::ReservationConflict => status::RESERVATION_CONFLICT,
        }
    }
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Refusal::Check(sense)
    }
}

#[cfg(test)]
mod tests;
