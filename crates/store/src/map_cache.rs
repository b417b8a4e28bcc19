//! Where blocks are, without a lock: a bounded cache of mappings in front of the engine.
//!
//! Picture: a table of lines, each with the mappings of 128 neighbouring virtual blocks of one device, four lines to a
//! set. A reader looks without writing: it reads the line's sequence, the entry, and the sequence again (a seqlock made
//! of atomics); a line that is being changed is a miss. A miss costs a look into the engine, never a wrong answer.
//!
//! An entry of 32 bits is a data block, or "unmapped", or "ask the engine", and a bit that says *private*. That bit is
//! worth something only while the line's stamp is the device's snapshotted_time (dm-thin format section 9.4): a cut moves
//! the time, and all private bits of the device are void at once, whatever its size (A3).
//!
//! What always holds: an entry says what the engine says *and* the log has: it is forgotten before a change begins, and
//! told the outcome when the change is logged; in between the changer's range lock keeps it from being filled in. Lines
//! are filled under the engine's lock, so no two lines have one tag.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// Neighbouring virtual blocks in a line: 8 MiB at 64 KiB.
const BLOCKS: u64 = 128;
const WAYS: usize = 4;
const UNKNOWN: u32 = 0;
const UNMAPPED: u32 = 1;
const FIRST_BLOCK: u32 = 2;
const PRIVATE: u32 = 1 << 31;
/// Data blocks at and above this do not fit an entry and are asked of the engine each time: above 127 TiB at 64 KiB.
const BLOCK_LIMIT: u64 = (PRIVATE - FIRST_BLOCK) as u64;
/// No device has it.
const NO_TAG: u64 = 0;

/// What the cache knows of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing is there.
    Unmapped,
    /// It is at this data block; `private`: and may be written there.
    At { block: u64, private: bool },
}

/// Whose mappings: a number that no other device and no earlier life of the same id has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheKey(pub(crate) u32);

#[derive(Debug)]
#[repr(align(64))]
struct Line {
    /// Odd while the line is being changed.
    sequence: AtomicU32,
    stamp: AtomicU32,
    tag: AtomicU64,
    used: AtomicBool,
    entries: [AtomicU32; BLOCKS as usize],
}

impl Line {
    fn empty() -> Self {
        Line {
            sequence: AtomicU32::new(0),
            stamp: AtomicU32::new(0),
            tag: AtomicU64::new(NO_TAG),
            used: AtomicBool::new(false),
            entries: [const { AtomicU32::new(UNKNOWN) }; BLOCKS as usize],
        }
    }

    /// Makes readers miss, and other changers wait, until the returned guard is dropped.
    fn change(&self) -> Changing<'_> {
        loop {
            let sequence = self.sequence.load(Relaxed);
            let free = sequence & 1 == 0;
            if free && self.sequence.compare_exchange_weak(sequence, sequence + 1, Acquire, Relaxed).is_ok() {
                fence(Release);
                return Changing(self, sequence);
            }
            std::hint::spin_loop();
        }
    }
}

/// A line that is being changed; for a few dozen instructions, so others spin.
struct Changing<'a>(&'a Line, u32);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.sequence.store(self.1.wrapping_add(2), Release);
    }
}

