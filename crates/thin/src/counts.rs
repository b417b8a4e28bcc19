//! Counts that a bitmap cannot say: those of three and more.
//!
//! Picture: pages of neighbours, because neighbours are counted together: the first write after a cut counts every block of
//! its leaf. A page is made with the first such count in it, and goes with the last.
//!
//! What always holds: zero stands for none, so that all pages together take little more than four bytes for each block
//! of the map, however the counts lie.

/// Blocks of a page.
const BLOCKS: usize = 512;

#[derive(Debug)]
struct CountPage {
    /// Counts that are not zero.
    used: usize,
    counts: [u32; BLOCKS],
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pages: Vec<Option<Box<CountPage>>>,
    len: u64,
}

fn place(block: u64) -> (usize, usize) {
    (block as usize / BLOCKS, block as usize % BLOCKS)
}

impl Counts {
    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn get(&self, block: u64) -> Option<u32> {
        let (page, at) = place(block);
        self.pages.get(page)?.as_deref().map(|page| page.counts[at]).filter(|count| *count > 0)
    }

    /// A count that is there, to be changed to another that is not zero.
    pub(crate) fn get_mut(&mut self, block: u64) -> Option<&mut u32> {
        let (page, at) = place(block);
        self.pages.get_mut(page)?.as_deref_mut().map(|page| &mut page.counts[at]).filter(|count| **count > 0)
    }

    /// Enters a count, or takes it out: zero. The block is one of the map.
    pub(crate) fn set(&mut self, block: u64, count: u32) {
        let (number, at) = place(block);
        if number >= self.pages.len() {
            self.pages.resize_with(number + 1, || None);
        }
        let slot = &mut self.pages[number];
        let page = slot.get_or_insert_with(|| Box::new(CountPage { used: 0, counts: [0; BLOCKS] }));
        let before = std::mem::replace(&mut page.counts[at], count);
        match (before > 0, count > 0) {
            (false, true) => (page.used, self.len) = (page.used + 1, self.len + 1),
            (true, false) => (page.used, self.len) = (page.used - 1, self.len - 1),
            _ => {}
        }
        if page.used == 0 {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_there_from_entering_to_taking_out_and_pages_with_them() {
        let mut counts = Counts::default();
        counts.set(5000, 0);
        for (block, count) in [(0, 3), (511, 4), (512, 5), (5000, u32::MAX)] {
            counts.set(block, count);
            assert_eq!(counts.get(block), Some(count));
        }
        assert_eq!((counts.len(), counts.get(1), counts.get(9999)), (4, None, None));
        *counts.get_mut(511).unwrap() += 1;
        assert!(counts.get_mut(510).is_none());
        counts.set(511, 6);
        assert_eq!((counts.get(511), counts.len()), (Some(6), 4));
        [0, 511, 512, 5000].iter().for_each(|block| counts.set(*block, 0));
        assert_eq!((counts.len(), counts.get(512)), (0, None));
        assert!(counts.pages.iter().all(Option::is_none));
    }
}
