//! A space map in memory: how many pointers each block has, and which blocks may be handed out.
//!
//! Picture: `bitmaps` hold counts 0, 1, 2 and "many" in the form of the disk; `many` the exact counts of 3 and more.
//! Beside them `busy` has a bit for each block that must not be handed out: count above zero, reserved by a write
//! that is under way, or freed since the state that a crash would bring back (rules R2 and R3 of section 8.1). A block
//! freed in transaction N leaves `busy` when the commit of N is durable ([`SpaceMap::settle`]).
//!
//! What always holds: `nr_free` is the number of clear bits in `busy`; a block with a count has its bit set; the
//! hints of the disk are never read, only written.

use crate::{
    ThinError,
    bitmap::{Bitmap, Small},
    counts::Counts,
    limits::ENTRIES_PER_BITMAP,
    values::{IndexEntry, bitmaps_for},
};
use std::{collections::BTreeSet, ops::Range};

/// A bitmap and the metadata block that holds it on disk.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) bitmap: Bitmap,
    /// `None`: not written yet.
    pub(crate) at: Option<u64>,
}

/// When a freed block may be handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// At once: it was allocated in this transaction, no committed state knows it.
    Now,
    /// When the commit that frees it is durable.
    AfterCommit,
}

/// Blocks in ascending or descending runs, in the order in which they came.
#[derive(Debug, Default, Clone)]
pub(crate) struct Runs(pub(crate) Vec<Range<u64>>);

impl Runs {
    fn push(&mut self, block: u64) {
        match self.0.last_mut() {
            Some(last) if last.end == block => last.end += 1,
            _ => self.0.push(block..block + 1),
        }
    }
}

/// Counts of one device's blocks.
#[derive(Debug)]
pub(crate) struct SpaceMap {
    name: &'static str,
    /// Whether the counts could be read; if not, nothing may be changed.
    counts_known: bool,
    nr_blocks: u64,
    nr_allocated: u64,
    pub(crate) bitmaps: Vec<Placed>,
    many: Counts,
    /// Bitmaps that differ from the disk's.
    pub(crate) dirty: BTreeSet<usize>,
    /// Bitmaps that are as on the disk, but have wrong hints in the index.
    pub(crate) stale_hints: BTreeSet<usize>,
    busy: Vec<u64>,
    nr_free: u64,
    /// Blocks that are free, and busy only for a moment.
    aside: u64,
    freed: Runs,
    freed_in_flight: Runs,
    /// Blocks that were added and of which no durable commit knows.
    grown: u64,
    grown_in_flight: u64,
    cursor: u64,
}

impl SpaceMap {
    /// A map with all counts zero and no bitmap placed.
    pub(crate) fn empty(name: &'static str, nr_blocks: u64) -> Self {
        let mut map = SpaceMap { counts_known: true, ..SpaceMap::unknown(name, 0, 0) };
        map.extend(nr_blocks);
        map
    }

    /// A map whose counts cannot be read: it knows its size, and hands nothing out.
    pub(crate) fn unknown(name: &'static str, nr_blocks: u64, nr_allocated: u64) -> Self {
        SpaceMap {
            name,
            counts_known: false,
            nr_blocks,
            nr_allocated,
            bitmaps: Vec::new(),
            many: Counts::default(),
            dirty: BTreeSet::new(),
            stale_hints: BTreeSet::new(),
            busy: Vec::new(),
            nr_free: 0,
            aside: 0,
            freed: Runs::default(),
            freed_in_flight: Runs::default(),
            grown: 0,
            grown_in_flight: 0,
            cursor: 0,
        }
    }

