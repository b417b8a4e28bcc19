//! Additional header segments: RFC 7143 section 11.2.2. Only SCSI commands have any that mean something here.
//!
//! ```text
//!   AHSLength 2 | AHSType 1 | reserved 1, then what the type says: AHSLength bytes | padding to four bytes
//! ```

/// What the additional header segments of a SCSI command say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Additional {
    /// Bytes of the CDB beyond the sixteen in the basic header.
    pub extended_cdb: usize,
    /// Bytes that a bidirectional command expects to read.
    pub bidirectional_read: Option<u32>,
}

const EXTENDED_CDB: u8 = 1;
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;

impl Additional {
    /// Reads all segments; `None` for one that is malformed, unknown or there twice.
    pub fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut found = Additional::default();
        while let Some((head, rest)) = bytes.split_first_chunk::<3>() {
            let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
            let value = rest.get(1..len)?;
            match head[2] & 0x3f {
                EXTENDED_CDB if found.extended_cdb == 0 && !value.is_empty() => {
                    found.extended_cdb = value.len()
                }
                BIDIRECTIONAL_READ_LENGTH if found.bidirectional_read.is_none() => {
                    found.bidirectional_read = Some(u32::from_be_bytes(value.try_into().ok()?));
                }
                _ => return None,
            }
            bytes = rest.get((3 + len).next_multiple_of(4) - 3..)?;
        }
        bytes.is_empty().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_read_one_after_the_other() {
        let cdb = [0, 17, EXTENDED_CDB, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let read = [0, 5, BIDIRECTIONAL_READ_LENGTH, 0, 0, 1, 0, 2];
        let both = [cdb.as_slice(), &read].concat();
        let expected = Additional { extended_cdb: 16, bidirectional_read: Some(0x10002) };
        assert_eq!(Additional::parse(&both), Some(expected));
        assert_eq!(Additional::parse(&[]), Some(Additional::default()));
        let padded = [0, 2, EXTENDED_CDB, 0, 7, 0, 0, 0];
        assert_eq!(Additional::parse(&padded).map(|found| found.extended_cdb), Some(1));
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        for bad in [
            &[0, 5, BIDIRECTIONAL_READ_LENGTH, 0][..],
            &[0, 4, BIDIRECTIONAL_READ_LENGTH, 0, 0, 0, 0, 0],
            &[0, 5, 3, 0, 0, 0, 0, 0],
            &[0, 0, EXTENDED_CDB, 0],
            &[0, 1, EXTENDED_CDB, 0],
            &[0xff, 0xff, EXTENDED_CDB, 0],
            &[0, 2, EXTENDED_CDB, 0, 1],
            &[0, 5, 2, 0, 0, 0, 0, 1, 0, 5, 2, 0, 0, 0, 0, 1],
            &[0, 2, EXTENDED_CDB, 0, 1, 0, 0, 0, 0, 2, EXTENDED_CDB, 0, 1, 0, 0, 0],
            &[0, 0, 0, 0],
        ] {
            assert_eq!(Additional::parse(bad), None, "{bad:?}");
        }
    }
}