impl Changing<'_> {
    fn is(&self, tag: u64) -> bool {
        self.0.tag.load(Relaxed) == tag
    }

    fn set(&self, at: u64, entry: u32) {
        self.0.entries[(at % BLOCKS) as usize].store(entry, Relaxed);
    }

    /// Voids the private bits if they are of another time.
    fn restamp(&self, stamp: u32) {
        if self.0.stamp.swap(stamp, Relaxed) != stamp {
            self.0.entries.iter().for_each(|entry| entry.store(entry.load(Relaxed) & !PRIVATE, Relaxed));
        }
    }

    fn take(&self, tag: u64, stamp: u32) {
        self.0.entries.iter().for_each(|entry| entry.store(UNKNOWN, Relaxed));
        self.0.tag.store(tag, Relaxed);
        self.0.stamp.store(stamp, Relaxed);
        self.0.used.store(true, Relaxed);
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct MapCache {
    lines: Box<[Line]>,
    sets: u64,
}

impl MapCache {
    /// A table of at most `bytes`, and no larger than the mappings of `blocks` blocks, twice over, need.
    pub(crate) fn new(bytes: u64, blocks: u64) -> Self {
        let useful = (2 * blocks).div_ceil(BLOCKS).max(64);
        let lines = (bytes / size_of::<Line>() as u64).clamp(WAYS as u64, useful);
        let sets = lines.div_ceil(WAYS as u64);
        MapCache { lines: (0..sets * WAYS as u64).map(|_| Line::empty()).collect(), sets }
    }

    fn set(&self, tag: u64) -> &[Line] {
        let hash = tag.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let set = ((u128::from(hash) * u128::from(self.sets)) >> 64) as usize;
        &self.lines[set * WAYS..(set + 1) * WAYS]
    }

    /// What is known of a block; `None`: ask the engine. `stamp` is the device's snapshotted_time.
    pub(crate) fn look(&self, key: CacheKey, stamp: u32, vblock: u64) -> Option<Known> {
        let tag = tag(key, vblock)?;
        let line = self.set(tag).iter().find(|line| line.tag.load(Relaxed) == tag)?;
        let sequence = line.sequence.load(Acquire);
        let same_tag = line.tag.load(Relaxed) == tag;
        let entry = line.entries[(vblock % BLOCKS) as usize].load(Relaxed);
        let same_stamp = line.stamp.load(Relaxed) == stamp;
        fence(Acquire);
        if sequence & 1 == 1 || !same_tag || line.sequence.load(Relaxed) != sequence {
            return None;
        }
        if !line.used.load(Relaxed) {
            line.used.store(true, Relaxed);
        }
        match entry {
            UNKNOWN => None,
            UNMAPPED => Some(Known::Unmapped),
            entry => {
                let block = u64::from((entry & !PRIVATE) - FIRST_BLOCK);
                Some(Known::At { block, private: same_stamp && entry & PRIVATE != 0 })
            }
        }
    }

    /// Forgets a range, before it changes.
    pub(crate) fn forget(&self, key: CacheKey, blocks: std::ops::Range<u64>) {
        let mut at = blocks.start;
        while at < blocks.end {
            let end = (at / BLOCKS + 1).saturating_mul(BLOCKS).min(blocks.end);
            self.with_line(key, at, |line| (at..end).for_each(|vblock| line.set(vblock, UNKNOWN)));
            at = end;
        }
    }

    /// Tells the outcome of a change, where the line is there.
    pub(crate) fn tell(&self, key: CacheKey, stamp: u32, vblock: u64, known: Known) {
        self.with_line(key, vblock, |line| {
            line.restamp(stamp);
            line.set(vblock, pack(known));
        });
    }

    fn with_line(&self, key: CacheKey, vblock: u64, change: impl FnOnce(&Changing<'_>)) {
        let Some(tag) = tag(key, vblock) else { return };
        if let Some(line) = self.set(tag).iter().find(|line| line.tag.load(Acquire) == tag) {
            let line = line.change();
            // It may have become another's before it was ours to change.
            if line.is(tag) {
                change(&line);
            }
        }
    }

    /// The blocks whose line has `vblock`.
    pub(crate) fn line_of(vblock: u64) -> std::ops::Range<u64> {
        let start = vblock / BLOCKS * BLOCKS;
        start..start.saturating_add(BLOCKS)
    }

    /// Enters what the engine says of the blocks in `truth`; those for which `skip` says so stay unknown. The caller
    /// keeps changes of the engine away meanwhile.
    pub(crate) fn fill(
        &self,
        key: CacheKey,
        stamp: u32,
        truth: std::ops::Range<u64>,
        mapped: impl Iterator<Item = (u64, Known)>,
        skip: impl Fn(u64) -> bool,
    ) {
        let Some(tag) = tag(key, truth.start) else { return };
        let line = self.line_for(tag, stamp);
        if !line.is(tag) {
            line.take(tag, stamp);
        }
        line.restamp(stamp);
        truth.clone().filter(|vblock| !skip(*vblock)).for_each(|vblock| line.set(vblock, UNMAPPED));
        for (vblock, known) in mapped.filter(|(vblock, _)| !skip(*vblock)) {
            line.set(vblock, pack(known));
        }
    }

    /// The line of `tag`, or one that may become it: of those that nobody used since they were last looked over.
    fn line_for(&self, tag: u64, stamp: u32) -> Changing<'_> {
        let set = self.set(tag);
        if let Some(line) = set.iter().find(|line| line.tag.load(Acquire) == tag) {
            return line.change();
        }
        let unused = set.iter().find(|line| !line.used.load(Relaxed));
        let line = unused.unwrap_or_else(|| {
            set.iter().for_each(|line| line.used.store(false, Relaxed));
            &set[(tag.wrapping_add(u64::from(stamp)) % WAYS as u64) as usize]
        });
        line.change()
    }
}

/// Key and line number in one word; `None` where the block number is beyond what any pool holds.
fn tag(key: CacheKey, vblock: u64) -> Option<u64> {
    let line = vblock / BLOCKS;
    (line < 1 << 36).then(|| (u64::from(key.0) << 36 | line).wrapping_add(1))
}

fn pack(known: Known) -> u32 {
    match known {
        Known::Unmapped => UNMAPPED,
        Known::At { block, .. } if block >= BLOCK_LIMIT => UNKNOWN,
        Known::At { block, private } => (block as u32 + FIRST_BLOCK) | if private { PRIVATE } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CacheKey = CacheKey(7);

    fn at(block: u64, private: bool) -> Known {
        Known::At { block, private }
    }

    fn filled(stamp: u32) -> MapCache {
        let cache = MapCache::new(1 << 20, 1000);
        cache.fill(KEY, stamp, 0..128, [(3, at(30, true)), (4, at(31, false))].into_iter(), |v| v == 9);
        cache
    }

    #[test]
    fn what_was_filled_in_is_found_and_nothing_else() {
        let cache = filled(5);
        assert_eq!(cache.look(KEY, 5, 3), Some(at(30, true)));
        assert_eq!(cache.look(KEY, 5, 4), Some(at(31, false)));
        assert_eq!(cache.look(KEY, 5, 5), Some(Known::Unmapped));
        assert_eq!(
            (cache.look(KEY, 5, 9), cache.look(KEY, 5, 128), cache.look(CacheKey(8), 5, 3)),
            (None, None, None)
        );
    }

    #[test]
    fn a_cut_voids_every_private_bit_and_a_new_one_does_not_revive_old_ones() {
        let cache = filled(5);
        assert_eq!(cache.look(KEY, 6, 3), Some(at(30, false)));
        cache.tell(KEY, 6, 4, at(40, true));
        assert_eq!(cache.look(KEY, 6, 3), Some(at(30, false)));
        assert_eq!(cache.look(KEY, 6, 4), Some(at(40, true)));
    }

    #[test]
    fn a_range_that_changes_is_forgotten() {
        let cache = filled(5);
        cache.forget(KEY, 4..200);
        assert_eq!((cache.look(KEY, 5, 3), cache.look(KEY, 5, 4)), (Some(at(30, true)), None));
    }

    #[test]
    fn a_full_set_gives_up_a_line_and_never_mixes_two() {
        let cache = MapCache::new(0, 1);
        for round in 0..100u64 {
            let first = round * BLOCKS;
            cache.fill(KEY, 1, first..first + BLOCKS, std::iter::once((first, at(round, true))), |_| false);
            assert_eq!(cache.look(KEY, 1, first), Some(at(round, true)));
        }
        let kept =
            (0..100).filter_map(|round| cache.look(KEY, 1, round * BLOCKS).map(|known| (round, known)));
        let kept: Vec<_> = kept.collect();
        assert!((1..=WAYS).contains(&kept.len()));
        kept.into_iter().for_each(|(round, known)| assert_eq!(known, at(round, true)));
    }

    #[test]
    fn blocks_that_do_not_fit_are_asked_of_the_engine() {
        assert_eq!(pack(at(BLOCK_LIMIT, true)), UNKNOWN);
        assert_ne!(pack(at(BLOCK_LIMIT - 1, true)), UNKNOWN);
        assert_eq!(tag(KEY, u64::MAX), None);
    }

    #[test]
    fn readers_beside_changers_never_see_another_lines_entry() {
        // Two lines fight for the same way; every entry of line n is block n.
        let cache = MapCache::new(0, 1);
        std::thread::scope(|scope| {
            for changer in 0..2u64 {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..20_000u64 {
                        let line = (round * 2 + changer) % 11;
                        let first = line * BLOCKS;
                        let all = (first..first + BLOCKS).map(|vblock| (vblock, at(line, true)));
                        cache.fill(KEY, 1, first..first + BLOCKS, all, |_| false);
                    }
                });
            }
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..200_000u64 {
                    let line = round % 11;
                    if let Some(known) = cache.look(KEY, 1, line * BLOCKS + round % BLOCKS) {
                        assert_eq!(known, at(line, true));
                    }
                }
            });
        });
    }
}
