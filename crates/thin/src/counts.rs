//! Counts that a bitmap cannot say, those of three and more, and which of them differ from the records on disk.
//!
//! Picture: pages of neighbours, because neighbours are counted together: the first write after a cut counts every block of
//! its leaf. A page is made with the first such count in it, and goes when it has none and none of it has changed.
//!
//! What always holds: zero stands for none, so that all pages together take little more than four bytes for each block
//! of the map, however the counts lie; a count that was changed is told as changed once, in ascending order.

/// Blocks of a page.
const BLOCKS: usize = 512;

#[derive(Debug)]
struct CountPage {
    /// Counts that are not zero.
    used: usize,
    counts: [u32; BLOCKS],
    /// A bit for each count that has changed.
    changed: [u64; BLOCKS / 64],
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pages: Vec<Option<Box<CountPage>>>,
    len: u64,
    changed: usize,
    /// A bit for each page that may have changes, none in the words before `first`.
    marked: Vec<u64>,
    first: usize,
}

fn place(block: u64) -> (usize, usize) {
    (block as usize / BLOCKS, block as usize % BLOCKS)
}

impl Counts {
    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many have changed.
    pub(crate) fn changed(&self) -> usize {
        self.changed
    }

    pub(crate) fn get(&self, block: u64) -> Option<u32> {
        let (page, at) = place(block);
        self.pages.get(page)?.as_deref().map(|page| page.counts[at]).filter(|count| *count > 0)
    }

    /// Adds one to a count that is there; false if it is not, or is as large as they get.
    pub(crate) fn increment(&mut self, block: u64) -> bool {
        let (number, at) = place(block);
        let Some(Some(page)) = self.pages.get_mut(number) else { return false };
        let count = &mut page.counts[at];
        if *count == 0 || *count == u32::MAX {
            return false;
        }
        *count += 1;
        self.mark(number, at);
        true
    }

    /// Changes a count, or takes it out: zero. The block is one of the map.
    pub(crate) fn set(&mut self, block: u64, count: u32) {
        let (number, at) = place(block);
        self.enter(block, count);
        self.mark(number, at);
    }

    /// Sets a count as it is on disk.
    pub(crate) fn enter(&mut self, block: u64, count: u32) {
        let (number, at) = place(block);
        if number >= self.pages.len() {
            self.pages.resize_with(number + 1, || None);
        }
        let page = self.pages[number].get_or_insert_with(|| {
            Box::new(CountPage { used: 0, counts: [0; BLOCKS], changed: [0; BLOCKS / 64] })
        });
        let before = std::mem::replace(&mut page.counts[at], count);
        match (before > 0, count > 0) {
            (false, true) => (page.used, self.len) = (page.used + 1, self.len + 1),
            (true, false) => (page.used, self.len) = (page.used - 1, self.len - 1),
            _ => {}
        }
    }

    fn mark(&mut self, number: usize, at: usize) {
        let Some(Some(page)) = self.pages.get_mut(number) else { return };
        let (word, bit) = (&mut page.changed[at / 64], 1 << (at % 64));
        if *word & bit == 0 {
            *word |= bit;
            self.changed += 1;
            self.mark_page(number);
        }
    }

    fn mark_page(&mut self, number: usize) {
        let word = number / 64;
        if word >= self.marked.len() {
            self.marked.resize(word + 1, 0);
        }
        self.marked[word] |= 1 << (number % 64);
        self.first = self.first.min(word);
    }

    /// The first page that may have changes; from now on it counts as one that has none.
    fn next_marked(&mut self) -> Option<usize> {
        let found = self.marked[self.first..].iter().position(|word| *word != 0);
        self.first = found.map_or(self.marked.len(), |words| self.first + words);
        let word = self.marked.get_mut(self.first)?;
        let bit = word.trailing_zeros() as usize;
        *word &= *word - 1;
        Some(self.first * 64 + bit)
    }

    /// Those that have changed, in ascending order, with what they are now: all of the first page that has some, and of
    /// those after it until there are `enough`. From now on they have not.
    pub(crate) fn take_changed(&mut self, enough: usize) -> Vec<(u64, u32)> {
        let mut taken = Vec::new();
        while taken.len() < enough
            && let Some(number) = self.next_marked()
        {
            self.take_from(number, &mut taken);
        }
        self.changed -= taken.len();
        taken
    }

    fn take_from(&mut self, number: usize, taken: &mut Vec<(u64, u32)>) {
        let Some(Some(page)) = self.pages.get_mut(number) else { return };
        for (at, word) in page.changed.iter_mut().enumerate() {
            while *word != 0 {
                let at = at * 64 + word.trailing_zeros() as usize;
                *word &= *word - 1;
                taken.push(((number * BLOCKS + at) as u64, page.counts[at]));
            }
        }
        if page.used == 0 {
            self.pages[number] = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_there_from_setting_to_taking_out_and_pages_with_them() {
        let mut counts = Counts::default();
        for (block, count) in [(0, 3), (511, 4), (512, 5), (5000, u32::MAX)] {
            counts.enter(block, count);
            assert_eq!(counts.get(block), Some(count));
        }
        assert_eq!((counts.len(), counts.get(1), counts.get(9999)), (4, None, None));
        assert_eq!(
            [511, 510, 5000, 1 << 40].map(|block| counts.increment(block)),
            [true, false, false, false]
        );
        assert_eq!((counts.get(511), counts.len()), (Some(5), 4));
        [0, 511, 512, 5000].iter().for_each(|block| counts.set(*block, 0));
        assert_eq!((counts.len(), counts.get(512)), (0, None));
        assert!(counts.pages.iter().any(Option::is_some), "the records of these have to go yet");
        counts.take_changed(usize::MAX);
        assert!(counts.pages.iter().all(Option::is_none));
    }

    #[test]
    fn what_has_changed_is_told_once_in_order_and_a_page_at_a_time() {
        let mut counts = Counts::default();
        [700, 5, 3].iter().for_each(|block| counts.enter(*block, 3));
        assert_eq!((counts.changed(), counts.take_changed(9)), (0, vec![]));
        [700, 5, 700, 5].iter().for_each(|block| assert!(counts.increment(*block)));
        counts.set(3, 0);
        assert_eq!(counts.changed(), 3);
        assert_eq!(counts.take_changed(1), [(3, 0), (5, 5)]);
        assert_eq!((counts.changed(), counts.take_changed(9)), (1, vec![(700, 5)]));
        assert_eq!((counts.changed(), counts.take_changed(9)), (0, vec![]));
    }
}
