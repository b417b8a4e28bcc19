//! What every part of the check works with: the image, what each metadata block is used as, how often each is
//! pointed to, and the findings.
//!
//! A block is *claimed* before it is read. The first claim settles its use; a second for the same use is sharing, for
//! another use an error. Since only a first claim is followed by a walk, no image can make the checker loop.

use crate::{
    counts::Counts,
    finding::{Finding, Findings, Tree},
    image::ReadBlock,
    layout::{BLOCK_BYTES, Block, BlockKind, u64_at},
    problem::{Problem, Use},
};
use std::{cell::Cell, ops::RangeInclusive};

/// The way from the root of a tree to the block at hand.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    pub tree: Option<Tree>,
    pub path: Vec<u64>,
    /// Keys that lie below the block at hand.
    pub keys: Option<RangeInclusive<u64>>,
}

impl Trail {
    /// The root of `tree`.
    pub fn tree(tree: Tree, root: u64) -> Trail {
        Trail { tree: Some(tree), path: vec![root], keys: Some(0..=u64::MAX) }
    }

    /// A block outside of any tree.
    pub fn block(block: u64) -> Trail {
        Trail { tree: None, path: vec![block], keys: None }
    }
}

/// What came of claiming a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody had it yet.
    First,
    /// It was claimed for the same use before.
    Again,
    /// There is no such block, or it is in use as something else; that was reported.
    Refused,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Metadata blocks read.
    pub done: u64,
    /// Metadata blocks to read, as far as can be said; never below `done`.
    pub expected: u64,
}

/// Reads between two words about progress.
const STEP: u64 = 512;

pub(crate) struct Core<'a> {
    image: &'a dyn ReadBlock,
    watch: Option<&'a dyn Fn(Progress)>,
    reads: Cell<u64>,
    /// Reads that the check is likely to need.
    pub expected_reads: u64,
    /// Pointers to metadata blocks must lie below.
    pub blocks: u64,
    uses: Vec<Use>,
    /// Pointers found to each metadata block.
    pub references: Counts,
    pub findings: Findings,
}

impl<'a> Core<'a> {
    /// A check of the first `blocks` blocks of `image`.
    pub fn new(image: &'a dyn ReadBlock, blocks: u64, watch: Option<&'a dyn Fn(Progress)>) -> Core<'a> {
        Core {
            image,
            watch,
            reads: Cell::new(0),
            expected_reads: 0,
            blocks,
            uses: vec![Use::Free; blocks as usize],
            references: Counts::new(blocks),
            findings: Findings::default(),
        }
    }

    /// Notes `problem` at the end of `trail`; `keys` are lost with it.
    pub fn report(&mut self, trail: &Trail, problem: Problem, keys: Option<RangeInclusive<u64>>) {
        let (block, tree) = (trail.path.last().copied(), trail.tree);
        let devices = tree.and_then(|tree| tree.device).into_iter().collect();
        self.findings.push(Finding { problem, block, tree, path: trail.path.clone(), keys, devices });
    }

    /// Notes damage that costs everything below the end of `trail`.
    pub fn report_lost(&mut self, trail: &Trail, problem: Problem) {
        self.report(trail, problem, trail.keys.clone());
    }

    /// Claims the block at the end of `trail` for `usage`.
    pub fn claim(&mut self, block: u64, usage: Use, trail: &Trail) -> Claim {
        if block >= self.blocks {
            self.report_lost(trail, Problem::PointerOutOfRange { to: block, blocks: self.blocks });
            return Claim::Refused;
        }
        let slot = &mut self.uses[block as usize];
        match *slot {
            Use::Free => {
                *slot = usage;
                Claim::First
            }
            first if first == usage => Claim::Again,
            first => {
                self.report_lost(trail, Problem::TwoUses { first, second: usage });
                Claim::Refused
            }
        }
    }

    /// Claims a block that must never be shared.
    pub fn claim_alone(&mut self, block: u64, usage: Use, trail: &Trail) -> bool {
        let claim = self.claim(block, usage, trail);
        if claim == Claim::Again {
            self.report_lost(trail, Problem::TwoUses { first: usage, second: usage });
        }
        claim == Claim::First
    }

    /// What `block` was claimed for.
    pub fn use_of(&self, block: u64) -> Use {
        self.uses.get(block as usize).copied().unwrap_or(Use::Free)
    }

    /// Reads a claimed block and verifies that it is what it should be.
    pub fn read(&mut self, block: u64, expected: BlockKind, trail: &Trail) -> Option<Box<Block>> {
        let verdict = match self.read_unchecked(block) {
            Err(error) => Err(Problem::Unreadable { cause: error.to_string() }),
            Ok(bytes) => verify(block, expected, &bytes).map(|()| bytes),
        };
        verdict.map_err(|problem| self.report_lost(trail, problem)).ok()
    }

    /// Reads a block that was verified before, or is looked at for the first time.
    pub fn read_unchecked(&self, block: u64) -> std::io::Result<Box<Block>> {
        let mut bytes = Box::new([0; BLOCK_BYTES]);
        self.image.read_block(block, &mut bytes)?;
        let done = self.reads.get() + 1;
        self.reads.set(done);
        if let Some(watch) = self.watch.filter(|_| done.is_multiple_of(STEP)) {
            watch(Progress { done, expected: self.expected_reads.max(done) });
        }
        Ok(bytes)
    }
}

fn verify(block: u64, expected: BlockKind, bytes: &Block) -> Result<(), Problem> {
    let found = BlockKind::of(bytes);
    if found != Some(expected) {
        return Err(Problem::BadChecksum { expected, found });
    }
    match u64_at(bytes, 8) {
        stored if stored == block => Ok(()),
        stored => Err(Problem::WrongBlockNumber { stored }),
    }
}
