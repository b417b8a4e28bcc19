//! Closing a transaction: everything that has to be written, in the form of the disk (dm-thin format section 8.4).
//!
//! The metadata space map describes its own blocks, so writing it takes blocks, which changes it. With all counts in
//! memory that is a small fixpoint: each bitmap moves at most once in a commit, and moving only changes counts between
//! 0 and 1.
//!
//! What always holds: the blocks of a [`Commit`] were free in the committed state (R1, R2), except block 0.

use super::Pool;
use crate::{
    ThinError,
    limits::{COUNTS_FOR_COMMIT, COUNTS_PER_STEP, COUNTS_WAITING, META_BLOCK_BYTES},
    meta::{Meta, MetaRead},
    node::Node,
    page::{Page, PageKind, seal},
    space::{Reuse, SpaceMap},
    values::{IndexEntry, Tree},
};
use std::{collections::BTreeSet, ops::Range, sync::Arc};

/// Whether acknowledged writes may stand in a log beside the pool after this commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogUse {
    /// They may: kernels must not activate the pool until it was closed.
    MayHoldWrites {
        /// The running kernel's boot id: as long as it runs, the log is there.
        boot: [u8; 16],
    },
    /// They do not: anyone may activate it (A4).
    Empty,
}

/// A commit to be written: first make the data device durable (R4), then write `blocks` in any order and make them
/// durable, then write `superblock` to block 0 and make that durable (R5). Then [`Pool::commit_durable`].
#[derive(Debug)]
#[must_use = "a transaction that was closed and not written is lost"]
pub struct Commit {
    /// Number of the transaction.
    pub transaction: u64,
    /// The superblock's trans_id with this commit.
    pub trans_id: u64,
    /// [`Pool::generation`] with this commit: the base of the log that follows it.
    pub generation: u64,
    /// Blocks to write.
    pub blocks: Vec<Block>,
    /// Bytes of block 0.
    pub superblock: Box<Page>,
    /// Data blocks that nobody maps any more once this is durable, and that are not handed out before
    /// [`Pool::commit_durable`]: to be given back to the backing in between.
    pub freed_data: Vec<Range<u64>>,
}

/// A metadata block and its bytes.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its number.
    pub number: u64,
    bytes: Bytes,
}

#[derive(Debug, Clone)]
enum Bytes {
    Node(Arc<Node>),
    Page(Arc<Page>),
}

impl Block {
    /// What is to be written. Checksums of nodes are made here, not while everybody waits for the transaction to close.
    pub fn bytes(&self) -> Page {
        match &self.bytes {
            Bytes::Node(node) => {
                let mut page = node.0;
                seal(&mut page, PageKind::Node, self.number);
                page
            }
            Bytes::Page(page) => **page,
        }
    }

    fn page(number: u64, page: Box<Page>) -> Self {
        Block { number, bytes: Bytes::Page(page.into()) }
    }
}

/// The commit that is being written.
#[derive(Debug)]
pub(super) struct InFlight {
    transaction: u64,
    nodes: Vec<u64>,
}

impl<R: MetaRead> Pool<R> {
    /// Closes the open transaction and opens the next. There is one commit in flight at a time.
    pub fn begin_commit(&mut self, log: LogUse) -> Result<Commit, ThinError> {
        if self.in_flight.is_some() {
            return Err(ThinError::CommitInFlight);
        }
        self.change(|pool| {
            pool.next_generation();
            pool.mark(log);
            pool.freeze()
        })
    }

    /// The commit is durable: what it freed can be used again.
    pub fn commit_durable(&mut self, transaction: u64) {
        if let Some(in_flight) = self.in_flight.take_if(|commit| commit.transaction == transaction) {
            self.meta.settle(&in_flight.nodes);
        }
    }

