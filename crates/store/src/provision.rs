//! Which data blocks are known to have space in the backing (A5), so that a write does not ask for it again.
//!
//! Picture: one bit per block, all clear at start. Space is taken in groups of neighbours. What always holds: a set bit
//! is true; a clear one says nothing. Taking and punching exclude each other, and only blocks that cannot be handed out
//! yet are punched.

use crate::{backing::BlockFile, hold::lock, limits::ALLOCATE_BYTES};
use std::{io, ops::Range, sync::Mutex};

#[derive(Debug)]
pub(crate) struct Provision {
    block_bytes: u64,
    blocks: u64,
    known: Mutex<Vec<u64>>,
    /// Held while the backing changes, so that a bit never outlives a hole made beside it.
    changing: Mutex<()>,
}

impl Provision {
    pub(crate) fn new(blocks: u64, block_bytes: u64) -> Self {
        let known = Mutex::new(vec![0; blocks.div_ceil(64) as usize]);
        Provision { block_bytes, blocks, known, changing: Mutex::default() }
    }

    /// Sees to it that a block has space, and takes its neighbours' along where that is possible.
    pub(crate) fn take(&self, data: &dyn BlockFile, block: u64) -> io::Result<()> {
        if lock(&self.known)[(block / 64) as usize] >> (block % 64) & 1 == 1 {
            return Ok(());
        }
        let group = (ALLOCATE_BYTES / self.block_bytes).max(1);
        let first = block / group * group;
        let wide = first..(first + group).min(self.blocks);
        if self.allocate(data, wide).is_err() {
            self.allocate(data, block..block + 1)?;
        }
        Ok(())
    }

    fn allocate(&self, data: &dyn BlockFile, run: Range<u64>) -> io::Result<()> {
        let _changing = lock(&self.changing);
        data.allocate(run.start * self.block_bytes, (run.end - run.start) * self.block_bytes)?;
        let mut known = lock(&self.known);
        run.for_each(|block| known[(block / 64) as usize] |= 1 << (block % 64));
        Ok(())
    }

    /// Gives runs of blocks back to the backing, as far as it can.
    pub(crate) fn punch(&self, data: &dyn BlockFile, runs: &[Range<u64>]) {
        let _changing = lock(&self.changing);
        for run in runs {
            let (at, len) = (run.start * self.block_bytes, (run.end - run.start) * self.block_bytes);
            if let Err(error) = data.punch(at, len) {
                tracing::debug!(%error, first = run.start, end = run.end, "freed blocks keep their space");
            }
            let mut known = lock(&self.known);
            run.clone().for_each(|block| known[(block / 64) as usize] &= !(1 << (block % 64)));
        }
    }
}
