//! Reference counts as the checker finds them: one byte per block, made per bitmap when first needed, and a table for
//! the few that pass 254. An image of N blocks can name at most 16 320 data blocks per bitmap block that it holds, so
//! memory stays below four times the image.

use crate::layout::BITMAP_ENTRIES;
use std::collections::{BTreeMap, HashMap};

const SATURATED: u8 = u8::MAX;

/// Counts of blocks `0..blocks`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    blocks: u64,
    chunks: Vec<Option<Box<[u8]>>>,
    large: HashMap<u64, u32>,
}

impl Counts {
    /// All zero. The caller has bounded `blocks` by what the image can hold.
    pub fn new(blocks: u64) -> Counts {
        let chunks = (0..blocks.div_ceil(BITMAP_ENTRIES)).map(|_| None).collect();
        Counts { blocks, chunks, large: HashMap::new() }
    }

    /// One more reference to `block`, if there is such a block.
    pub fn increment(&mut self, block: u64) {
        if block >= self.blocks {
            return;
        }
        let chunk = self.chunks[(block / BITMAP_ENTRIES) as usize]
            .get_or_insert_with(|| vec![0; BITMAP_ENTRIES as usize].into_boxed_slice());
        let small = &mut chunk[(block % BITMAP_ENTRIES) as usize];
        if *small < SATURATED - 1 {
            *small += 1;
        } else {
            *small = SATURATED;
            let large = self.large.entry(block).or_insert(u32::from(SATURATED) - 1);
            *large = large.saturating_add(1);
        }
    }

    /// References found to `block`.
    pub fn get(&self, block: u64) -> u32 {
        let chunk = self.chunks.get((block / BITMAP_ENTRIES) as usize).and_then(Option::as_ref);
        match chunk.map_or(0, |chunk| chunk[(block % BITMAP_ENTRIES) as usize]) {
            SATURATED => self.large.get(&block).copied().unwrap_or(u32::from(SATURATED)),
            small => u32::from(small),
        }
    }

    /// How many blocks there are with each count above zero.
    pub fn histogram(&self) -> BTreeMap<u32, u64> {
        let mut histogram = BTreeMap::new();
        for small in self.chunks.iter().flatten().flat_map(|chunk| chunk.iter()) {
            if (1..SATURATED).contains(small) {
                *histogram.entry(u32::from(*small)).or_insert(0) += 1;
            }
        }
        for large in self.large.values() {
            *histogram.entry(*large).or_insert(0) += 1;
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_past_one_byte() {
        let mut counts = Counts::new(BITMAP_ENTRIES + 5);
        for _ in 0..300 {
            counts.increment(BITMAP_ENTRIES + 4);
        }
        for _ in 0..254 {
            counts.increment(3);
        }
        counts.increment(BITMAP_ENTRIES + 5);
        assert_eq!(counts.get(BITMAP_ENTRIES + 4), 300);
        assert_eq!((counts.get(3), counts.get(0), counts.get(u64::MAX)), (254, 0, 0));
        assert_eq!(counts.histogram(), BTreeMap::from([(254, 1), (300, 1)]));
    }
}