    /// Steps 2 to 5 of section 8.4.
    pub(super) fn freeze(&mut self) -> Result<Commit, ThinError> {
        self.freeze_details()?;
        self.freeze_data_map()?;
        self.freeze_metadata_map()?;
        let nodes = self.meta.freeze_nodes();
        self.in_flight = Some(InFlight {
            transaction: self.transaction,
            nodes: nodes.iter().map(|(block, _)| *block).collect(),
        });
        let mut blocks: Vec<_> =
            nodes.into_iter().map(|(number, node)| Block { number, bytes: Bytes::Node(node) }).collect();
        self.encode_bitmaps(&mut blocks);
        blocks.extend(self.new_held.take().map(|(block, page)| Block::page(block, page)));
        self.superblock.data_map.nr_blocks = self.meta.data.nr_blocks();
        self.superblock.data_map.nr_allocated = self.meta.data.nr_allocated();
        self.superblock.meta_map.nr_blocks = self.meta.blocks.nr_blocks();
        self.superblock.meta_map.nr_allocated = self.meta.blocks.nr_allocated();
        self.meta.blocks.freeze();
        let commit = Commit {
            transaction: self.transaction,
            trans_id: self.superblock.trans_id,
            generation: self.generation(),
            blocks,
            superblock: self.superblock.encode(),
            freed_data: self.meta.data.freeze(),
        };
        self.transaction += 1;
        (self.changed, self.commit_near) = (false, false);
        Ok(commit)
    }

    fn freeze_details(&mut self) -> Result<(), ThinError> {
        for (id, device) in self.devices.iter_mut().filter(|(_, device)| device.details_changed) {
            let (root, key) = (self.superblock.details_root, u64::from(id.0));
            self.superblock.details_root =
                self.meta.insert(root, Tree::Details, key, &device.details.pack())?;
            device.details_changed = false;
        }
        Ok(())
    }

    /// Does a part of what closing the transaction would have to do while everybody waits: writes overflow records, a
    /// bounded number of them. Returns whether a commit would find many still. The first write after a cut changes one
    /// for each neighbour in its leaf: whoever is about to commit calls this until it says no, lets others in between, and then
    /// commits; until then every change writes as many as it adds.
    pub fn write_counts(&mut self) -> Result<bool, ThinError> {
        self.check_changeable()?;
        self.commit_near = true;
        if self.overflow_changes() < COUNTS_FOR_COMMIT {
            return Ok(false);
        }
        let result = self.write_some_counts(COUNTS_PER_STEP);
        self.broken = result.is_err();
        result
    }

    /// The same for a change that found `before` of them, if too many wait now: it writes more than it added. While a commit
    /// is on its way few are too many, so that it comes to its end whatever goes on. Where metadata is scarce as well: what
    /// is written takes no more blocks, while for what is not the most that it can take has to be kept.
    pub(super) fn write_counts_in_passing(&mut self, before: usize) -> Result<(), ThinError> {
        let now = self.overflow_changes();
        if now < COUNTS_FOR_COMMIT {
            return Ok(());
        }
        let free = self.meta.blocks.nr_free().saturating_sub(self.meta.blocks.kept_for_commit());
        let scarce = free < 4 * (self.commit_cost() + self.reserve());
        if self.commit_near || scarce || now >= COUNTS_WAITING {
            self.write_some_counts(now.saturating_sub(before) + COUNTS_PER_STEP)?;
        }
        Ok(())
    }

    /// Of both maps.
    pub(super) fn overflow_changes(&self) -> usize {
        self.meta.data.overflow_changes() + self.meta.blocks.overflow_changes()
    }

    /// Writes `enough` records, if there are as many; whether a commit would still find many.
    fn write_some_counts(&mut self, enough: usize) -> Result<bool, ThinError> {
        let written = self.write_data_counts(enough)?;
        self.write_metadata_counts(enough.saturating_sub(written))?;
        Ok(self.overflow_changes() >= COUNTS_FOR_COMMIT)
    }

