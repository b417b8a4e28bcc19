//! The basic header segment as 48 bytes, and the macro that writes a PDU's layout down once for both directions.

/// The tag that stands for "none" in task tags and target transfer tags (RFC 7143 sections 11.2.1.8 and 11.7.4).
pub const RESERVED_TAG: u32 = 0xffff_ffff;

/// Opcodes (RFC 7143 section 11.2.1.2).
pub mod opcode {
    /// Bit of byte 0 that marks a request for immediate delivery.
    pub const IMMEDIATE: u8 = 0x40;
    pub const NOP_OUT: u8 = 0x00;
    pub const SCSI_COMMAND: u8 = 0x01;
    pub const TASK_MANAGEMENT: u8 = 0x02;
    pub const LOGIN: u8 = 0x03;
    pub const TEXT: u8 = 0x04;
    pub const DATA_OUT: u8 = 0x05;
    pub const LOGOUT: u8 = 0x06;
    pub const SNACK: u8 = 0x10;
    pub const NOP_IN: u8 = 0x20;
    pub const SCSI_RESPONSE: u8 = 0x21;
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    pub const LOGIN_RESPONSE: u8 = 0x23;
    pub const TEXT_RESPONSE: u8 = 0x24;
    pub const DATA_IN: u8 = 0x25;
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    pub const R2T: u8 = 0x31;
    pub const ASYNC_MESSAGE: u8 = 0x32;
    pub const REJECT: u8 = 0x3f;
}

/// A basic header segment, uninterpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bhs(pub [u8; Bhs::LEN]);

impl Bhs {
    /// Bytes of a basic header segment.
    pub const LEN: usize = 48;

    /// A header of zeroes but for its opcode.
    pub fn new(opcode: u8) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[0] = opcode;
        Bhs(bytes)
    }

    /// The opcode, without the immediate bit.
    pub fn opcode(&self) -> u8 {
        self.0[0] & 0x3f
    }

    /// Bytes of additional header segments that follow.
    pub fn ahs_len(&self) -> usize {
        usize::from(self.0[4]) * 4
    }

    /// Bytes of the data segment, without padding.
    pub fn data_len(&self) -> usize {
        usize::from(self.0[5]) << 16 | usize::from(self.0[6]) << 8 | usize::from(self.0[7])
    }

    /// Sets the length of the data segment; it has 24 bits.
    pub fn set_data_len(&mut self, len: usize) {
        debug_assert!(len < 1 << 24);
        self.0[5..8].copy_from_slice(&(len as u32).to_be_bytes()[1..]);
    }

    /// Sets StatSN, ExpCmdSN and MaxCmdSN, which every response has at the same place.
    pub(crate) fn set_numbers(&mut self, stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32) {
        stat_sn.put(self, 24);
        exp_cmd_sn.put(self, 28);
        max_cmd_sn.put(self, 32);
    }

    /// The initiator task tag, which every PDU has at the same place.
    pub fn task_tag(&self) -> u32 {
        u32::get(self, 16)
    }
}

/// A number that stands at a byte offset in a header, big-endian.
pub(crate) trait Field: Sized {
    fn get(bhs: &Bhs, at: usize) -> Self;
    fn put(self, bhs: &mut Bhs, at: usize);
}

macro_rules! number_fields {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn get(bhs: &Bhs, at: usize) -> Self {
                const LEN: usize = size_of::<$type>();
                let mut bytes = [0; LEN];
                bytes.copy_from_slice(&bhs.0[at..at + LEN]);
                <$type>::from_be_bytes(bytes)
            }
            fn put(self, bhs: &mut Bhs, at: usize) {
                bhs.0[at..at + size_of::<$type>()].copy_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
number_fields!(u8, u16, u32, u64);

impl<const N: usize> Field for [u8; N] {
    fn get(bhs: &Bhs, at: usize) -> Self {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&bhs.0[at..at + N]);
        bytes
    }
    fn put(self, bhs: &mut Bhs, at: usize) {
        bhs.0[at..at + N].copy_from_slice(&self);
    }
}

/// Declares PDUs: each field once, as `name: type @ offset`; `flag(mask)` is a bit, `bits(mask)` a small number in the
/// low bits of the mask's byte, `bits(mask >> shift)` one that stands higher.
macro_rules! pdus {
    (@type flag) => { bool };
    (@type bits) => { u8 };
    (@type $type:ty) => { $type };
    (@get $bhs:ident, $at:literal, flag, $mask:literal) => { $bhs.0[$at] & $mask != 0 };
    (@get $bhs:ident, $at:literal, bits, $mask:literal $(, $shift:literal)?) => { ($bhs.0[$at] & $mask) $(>> $shift)? };
    (@get $bhs:ident, $at:literal, $type:ty) => { <$type as $crate::pdu::bhs::Field>::get($bhs, $at) };
    (@put $bhs:ident, $at:literal, $value:expr, flag, $mask:literal) => { if $value { $bhs.0[$at] |= $mask } };
    (@put $bhs:ident, $at:literal, $value:expr, bits, $mask:literal $(, $shift:literal)?) => {
        $bhs.0[$at] |= ($value $(<< $shift)?) & $mask
    };
    (@put $bhs:ident, $at:literal, $value:expr, $type:ty) => { $crate::pdu::bhs::Field::put($value, &mut $bhs, $at) };

    ($($(#[$doc:meta])* $name:ident = $opcode:expr, {
        $($(#[$fdoc:meta])* $field:ident : $kind:tt $(($mask:literal $(>> $shift:literal)?))? @ $at:literal,)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name { $($(#[$fdoc])* pub $field: pdus!(@type $kind),)* }

        impl $name {
            /// The opcode of this PDU, without the immediate bit.
            pub const OPCODE: u8 = $opcode;

            /// Reads the fields out of a header with this opcode.
            pub fn parse(bhs: &Bhs) -> Self {
                $name { $($field: pdus!(@get bhs, $at, $kind $(, $mask $(, $shift)?)?),)* }
            }

            /// The header with these fields, lengths zero.
            pub fn build(&self) -> Bhs {
                let mut bhs = Bhs::new(Self::OPCODE);
                $(pdus!(@put bhs, $at, self.$field, $kind $(, $mask $(, $shift)?)?);)*
                bhs
            }
        }
    )*};
}
pub(crate) use pdus;

/// Declares the enum over PDUs of one direction.
macro_rules! direction {
    ($(#[$doc:meta])* $name:ident { $($pdu:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($pdu($pdu),)* }

        impl $name {
            /// The typed header, or `None` for an opcode that this direction does not have.
            pub fn parse(bhs: &Bhs) -> Option<Self> {
                match bhs.opcode() {
                    $($pdu::OPCODE => Some($name::$pdu($pdu::parse(bhs))),)*
                    _ => None,
                }
            }

            /// The header with these fields, lengths zero.
            pub fn build(&self) -> Bhs {
                match self { $($name::$pdu(pdu) => pdu.build(),)* }
            }
        }

        $(impl From<$pdu> for $name { fn from(pdu: $pdu) -> Self { $name::$pdu(pdu) } })*
    };
}
pub(crate) use direction;