    /// A map as it stands on disk: its bitmaps in order, all of them, and the records of its overflow tree.
    pub(crate) fn load(
        name: &'static str,
        nr_blocks: u64,
        bitmaps: Vec<Placed>,
        many: &[(u64, u32)],
    ) -> Result<Self, ThinError> {
        let mut map = SpaceMap::unknown(name, nr_blocks, 0);
        (map.counts_known, map.bitmaps) = (true, bitmaps);
        map.check_end()?;
        map.enter_many(many)?;
        map.busy = map.bitmaps.iter().flat_map(|placed| placed.bitmap.used()).collect();
        map.busy.truncate(nr_blocks.div_ceil(64) as usize);
        map.nr_allocated = map.busy.iter().map(|word| u64::from(word.count_ones())).sum();
        map.nr_free = nr_blocks - map.nr_allocated;
        // Bits at and after the end stay set for good.
        if let (Some(last), inside @ 1..) = (map.busy.last_mut(), nr_blocks % 64) {
            *last |= u64::MAX << inside;
        }
        Ok(map)
    }

    /// Nothing may stand behind the end: kernels would believe it when the map grows.
    fn check_end(&self) -> Result<(), ThinError> {
        let inside =
            self.nr_blocks.saturating_sub((self.bitmaps.len() as u64).saturating_sub(1) * ENTRIES_PER_BITMAP);
        match self.bitmaps.last().is_none_or(|last| last.bitmap.is_clear_from(inside as usize)) {
            true => Ok(()),
            false => Err(self.wrong(self.nr_blocks, "counts beyond the end of the map".to_owned())),
        }
    }

    /// Each record has a bitmap entry of 3, and there are as many of these as of those.
    fn enter_many(&mut self, many: &[(u64, u32)]) -> Result<(), ThinError> {
        for (block, count) in many {
            if *block >= self.nr_blocks || *count < 3 || self.small(*block) != Small::Many {
                return Err(
                    self.wrong(*block, format!("overflow record {count} without a bitmap entry of 3"))
                );
            }
            self.many.enter(*block, *count);
        }
        if self.bitmaps.iter().map(|placed| placed.bitmap.many()).sum::<u64>() == self.many.len() {
            return Ok(());
        }
        let missing = |block: &u64| self.small(*block) == Small::Many && self.many.get(*block).is_none();
        let block = (0..self.nr_blocks).find(missing).unwrap_or(self.nr_blocks);
        Err(self.wrong(block, "bitmap entry of 3 without an overflow record".to_owned()))
    }

    /// Compares the disk's hints with the truth (section 7.3); kernels believe them, so that wrong ones are written anew.
    pub(crate) fn note_hints(&mut self, bitmap: usize, found: &IndexEntry) {
        let exact = self.index_entry(bitmap, found.block);
        if found.nr_free != exact.nr_free || found.none_free_before > exact.none_free_before {
            self.stale_hints.insert(bitmap);
        }
    }

    fn wrong(&self, block: u64, what: String) -> ThinError {
        ThinError::SpaceMap { map: self.name, block, what }
    }

    pub(crate) fn nr_blocks(&self) -> u64 {
        self.nr_blocks
    }

    pub(crate) fn nr_allocated(&self) -> u64 {
        self.nr_allocated
    }

    /// Blocks that can be handed out now.
    pub(crate) fn nr_free(&self) -> u64 {
        self.nr_free
    }

    /// Whether a commit would make more blocks free.
    pub(crate) fn has_freed(&self) -> bool {
        !self.freed.0.is_empty() || !self.freed_in_flight.0.is_empty()
    }

    fn small(&self, block: u64) -> Small {
        let (bitmap, entry) = (block / ENTRIES_PER_BITMAP, block % ENTRIES_PER_BITMAP);
        self.bitmaps[bitmap as usize].bitmap.get(entry as usize)
    }

    pub(crate) fn count(&self, block: u64) -> Result<u32, ThinError> {
        if block >= self.nr_blocks {
            return Err(self.wrong(block, format!("the map ends at {}", self.nr_blocks)));
        }
        if !self.counts_known {
            return Ok(0);
        }
        match self.small(block) {
            Small::Exactly(count) => Ok(count),
            Small::Many => Ok(self.many.get(block).unwrap_or(3)),
        }
    }

    /// Blocks whose overflow record may differ from the tree's, at most.
    pub(crate) fn overflow_changes(&self) -> usize {
        self.many.changed()
    }

