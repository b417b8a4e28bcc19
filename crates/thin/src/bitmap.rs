//! Two-bit reference counts as they stand in a bitmap block (dm-thin format section 7.2). The bits are swapped: the
//! lower-numbered bit of a pair weighs 2, the higher 1.
//!
//! Picture: the bytes after the block's header, kept in memory exactly as on disk, so that writing one is a copy.

use crate::{
    ThinError,
    limits::{ENTRIES_PER_BITMAP, META_BLOCK_BYTES},
    page::{Page, PageKind, get_u64, seal, verify},
};
use std::cell::Cell;

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
    /// What [`Bitmap::summary`] found, while it holds: a commit asks all bitmaps, and has changed few.
    summary: Cell<Option<(u32, u32)>>,
}

impl Bitmap {
    pub(crate) fn zeroed() -> Self {
        Bitmap { bits: Box::new([0; BYTES]), summary: Cell::new(None) }
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
        self.summary.set(None);
        let shift = 2 * (entry % 4);
        let byte = &mut self.bits[entry / 4];
        *byte = *byte & !(3 << shift) | field << shift;
    }

    /// Whether all counts at and after `entry` are zero: beyond the end of the map they must be.
    pub(crate) fn is_clear_from(&self, entry: usize) -> bool {
        (entry..ENTRIES_PER_BITMAP as usize).all(|entry| self.get(entry) == Small::Exactly(0))
    }

    /// The counts, 32 to a word.
    fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.bits.chunks_exact(8).map(|bytes| get_u64(bytes, 0))
    }

    /// Which counts are above zero, 64 to a word: 255 words.
    pub(crate) fn used(&self) -> impl Iterator<Item = u64> + '_ {
        let used = |bytes| squeeze(occupied(get_u64(bytes, 0)));
        self.bits.chunks_exact(16).map(move |bytes| used(&bytes[..8]) | used(&bytes[8..]) << 32)
    }

    /// How many counts are three and more.
    pub(crate) fn many(&self) -> u64 {
        self.words().map(|pairs| u64::from((pairs & pairs >> 1 & LOWER).count_ones())).sum()
    }

    /// Entries above zero, and the first that is zero (the number of entries if none is).
    pub(crate) fn summary(&self) -> (u32, u32) {
        if let Some(known) = self.summary.get() {
            return known;
        }
        let found = self.sum_up();
        self.summary.set(Some(found));
        found
    }

    fn sum_up(&self) -> (u32, u32) {
        let (mut used, mut first_free) = (0, None);
        for (pairs, at) in self.words().zip((0..).step_by(32)) {
            let occupied = occupied(pairs);
            used += occupied.count_ones();
            if first_free.is_none() && occupied != LOWER {
                first_free = Some(at + (!occupied & LOWER).trailing_zeros() / 2);
            }
        }
        (used, first_free.unwrap_or(ENTRIES_PER_BITMAP as u32))
    }
}

/// The lower bit of each pair.
const LOWER: u64 = 0x5555_5555_5555_5555;

/// The lower bit of each pair that is not zero.
fn occupied(pairs: u64) -> u64 {
    (pairs | pairs >> 1) & LOWER
}

/// The lower bits of 32 pairs, side by side.
fn squeeze(pairs: u64) -> u64 {
    let bits = (pairs | pairs >> 1) & 0x3333_3333_3333_3333;
    let bits = (bits | bits >> 2) & 0x0F0F_0F0F_0F0F_0F0F;
    let bits = (bits | bits >> 4) & 0x00FF_00FF_00FF_00FF;
    let bits = (bits | bits >> 8) & 0x0000_FFFF_0000_FFFF;
    (bits | bits >> 16) & 0xFFFF_FFFF
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
    }

    #[test]
    fn words_say_what_the_entries_say() {
        let mut bitmap = Bitmap::zeroed();
        let count = |entry: usize| (entry as u32).wrapping_mul(0x9E37_79B9) >> 29;
        (0..16_000).for_each(|entry| bitmap.set(entry, count(entry)));
        let words: Vec<u64> = bitmap.used().collect();
        assert_eq!(words.len(), 255);
        for entry in 0..ENTRIES_PER_BITMAP as usize {
            let used = words[entry / 64] >> (entry % 64) & 1 == 1;
            assert_eq!(used, bitmap.get(entry) != Small::Exactly(0), "{entry}");
        }
        let all = || (0..16_000).map(count);
        assert_eq!(bitmap.many(), all().filter(|count| *count >= 3).count() as u64);
        assert_eq!(bitmap.summary().0 as usize, all().filter(|count| *count > 0).count());
        assert!(bitmap.is_clear_from(16_000) && !bitmap.is_clear_from(15_000));
    }
}
