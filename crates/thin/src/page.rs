//! A metadata block as bytes: little-endian fields, its checksum, and its own number (dm-thin format section 3).
//!
//! What always holds: a page that [`verify`] let through has the checksum of its kind and stands where it says.

use crate::{ThinError, limits::META_BLOCK_BYTES};
use std::fmt;

/// The bytes of one metadata block.
pub type Page = [u8; META_BLOCK_BYTES];

/// Structure of a metadata block; the checksum's salt is its only tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Block 0, or the held copy.
    Superblock,
    /// Node of any B-tree.
    Node,
    /// Bitmap of either space map.
    Bitmap,
    /// Index block of the metadata space map.
    Index,
}

impl PageKind {
    const fn salt(self) -> u32 {
        match self {
            PageKind::Superblock => 160_774,
            PageKind::Node => 121_107,
            PageKind::Bitmap => 240_779,
            PageKind::Index => 160_478,
        }
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PageKind::Superblock => "superblock",
            PageKind::Node => "node",
            PageKind::Bitmap => "bitmap",
            PageKind::Index => "index block",
        })
    }
}

/// CRC-32C without the final inversion.
fn raw(bytes: &[u8]) -> u32 {
    !crc32c::crc32c(bytes)
}

/// Writes block number and checksum.
pub(crate) fn seal(page: &mut Page, kind: PageKind, block: u64) {
    put_u64(page, 8, block);
    let checksum = raw(&page[4..]) ^ kind.salt();
    put_u32(page, 0, checksum);
}

/// Checks block number and checksum.
pub(crate) fn verify(page: &Page, kind: PageKind, block: u64) -> Result<(), ThinError> {
    let found = get_u32(page, 0);
    let want = raw(&page[4..]) ^ kind.salt();
    if found != want {
        return Err(ThinError::Checksum { kind, block, found, want });
    }
    match get_u64(page, 8) {
        number if number == block => Ok(()),
        found => Err(ThinError::Misplaced { kind, block, found }),
    }
}

pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_reference() {
        assert_eq!(raw(b"123456789"), 0x1CF9_6D7C);
        assert_eq!(raw(&[0; 4092]), 0x58CD_A791);
        let mut bitmap = [0; META_BLOCK_BYTES];
        seal(&mut bitmap, PageKind::Bitmap, 9);
        assert_eq!(get_u32(&bitmap, 0), 0xDA43_AF11);
        let mut index = [0; META_BLOCK_BYTES];
        put_u64(&mut index, 16, 7);
        put_u32(&mut index, 24, 16311);
        put_u32(&mut index, 28, 9);
        seal(&mut index, PageKind::Index, 8);
        assert_eq!(get_u32(&index, 0), 0xF385_2FAD);
    }

    #[test]
    fn another_kind_another_place_and_any_changed_byte_are_noticed() {
        let mut page = [0; META_BLOCK_BYTES];
        seal(&mut page, PageKind::Node, 5);
        assert!(verify(&page, PageKind::Node, 5).is_ok());
        assert!(verify(&page, PageKind::Bitmap, 5).is_err());
        assert!(matches!(verify(&page, PageKind::Node, 6), Err(ThinError::Misplaced { found: 5, .. })));
        for at in [0, 4, 8, 100, 4095] {
            let mut bad = page;
            bad[at] ^= 0x10;
            assert!(verify(&bad, PageKind::Node, 5).is_err(), "byte {at}");
        }
    }
}
