//! The model's books: what each sector holds, who owns it, what each worker did when.
//!
//! What always holds: a sector has one owner, and only its owner changes it, one operation after the other; so what is
//! there at an instant is, for each owner, what his operations up to one of them left.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

pub const WORKERS: usize = 4;
pub const BLOCK: usize = 64 << 10;
pub const SECTOR: usize = 512;
pub const PER_BLOCK: usize = BLOCK / SECTOR;
/// In the first blocks of a device each worker owns a strip of each; the others are owned as a whole.
pub const SHARED_BLOCKS: usize = 4;
pub const BLOCKS: usize = SHARED_BLOCKS + WORKERS;
pub const SECTORS: usize = BLOCKS * PER_BLOCK;
/// Sectors of a strip.
pub const STRIP: usize = PER_BLOCK / WORKERS;

/// Tokens of a device's sectors; 0 is zeroes.
pub type Tokens = Vec<u64>;

/// Whose a sector is.
pub fn owner(sector: usize) -> usize {
    match sector / PER_BLOCK {
        block if block < SHARED_BLOCKS => sector % PER_BLOCK / STRIP,
        block => block - SHARED_BLOCKS,
    }
}

/// Numbers all beginnings and ends.
#[derive(Default)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, SeqCst)
    }
}

/// A change by a worker: began, was acknowledged.
#[derive(Debug, Clone)]
pub struct Change {
    pub span: (u64, u64),
    pub device: u32,
    pub sectors: Range<usize>,
    pub token: u64,
}

impl Change {
    pub fn blocks(&self) -> Range<usize> {
        self.sectors.start / PER_BLOCK..self.sectors.end.div_ceil(PER_BLOCK)
    }
}

/// A set of copies of one instant, between two ticks.
#[derive(Debug, Clone)]
pub struct Cut {
    pub span: (u64, u64),
    /// Origin and copy.
    pub pairs: Vec<(u32, u32)>,
}

/// What a round did, and from what it started.
pub struct Round {
    pub start: BTreeMap<u32, Tokens>,
    /// Of each worker, in order.
    pub changes: Vec<Vec<Change>>,
}

impl Round {
    /// Numbers of the worker's changes that were acknowledged, and begun, at a tick.
    fn counts(&self, worker: usize, tick: u64) -> (usize, usize) {
        let count = |when: fn(&Change) -> u64| self.changes[worker].partition_point(|c| when(c) <= tick);
        (count(|change| change.span.1), count(|change| change.span.0))
    }

    /// For which numbers of changes of a worker, of those that the cut's time allows, the copies hold what they left.
    fn fits(&self, worker: usize, cut: &Cut, found: &BTreeMap<u32, Tokens>) -> Vec<usize> {
        let (least, most) = (self.counts(worker, cut.span.0).0, self.counts(worker, cut.span.1).1);
        let mut state: BTreeMap<u32, Tokens> =
            found.keys().map(|origin| (*origin, self.start[origin].clone())).collect();
        let mut fits = Vec::new();
        for done in 0..=most {
            if done > 0 {
                let change = &self.changes[worker][done - 1];
                if let Some(tokens) = state.get_mut(&change.device) {
                    tokens[change.sectors.clone()].fill(change.token);
                }
            }
            if done >= least && is_owners(worker, &state, found) {
                fits.push(done);
            }
        }
        fits
    }

    /// S1: whether there is an instant in the cut's time at which the copies, by their origins' ids, held just this:
    /// all that was acknowledged then, and of what was under way each change whole or not at all.
    pub fn is_one_instant(&self, cut: &Cut, found: &BTreeMap<u32, Tokens>) -> bool {
        let fits: Vec<_> = (0..self.changes.len()).map(|worker| self.fits(worker, cut, found)).collect();
        (cut.span.0..=cut.span.1).any(|tick| {
            fits.iter().enumerate().all(|(worker, fits)| {
                let (acknowledged, begun) = self.counts(worker, tick);
                (acknowledged..=begun).any(|done| fits.contains(&done))
            })
        })
    }

    /// What everything holds when the round is over.
    pub fn end(&self) -> BTreeMap<u32, Tokens> {
        let mut state = self.start.clone();
        for change in self.changes.iter().flatten() {
            if let Some(tokens) = state.get_mut(&change.device) {
                tokens[change.sectors.clone()].fill(change.token);
            }
        }
        state
    }
}

/// Whether the worker's sectors are the same in both.
fn is_owners(worker: usize, state: &BTreeMap<u32, Tokens>, found: &BTreeMap<u32, Tokens>) -> bool {
    found.iter().all(|(origin, tokens)| {
        let pairs = tokens.iter().zip(&state[origin]).enumerate();
        pairs.filter(|(sector, _)| owner(*sector) == worker).all(|(_, (found, state))| found == state)
    })
}
