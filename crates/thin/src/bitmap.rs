//! Two-bit reference counts as they stand in a bitmap block (dm-thin format section 7.2). The bits are swapped: the
//! lower-numbered bit of a pair weighs 2, the higher 1.
//!
//! Picture: the bytes after the block's header, kept in memory exactly as on disk, so that writing one is a copy.

use crate::{
    ThinError,
    limits::{ENTRIES_PER_BITMAP, META_BLOCK_BYTES},
    page::{Page, PageKind, seal, verify},
};

const HEADER: usize = 16;
const BYTES: usize = META_BLOCK_BYTES - HEADER;

/// A count as a bitmap can say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Small {
    Exactly(u32),
    /// Three or more: the overflow tree knows.
    Many,
}

/// The counts of one bitmap block.
#[derive(Debug, Clone)]
pub(crate) struct Bitmap {
    bits: Box<[u8; BYTES]>,
}

impl Bitmap {
    pub(crate) fn zeroed() -> Self {
        Bitmap { bits: Box::new([0; BYTES]) }
    }

    pub(crate) fn decode(page: &Page, block: u64) -> Result<Self, ThinError> {
        verify(page, PageKind::Bitmap, block)?;
        let mut bitmap = Bitmap::zeroed();
        bitmap.bits.copy_from_slice(&page[HEADER..]);
        Ok(bitmap)
    }

    pub(crate) fn encode(&self, block: u64) -> Box<Page> {
        let mut page = Box::new([0; META_BLOCK_BYTES]);
        page[HEADER..].copy_from_slice(&self.bits[..]);
        seal(&mut page, PageKind::Bitmap, block);
        page
    }

    pub(crate) fn get(&self, entry: usize) -> Small {
        match self.bits[entry / 4] >> (2 * (entry % 4)) & 3 {
            0 => Small::Exactly(0),
            2 => Small::Exactly(1),
            1 => Small::Exactly(2),
            _ => Small::Many,
        }
    }

    /// Stores a count; 3 and more alike.
    pub(crate) fn set(&mut self, entry: usize, count: u32) {
        let field = match count {
            0 => 0,
            1 => 2,
            2 => 1,
            _ => 3,
        };
        let shift = 2 * (entry % 4);
        let byte = &mut self.bits[entry / 4];
        *byte = *byte & !(3 << shift) | field << shift;
    }

    /// Forgets what stands at and after `entries`: beyond the end of the map it must be zero.
    pub(crate) fn truncate(&mut self, entries: usize) {
        for entry in entries..ENTRIES_PER_BITMAP as usize {
            self.set(entry, 0);
        }
    }

    /// Entries above zero, and the first that is zero (the number of entries if none is).
    pub(crate) fn summary(&self) -> (u32, u32) {
        let mut used = 0;
        let mut first_free = None;
        for (at, byte) in self.bits.iter().enumerate() {
            let occupied = (byte | byte >> 1) & 0x55;
            used += occupied.count_ones();
            if first_free.is_none() && occupied != 0x55 {
                first_free = Some(at as u32 * 4 + (!occupied & 0x55).trailing_zeros() / 2);
            }
        }
        (used, first_free.unwrap_or(ENTRIES_PER_BITMAP as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_pack_as_in_the_reference() {
        let mut bitmap = Bitmap::zeroed();
        for (entry, count) in [1, 2, 5, 0, 1].into_iter().enumerate() {
            bitmap.set(entry, count);
        }
        assert_eq!(bitmap.bits[..3], [0x36, 0x02, 0]);
        assert_eq!(bitmap.get(1), Small::Exactly(2));
        assert_eq!(bitmap.get(2), Small::Many);
        assert_eq!(bitmap.summary(), (4, 3));
    }

    #[test]
    fn a_full_bitmap_has_no_first_free_entry() {
        let mut bitmap = Bitmap::zeroed();
        (0..ENTRIES_PER_BITMAP as usize).for_each(|entry| bitmap.set(entry, 1));
        assert_eq!(bitmap.summary(), (16320, 16320));
        bitmap.truncate(100);
        assert_eq!(bitmap.summary(), (100, 100));
    }
}
