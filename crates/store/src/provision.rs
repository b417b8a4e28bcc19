//! What is known of the data blocks' space in the backing (A5): which have some, so that a write does not ask again, and
//! which hold nothing but zeroes, so that a first write need not fill them up.
//!
//! Picture: two bits per block, all clear at start, except that the file of a new pool is known to be zeroes. Space is
//! taken in groups of neighbours. A commit gives the longest runs that it freed back to the backing; what keeps its space is used
//! again by the pool, or given back when the backing turns out to be full. What always holds: a set bit is true; a clear
//! one says nothing. Taking and punching exclude each other, and only blocks that cannot be handed out are punched.

use crate::{
    backing::BlockFile,
    hold::lock,
    limits::{ALLOCATE_BYTES, PUNCHES_PER_COMMIT},
};
use std::{
    io,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// One bit per block.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(blocks: u64, word: u64) -> Self {
        Bits(vec![word; blocks.div_ceil(64) as usize])
    }

    fn has(&self, block: u64) -> bool {
        self.0.get((block / 64) as usize).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    fn set(&mut self, block: u64, to: bool) {
        if let Some(word) = self.0.get_mut((block / 64) as usize) {
            *word = *word & !(1 << (block % 64)) | u64::from(to) << (block % 64);
        }
    }

    fn grow(&mut self, blocks: u64) {
        self.0.resize(blocks.div_ceil(64) as usize, 0);
    }
}

#[derive(Debug)]
struct Known {
    blocks: u64,
    taken: Bits,
    zero: Bits,
}

#[derive(Debug)]
pub(crate) struct Provision {
    block_bytes: u64,
    known: Mutex<Known>,
    /// Held while the backing changes, so that a bit never outlives a hole made beside it.
    changing: Mutex<()>,
    /// A write found no space in the backing.
    is_full: AtomicBool,
    /// It had not enough for neighbours; until a commit gives some back, none are taken along.
    is_scarce: AtomicBool,
}

/// What the blocks of a file hold when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Zeroes,
    Unknown,
}

impl Provision {
    pub(crate) fn new(blocks: u64, block_bytes: u64, content: Content) -> Self {
        let zero = Bits::new(blocks, if content == Content::Zeroes { u64::MAX } else { 0 });
        let known = Mutex::new(Known { blocks, taken: Bits::new(blocks, 0), zero });
        let (is_full, is_scarce) = (AtomicBool::new(false), AtomicBool::new(false));
        Provision { block_bytes, known, changing: Mutex::default(), is_full, is_scarce }
    }

    /// Whether a block holds nothing but zeroes.
    pub(crate) fn is_zeroes(&self, block: u64) -> bool {
        lock(&self.known).zero.has(block)
    }