    /// Those in ascending order, `enough` of them and a few more, each with the count of its record, zero where there is to
    /// be none; from now on they are the caller's to write.
    pub(crate) fn take_overflow_changes(&mut self, enough: usize) -> Vec<(u64, u32)> {
        self.many.take_changed(enough)
    }

    /// Refuses a block that something points to and whose count is zero: it could be handed out again.
    pub(crate) fn check_used(&self, block: u64) -> Result<(), ThinError> {
        match self.count(block)? {
            0 if self.counts_known => {
                Err(self.wrong(block, "a pointer leads to it, but its count is 0".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn set(&mut self, block: u64, old: u32, new: u32) {
        let (bitmap, entry) = ((block / ENTRIES_PER_BITMAP) as usize, (block % ENTRIES_PER_BITMAP) as usize);
        if old.min(3) != new.min(3) {
            self.bitmaps[bitmap].bitmap.set(entry, new);
            self.dirty.insert(bitmap);
        }
        if old >= 3 || new >= 3 {
            self.many.set(block, if new >= 3 { new } else { 0 });
        }
    }

    /// One pointer more to a block that has some.
    pub(crate) fn increment(&mut self, block: u64) -> Result<(), ThinError> {
        // The usual case under snapshots, for every neighbour of a block that is written: one look-up.
        if self.many.increment(block) {
            return Ok(());
        }
        match self.count(block)? {
            0 => Err(self.wrong(block, "a pointer leads to it, but its count is 0".to_owned())),
            u32::MAX => Err(self.wrong(block, "its count would overflow".to_owned())),
            count => {
                self.set(block, count, count + 1);
                Ok(())
            }
        }
    }

    /// One pointer less; returns how many are left.
    pub(crate) fn decrement(&mut self, block: u64, reuse: Reuse) -> Result<u32, ThinError> {
        let count = self.count(block)?;
        if count == 0 {
            return Err(self.wrong(block, "a pointer led to it, but its count is 0".to_owned()));
        }
        self.set(block, count, count - 1);
        if count == 1 {
            self.nr_allocated -= 1;
            match reuse {
                Reuse::Now => self.give_back(block),
                Reuse::AfterCommit => self.freed.push(block),
            }
        }
        Ok(count - 1)
    }

    /// Takes a free block, at `hint` if that one is free; its count stays zero until [`SpaceMap::claim`].
    pub(crate) fn reserve(&mut self, hint: Option<u64>) -> Option<u64> {
        if self.nr_free == 0 {
            return None;
        }
        let block = match hint {
            Some(hint) if hint < self.nr_blocks && !self.is_busy(hint) => hint,
            _ => self.find_free(self.cursor).or_else(|| self.find_free(0))?,
        };
        self.take(block);
        Some(block)
    }

    /// Lets the next search without a hint start at `block`.
    pub(crate) fn search_from(&mut self, block: u64) {
        self.cursor = if block < self.nr_blocks { block } else { 0 };
    }

    /// Takes one certain block, if it is free.
    pub(crate) fn reserve_exact(&mut self, block: u64) -> bool {
        let free = block < self.nr_blocks && !self.is_busy(block);
        if free {
            self.take(block);
        }
        free
    }

    /// Takes those of some blocks that are free, until [`SpaceMap::put_back`].
    pub(crate) fn set_aside(&mut self, blocks: Range<u64>) -> Vec<Range<u64>> {
        let mut runs = Runs::default();
        blocks.filter(|block| self.reserve_exact(*block)).for_each(|block| runs.push(block));
        self.aside += runs.0.iter().map(|run| run.end - run.start).sum::<u64>();
        runs.0
    }

    /// Makes what was set aside available again.
    pub(crate) fn put_back(&mut self, runs: &[Range<u64>]) {
        self.aside -= runs.iter().map(|run| run.end - run.start).sum::<u64>();
        runs.iter().cloned().flatten().for_each(|block| self.give_back(block));
    }

    /// Blocks that nobody has.
    pub(crate) fn nr_unused(&self) -> u64 {
        self.nr_free + self.aside
    }

    /// Gives a reserved block its first pointer.
    pub(crate) fn claim(&mut self, block: u64) {
        debug_assert!(self.is_busy(block));
        self.set(block, 0, 1);
        self.nr_allocated += 1;
    }

    /// Ends a reservation, or makes a block that was freed available.
    pub(crate) fn give_back(&mut self, block: u64) {
        if self.is_busy(block) {
            self.busy[(block / 64) as usize] &= !(1 << (block % 64));
            self.nr_free += 1;
        }
    }

    fn is_busy(&self, block: u64) -> bool {
        self.busy[(block / 64) as usize] >> (block % 64) & 1 == 1
    }

    fn take(&mut self, block: u64) {
        self.busy[(block / 64) as usize] |= 1 << (block % 64);
        self.nr_free -= 1;
    }

    fn find_free(&self, from: u64) -> Option<u64> {
        let first = (from / 64) as usize;
        let before = (1u64 << (from % 64)) - 1;
        self.busy.iter().enumerate().skip(first).find_map(|(at, word)| {
            let word = if at == first { word | before } else { *word };
            (word != u64::MAX).then(|| at as u64 * 64 + u64::from(word.trailing_ones()))
        })
    }

    /// Adds blocks at the end, all free (section 9.7). The entry of the former last bitmap stays as it is.
    pub(crate) fn extend(&mut self, nr_blocks: u64) {
        let old = self.nr_blocks;
        self.nr_blocks = nr_blocks;
        while (self.bitmaps.len() as u64) < bitmaps_for(nr_blocks) {
            self.dirty.insert(self.bitmaps.len());
            self.bitmaps.push(Placed { bitmap: Bitmap::zeroed(), at: None });
        }
        self.busy.resize(nr_blocks.div_ceil(64) as usize, u64::MAX);
        self.nr_free += nr_blocks - old;
        self.clear_busy(old..nr_blocks);
    }

    /// Adds blocks at the end that can be handed out once the commit which has them is durable: until then a log record
    /// that named one would name nothing (A2).
    pub(crate) fn extend_later(&mut self, nr_blocks: u64) {
        let old = self.nr_blocks;
        self.extend(nr_blocks);
        for block in old..nr_blocks {
            self.take(block);
        }
        if old < nr_blocks {
            self.freed.0.push(old..nr_blocks);
        }
    }

    /// Adds blocks that a commit may use at once, and everybody else once they are durable.
    pub(crate) fn extend_for_commit(&mut self, nr_blocks: u64) {
        self.grown += nr_blocks - self.nr_blocks;
        self.extend(nr_blocks);
    }

    /// Blocks that only a commit may use yet.
    pub(crate) fn kept_for_commit(&self) -> u64 {
        self.grown + self.grown_in_flight
    }

    /// Makes a range available, word by word where it can.
    fn clear_busy(&mut self, mut range: Range<u64>) {
        while !range.is_empty() {
            let end = range.end.min((range.start / 64 + 1) * 64);
            let bits = u64::MAX >> (64 - (end - range.start)) << (range.start % 64);
            self.busy[(range.start / 64) as usize] &= !bits;
            range.start = end;
        }
    }

    /// The transaction is closed: what it freed waits for its commit.
    pub(crate) fn freeze(&mut self) -> Vec<Range<u64>> {
        self.freed_in_flight = std::mem::take(&mut self.freed);
        self.grown_in_flight = std::mem::take(&mut self.grown);
        self.freed_in_flight.0.clone()
    }

    /// The commit in flight is durable: what it freed can be handed out.
    pub(crate) fn settle(&mut self) {
        self.grown_in_flight = 0;
        for run in std::mem::take(&mut self.freed_in_flight).0 {
            run.for_each(|block| self.give_back(block));
        }
    }

    /// Blocks that bringing the overflow tree up to date can take, at most.
    pub(crate) fn overflow_cost(&self) -> u64 {
        self.overflow_nodes(self.many.changed() as u64, 0)
    }

    /// Blocks that the bitmaps of a commit take, at most, with the nodes of their index.
    pub(crate) fn bitmap_cost(&self) -> u64 {
        self.bitmap_nodes((self.dirty.len() + self.stale_hints.len()) as u64)
    }

    /// Blocks that a commit takes more than now, at most, when the counts of up to `counts` blocks change, and up to
    /// `grown` of them may rise.
    pub(crate) fn change_cost(&self, counts: u64, grown: u64) -> u64 {
        let changed = (self.many.changed() as u64).saturating_add(counts);
        let overflow = self.overflow_nodes(changed, grown).saturating_sub(self.overflow_cost());
        let dirty = ((self.dirty.len() + self.stale_hints.len()) as u64).saturating_add(counts);
        overflow + self.bitmap_nodes(dirty) - self.bitmap_cost()
    }

    /// Bitmaps and index nodes when `dirty` bitmaps differ: an index leaf has at least 56 of them.
    fn bitmap_nodes(&self, dirty: u64) -> u64 {
        let all = self.bitmaps.len() as u64;
        let dirty = dirty.min(all);
        dirty + dirty.min(all / 56 + 2)
    }

    /// Overflow nodes that `changed` records can touch when there may be `more` of them than now: leaves hold at least
    /// 112 records, inner nodes at least 84 children. The tree is brought up to date in ascending order, so that of
    /// what it held before, no more than the new form of it is ever held twice.
    fn overflow_nodes(&self, changed: u64, more: u64) -> u64 {
        let all = self.many.len().saturating_add(more) / 112 + 2;
        let leaves = all.min(changed.saturating_mul(2));
        leaves + leaves.min(all / 84 + 1 + u64::from(all > 84))
    }

    /// What the index says of a bitmap, with exact hints.
    pub(crate) fn index_entry(&self, bitmap: usize, at: u64) -> IndexEntry {
        let (used, none_free_before) = self.bitmaps[bitmap].bitmap.summary();
        IndexEntry { block: at, nr_free: ENTRIES_PER_BITMAP as u32 - used, none_free_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_block_is_not_handed_out_before_its_commit_is_durable() {
        let mut map = SpaceMap::empty("data", 3);
        let blocks: Vec<_> = (0..3).map(|_| map.reserve(None).unwrap()).collect();
        blocks.iter().for_each(|block| map.claim(*block));
        assert_eq!(map.reserve(None), None);
        assert_eq!(map.decrement(1, Reuse::AfterCommit).unwrap(), 0);
        assert_eq!(map.reserve(None), None);
        assert_eq!(map.freeze().first(), Some(&(1..2)));
        map.decrement(2, Reuse::AfterCommit).unwrap();
        assert_eq!(map.reserve(None), None);
        map.settle();
        assert_eq!((map.reserve(None), map.reserve(None)), (Some(1), None));
    }

    #[test]
    fn counts_above_two_are_kept_exactly() {
        let mut map = SpaceMap::empty("data", 100);
        map.reserve_exact(7);
        map.claim(7);
        (0..5).for_each(|_| map.increment(7).unwrap());
        assert_eq!(map.count(7).unwrap(), 6);
        assert_eq!(map.take_overflow_changes(9), [(7, 6)]);
        let left: Vec<_> = (0..6).map(|_| map.decrement(7, Reuse::Now).unwrap()).collect();
        assert_eq!(left, [5, 4, 3, 2, 1, 0]);
        assert_eq!((map.count(7).unwrap(), map.nr_free()), (0, 100));
        assert!(map.decrement(7, Reuse::Now).is_err());
        assert!(map.count(100).is_err());
    }

    #[test]
    fn growing_adds_free_blocks_only() {
        let mut map = SpaceMap::empty("data", 70);
        assert_eq!(map.nr_free(), 70);
        map.extend(20_000);
        assert_eq!((map.nr_free(), map.bitmaps.len()), (20_000, 2));
        map.search_from(19_999);
        assert_eq!((map.reserve(None), map.reserve(None)), (Some(19_999), Some(0)));
    }
}
