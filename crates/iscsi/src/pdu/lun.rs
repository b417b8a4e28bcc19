//! Logical unit numbers as the eight bytes of a PDU: SAM-5 section 4.7, single-level forms only.

/// A LUN field. Numbers below 256 are written in peripheral device addressing, others in flat space addressing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lun(pub u64);

impl Lun {
    /// Largest number that flat space addressing holds.
    pub const MAX_NUMBER: u16 = 0x3fff;

    /// The field for LUN `number`; a number above [`Lun::MAX_NUMBER`] has none.
    pub fn from_number(number: u16) -> Option<Lun> {
        match number {
            0..=0xff => Some(Lun(u64::from(number) << 48)),
            0x100..=Lun::MAX_NUMBER => Some(Lun(u64::from(0x4000 | number) << 48)),
            _ => None,
        }
    }

    /// The number that the field names, or `None` for forms that we never hand out (other levels, bus numbers,
    /// extended addressing): no LUN can be there.
    pub fn number(self) -> Option<u16> {
        if self.0 & 0x0000_ffff_ffff_ffff != 0 {
            return None;
        }
        let first = (self.0 >> 48) as u16;
        match first >> 14 {
            0 if first <= 0xff => Some(first),
            1 => Some(first & Lun::MAX_NUMBER),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_other_forms_name_nothing() {
        for number in [0, 1, 255, 256, 0x3fff] {
            assert_eq!(Lun::from_number(number).unwrap().number(), Some(number));
        }
        assert_eq!(Lun::from_number(0x4000), None);
        assert_eq!(Lun(0x4001 << 48).number(), Some(1), "flat space form of a small number");
        for field in [1, 0x0101 << 48, 0xc101_0000_0000_0000, 0x0001_0001_0000_0000] {
            assert_eq!(Lun(field).number(), None, "{field:#x}");
        }
    }
}