    /// Returns how many it wrote.
    fn write_data_counts(&mut self, enough: usize) -> Result<usize, ThinError> {
        let counts = self.meta.data.take_overflow_changes(enough);
        let root = &mut self.superblock.data_map.ref_count_root;
        *root = self.meta.write_overflow(*root, &counts)?;
        Ok(counts.len())
    }

    /// Returns how many it wrote. Doing so can change others.
    fn write_metadata_counts(&mut self, enough: usize) -> Result<usize, ThinError> {
        let counts = self.meta.blocks.take_overflow_changes(enough);
        let root = &mut self.superblock.meta_map.ref_count_root;
        *root = self.meta.write_overflow(*root, &counts)?;
        Ok(counts.len())
    }

    fn freeze_data_map(&mut self) -> Result<(), ThinError> {
        self.write_data_counts(usize::MAX)?;
        let root = &mut self.superblock.data_map.bitmap_root;
        for i in std::mem::take(&mut self.meta.data.stale_hints) {
            if let Some(at) = self.meta.data.bitmaps[i].at {
                let entry = self.meta.data.index_entry(i, at);
                *root = self.meta.insert(*root, Tree::Index, i as u64, &entry.pack())?;
            }
        }
        for i in self.meta.data.dirty.clone() {
            let at = self.meta.move_block(self.meta.data.bitmaps[i].at)?;
            self.meta.data.bitmaps[i].at = Some(at);
            let entry = self.meta.data.index_entry(i, at);
            *root = self.meta.insert(*root, Tree::Index, i as u64, &entry.pack())?;
        }
        Ok(())
    }

    /// The fixpoint: until no overflow record, no bitmap and not the index block is left to be moved.
    fn freeze_metadata_map(&mut self) -> Result<(), ThinError> {
        let mut moved = BTreeSet::new();
        let old_index = self.superblock.meta_map.bitmap_root;
        let mut index = None;
        loop {
            let changed = self.write_metadata_counts(usize::MAX)?;
            let dirty: Vec<_> = self.meta.blocks.dirty.difference(&moved).copied().collect();
            for i in &dirty {
                let at = self.meta.move_block(self.meta.blocks.bitmaps[*i].at)?;
                self.meta.blocks.bitmaps[*i].at = Some(at);
                moved.insert(*i);
            }
            if index.is_none() {
                index = Some(self.meta.move_block((old_index != 0).then_some(old_index))?);
            } else if changed == 0 && dirty.is_empty() {
                break;
            }
        }
        self.superblock.meta_map.bitmap_root = index.unwrap_or(old_index);
        Ok(())
    }

    /// Bitmaps of both maps and the index block, from the final counts.
    fn encode_bitmaps(&mut self, blocks: &mut Vec<Block>) {
        for map in [&mut self.meta.data, &mut self.meta.blocks] {
            for i in std::mem::take(&mut map.dirty) {
                if let Some(at) = map.bitmaps[i].at {
                    blocks.push(Block::page(at, map.bitmaps[i].bitmap.encode(at)));
                }
            }
        }
        let at = self.superblock.meta_map.bitmap_root;
        blocks.push(Block::page(at, encode_index(&self.meta.blocks, at)));
    }
}

fn encode_index(map: &SpaceMap, at: u64) -> Box<Page> {
    let mut page = Box::new([0; META_BLOCK_BYTES]);
    for (i, placed) in map.bitmaps.iter().enumerate() {
        let entry = map.index_entry(i, placed.at.unwrap_or(0));
        page[16 + IndexEntry::SIZE * i..][..IndexEntry::SIZE].copy_from_slice(&entry.pack());
    }
    seal(&mut page, PageKind::Index, at);
    page
}

impl<R: MetaRead> Meta<R> {
    /// A new place for a block of a space map; the old one is free after the commit.
    fn move_block(&mut self, old: Option<u64>) -> Result<u64, ThinError> {
        let new = self.allocate()?;
        if let Some(old) = old {
            self.blocks.decrement(old, Reuse::AfterCommit)?;
        }
        Ok(new)
    }

