//! Reference counts as the checker finds them: one byte per block in pages made when first needed, and a table for the
//! few that pass 254.
//!
//! An image of N blocks can describe at most 16 320 data blocks for each of them, which bounds all pages to some four
//! times the image. A page is small, so that a sparse image, whose size is only claimed, costs no more than the
//! mappings that really stand in it: at most a page for each.

use std::collections::{BTreeMap, HashMap};

const SATURATED: u8 = u8::MAX;
/// Blocks of a page, and pages of a chunk: together the blocks that one bitmap describes.
const PAGE: u64 = 255;
const PAGES: u64 = 64;
const CHUNK: u64 = PAGE * PAGES;

type Page = Option<Box<[u8; PAGE as usize]>>;
type Chunk = Option<Box<[Page; PAGES as usize]>>;

/// Counts of blocks `0..blocks`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    blocks: u64,
    chunks: Vec<Chunk>,
    large: HashMap<u64, u32>,
}

impl Counts {
    /// All zero. The caller has bounded `blocks` by what the image can hold.
    pub fn new(blocks: u64) -> Counts {
        let chunks = (0..blocks.div_ceil(CHUNK)).map(|_| None).collect();
        Counts { blocks, chunks, large: HashMap::new() }
    }

    /// One more reference to `block`, if there is such a block.
    pub fn increment(&mut self, block: u64) {
        if block >= self.blocks {
            return;
        }
        let chunk = self.chunks[(block / CHUNK) as usize]
            .get_or_insert_with(|| Box::new([const { None }; PAGES as usize]));
        let page = chunk[(block % CHUNK / PAGE) as usize].get_or_insert_with(|| Box::new([0; PAGE as usize]));
        let small = &mut page[(block % PAGE) as usize];
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
        let chunk = self.chunks.get((block / CHUNK) as usize).and_then(Option::as_ref);
        let page = chunk.and_then(|chunk| chunk[(block % CHUNK / PAGE) as usize].as_ref());
        match page.map_or(0, |page| page[(block % PAGE) as usize]) {
            SATURATED => self.large.get(&block).copied().unwrap_or(u32::from(SATURATED)),
            small => u32::from(small),
        }
    }

    /// Whether any block is referenced more than once.
    pub fn any_shared(&self) -> bool {
        self.pages().any(|page| page.iter().any(|count| *count > 1))
    }

    /// How many blocks there are with each count above zero.
    pub fn histogram(&self) -> BTreeMap<u32, u64> {
        let mut small = [0u64; SATURATED as usize + 1];
        self.pages().flatten().for_each(|count| small[usize::from(*count)] += 1);
        let counted = (1..u32::from(SATURATED)).map(|count| (count, small[count as usize]));
        let mut histogram: BTreeMap<u32, u64> = counted.filter(|(_, blocks)| *blocks > 0).collect();
        for large in self.large.values() {
            *histogram.entry(*large).or_insert(0) += 1;
        }
        histogram
    }

    fn pages(&self) -> impl Iterator<Item = &[u8; PAGE as usize]> {
        self.chunks.iter().flatten().flat_map(|chunk| chunk.iter().flatten()).map(|page| &**page)
    }
}

const _: () = assert!(CHUNK == crate::layout::BITMAP_ENTRIES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_past_one_byte() {
        let mut counts = Counts::new(CHUNK + 5);
        for _ in 0..300 {
            counts.increment(CHUNK + 4);
        }
        for _ in 0..254 {
            counts.increment(3);
        }
        counts.increment(CHUNK + 5);
        assert_eq!(counts.get(CHUNK + 4), 300);
        assert_eq!((counts.get(3), counts.get(0), counts.get(u64::MAX)), (254, 0, 0));
        assert_eq!(counts.histogram(), BTreeMap::from([(254, 1), (300, 1)]));
    }

    #[test]
    fn neighbours_across_pages_are_counted_apart() {
        let mut counts = Counts::new(2 * CHUNK);
        let blocks = [0, PAGE - 1, PAGE, CHUNK - 1, CHUNK, 2 * CHUNK - 1];
        blocks.into_iter().for_each(|block| counts.increment(block));
        assert!(!counts.any_shared());
        assert_eq!(counts.histogram(), BTreeMap::from([(1, blocks.len() as u64)]));
        counts.increment(PAGE);
        assert!(counts.any_shared());
        assert_eq!((counts.get(PAGE), counts.get(PAGE + 1), counts.get(PAGE - 1)), (2, 0, 1));
    }
}