    /// Sees to it that a block has space, and takes its neighbours' along where that is possible. From now on nobody knows
    /// what it holds, because the caller writes a part of it. False: the backing cannot say so, and only writing all of the
    /// block gives it space.
    pub(crate) fn take(&self, data: &dyn BlockFile, block: u64) -> io::Result<bool> {
        let (taken, blocks) = {
            let mut known = lock(&self.known);
            known.zero.set(block, false);
            (known.taken.has(block), known.blocks)
        };
        if taken {
            return Ok(true);
        }
        let group = (ALLOCATE_BYTES / self.block_bytes).max(1);
        let first = block / group * group;
        let wide = first..(first + group).min(blocks);
        let neighbours = match self.is_scarce.load(SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.allocate(data, wide.clone()).inspect_err(|error| self.got_in_part(wide, error)),
        };
        match neighbours.or_else(|_| self.allocate(data, block..block + 1)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Some of these blocks may have got space: they are no holes any more, as far as anybody knows.
    fn got_in_part(&self, run: Range<u64>, error: &io::Error) {
        if error.kind() != io::ErrorKind::Unsupported {
            self.is_scarce.store(true, SeqCst);
            self.unknown(run);
        }
    }

    /// Blocks that are about to be written hold anything.
    pub(crate) fn unknown(&self, blocks: Range<u64>) {
        let mut known = lock(&self.known);
        blocks.for_each(|block| known.zero.set(block, false));
    }

    /// Blocks were written whole: they have their space.
    pub(crate) fn written(&self, blocks: Range<u64>) {
        let mut known = lock(&self.known);
        blocks.for_each(|block| known.taken.set(block, true));
    }

    fn allocate(&self, data: &dyn BlockFile, run: Range<u64>) -> io::Result<()> {
        let _changing = lock(&self.changing);
        data.allocate(run.start * self.block_bytes, (run.end - run.start) * self.block_bytes)?;
        let mut known = lock(&self.known);
        run.for_each(|block| known.taken.set(block, true));
        Ok(())
    }

    /// Gives runs of blocks back to the backing, the longest first, as far as it can and a bounded number of them: others
    /// wait for it.
    pub(crate) fn punch(&self, data: &dyn BlockFile, runs: &[Range<u64>]) {
        self.is_scarce.store(false, SeqCst);
        let mut runs = merged(runs);
        runs.sort_by_key(|run| std::cmp::Reverse(run.end - run.start));
        for run in runs.iter().take(PUNCHES_PER_COMMIT) {
            self.punch_run(data, run);
        }
    }

    /// Gives back all of these runs that are not holes already. False: there was nothing, or it could not.
    pub(crate) fn punch_rest(&self, data: &dyn BlockFile, runs: &[Range<u64>]) -> bool {
        let mut any = false;
        for run in runs.iter().filter(|run| !self.is_hole(run)) {
            any |= self.punch_run(data, run);
        }
        any
    }

    fn is_hole(&self, run: &Range<u64>) -> bool {
        let known = lock(&self.known);
        run.clone().all(|block| known.zero.has(block) && !known.taken.has(block))
    }

    /// Whether the backing could take it.
    fn punch_run(&self, data: &dyn BlockFile, run: &Range<u64>) -> bool {
        let _changing = lock(&self.changing);
        let (at, len) = (run.start * self.block_bytes, (run.end - run.start) * self.block_bytes);
        let punched = data.punch(at, len);
        if let Err(error) = &punched {
            tracing::debug!(%error, first = run.start, end = run.end, "freed blocks keep their space");
        }
        let mut known = lock(&self.known);
        for block in run.clone() {
            known.taken.set(block, false);
            known.zero.set(block, punched.is_ok());
        }
        punched.is_ok()
    }

    /// A write found no space in the backing.
    pub(crate) fn note_full(&self) {
        self.is_full.store(true, SeqCst);
    }

    /// Whether one did since the last call.
    pub(crate) fn was_full(&self) -> bool {
        self.is_full.swap(false, SeqCst)
    }

    /// The file has `blocks` blocks now. What the new ones hold is not known before they were punched.
    pub(crate) fn grow(&self, blocks: u64) {
        let mut known = lock(&self.known);
        known.taken.grow(blocks);
        known.zero.grow(blocks);
        known.blocks = blocks;
    }
}

/// The same blocks in as few runs as possible.
fn merged(runs: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = runs.to_vec();
    sorted.sort_by_key(|run| run.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for run in sorted {
        match merged.last_mut() {
            Some(last) if last.end >= run.start => last.end = last.end.max(run.end),
            _ => merged.push(run),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counting(Mutex<(u64, u64)>);

    impl BlockFile for Counting {
        fn size(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn set_size(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
            Ok(())
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
        fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
            lock(&self.0).0 += 1;
            Ok(())
        }
        fn punch(&self, _: u64, _: u64) -> io::Result<()> {
            lock(&self.0).1 += 1;
            Ok(())
        }
    }

    #[test]
    fn a_block_is_zeroes_until_it_is_taken_and_again_when_it_was_punched() {
        let (file, provision) = (Counting::default(), Provision::new(40, 64 << 10, Content::Zeroes));
        assert!(provision.is_zeroes(3));
        provision.take(&file, 3).unwrap();
        assert!(!provision.is_zeroes(3) && provision.is_zeroes(4));
        provision.take(&file, 4).unwrap();
        assert_eq!(lock(&file.0).0, 1, "neighbours are taken along");
        provision.unknown(20..21);
        provision.written(20..21);
        provision.take(&file, 20).unwrap();
        assert_eq!(lock(&file.0).0, 1, "what was written whole has its space");
        provision.punch(&file, &[2..3, 3..4]);
        assert!(provision.is_zeroes(3));
        provision.take(&file, 3).unwrap();
        assert_eq!(*lock(&file.0), (2, 1));
    }

    #[test]
    fn blocks_of_an_opened_file_hold_anything_until_they_are_punched() {
        let (file, provision) = (Counting::default(), Provision::new(10, 64 << 10, Content::Unknown));
        assert!(!provision.is_zeroes(9));
        provision.grow(12);
        assert!(!provision.is_zeroes(11), "the file may have been larger before");
        provision.punch(&file, &[10..11, 11..12]);
        assert!(provision.is_zeroes(11) && !provision.is_zeroes(8) && !provision.is_zeroes(12));
        assert_eq!(*lock(&file.0), (0, 1), "neighbours are one hole");
    }
}