    /// Brings blocks' overflow records in line with their counts, in ascending order: of what is removed on the way, the
    /// space is there again for what comes after.
    fn write_overflow(&mut self, mut root: u64, counts: &[(u64, u32)]) -> Result<u64, ThinError> {
        let has_record = |count: u32| count >= 3;
        for run in counts.chunk_by(|a, b| has_record(a.1) == has_record(b.1)) {
            if has_record(run[0].1) {
                root =
                    self.insert_sorted(root, Tree::Overflow, run, |count| count.to_le_bytes(), |_, _| ())?;
                continue;
            }
            for (block, _) in run {
                if self.find(root, Tree::Overflow, *block, |_| ())?.is_some() {
                    root = self.remove(root, Tree::Overflow, *block)?;
                }
            }
        }
        Ok(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Plan, Snapshot, ThinId, format};
    use std::{cell::RefCell, collections::HashMap, io, rc::Rc};

    /// Metadata blocks in memory.
    #[derive(Debug, Clone, Default)]
    struct Blocks(Rc<RefCell<HashMap<u64, Page>>>);

    impl MetaRead for Blocks {
        fn read(&self, block: u64) -> io::Result<Box<Page>> {
            self.0.borrow().get(&block).map(|page| Box::new(*page)).ok_or(io::ErrorKind::NotFound.into())
        }
    }

    impl Blocks {
        fn write(&self, commit: &Commit) {
            let mut blocks = self.0.borrow_mut();
            blocks.extend(commit.blocks.iter().map(|block| (block.number, block.bytes())));
            blocks.insert(0, *commit.superblock);
        }
    }

    /// Everybody waits while a commit begins, and after a cut of many devices all of them have just been written.
    #[test]
    fn counts_that_first_writes_after_a_cut_changed_can_be_written_before_the_commit() {
        const DEVICES: u32 = 40;
        const MAPPED: u64 = 200;
        let wish =
            Format { uuid: [1; 16], data_block_sectors: 128, data_blocks: 1 << 15, metadata_blocks: 4096 };
        let blocks = Blocks::default();
        blocks.write(&format(&wish).unwrap());
        let mut pool = Pool::open(blocks.clone()).unwrap();
        let write = |pool: &mut Pool<Blocks>, id, vblock| match pool.plan_write(id, vblock).unwrap() {
            Plan::Fresh { to } | Plan::Copy { to, .. } => pool.finish_write(id, vblock, to).unwrap(),
            Plan::InPlace(_) => {}
        };
        for id in (1..=DEVICES).map(ThinId) {
            pool.create(id).unwrap();
            (0..MAPPED).for_each(|vblock| write(&mut pool, id, vblock));
        }
        for cut in 1..=4 {
            let copy = |origin| Snapshot { origin: ThinId(origin), copy: ThinId(origin + cut * 1000) };
            pool.snapshot(&(1..=DEVICES).map(copy).collect::<Vec<_>>()).unwrap();
            (1..=DEVICES).for_each(|id| write(&mut pool, ThinId(id), 0));
            let steps = pool.overflow_changes() / COUNTS_PER_STEP + 2;
            let written = (0..steps).find(|_| !pool.write_counts().unwrap());
            assert!(written.is_some(), "{} left after {steps} steps", pool.overflow_changes());
            let left = [&pool.meta.data, &pool.meta.blocks].map(SpaceMap::overflow_changes);
            assert!(left.iter().all(|left| *left < COUNTS_FOR_COMMIT), "{left:?} after cut {cut}");
            let commit = pool.begin_commit(LogUse::Empty).unwrap();
            blocks.write(&commit);
            pool.commit_durable(commit.transaction);
        }
        let counted = |pool: &Pool<Blocks>| pool.meta.data.count(pool.meta.data.nr_allocated() / 2).unwrap();
        let before = counted(&pool);
        assert!(before >= 3, "counts of neighbours are what this is about: {before}");
        assert_eq!(counted(&Pool::open(blocks).unwrap()), before);
    }
}
