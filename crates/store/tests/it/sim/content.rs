//! What a file of the disk holds: sectors that are not all zero, and a size.

use std::{collections::HashMap, ops::Range, sync::Arc};

pub const SECTOR: usize = 512;

/// A file's content; a clone shares its sectors.
#[derive(Clone, Default)]
pub struct Content {
    sectors: HashMap<u64, Arc<[u8; SECTOR]>>,
    size: u64,
}

impl Content {
    pub fn of_size(size: u64) -> Self {
        Content { size, ..Content::default() }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn read(&self, buf: &mut [u8], offset: u64) {
        for (at, run) in split(offset, buf.len(), SECTOR) {
            let from = (at % SECTOR as u64) as usize;
            match self.sectors.get(&(at / SECTOR as u64)) {
                Some(sector) => buf[run.clone()].copy_from_slice(&sector[from..from + run.len()]),
                None => buf[run].fill(0),
            }
        }
    }

    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        self.write_some(bytes, offset, SECTOR, || true);
    }

    /// Writes those pieces of at most `grain` bytes (a divisor of a sector's) that `keep` says.
    pub fn write_some(&mut self, bytes: &[u8], offset: u64, grain: usize, mut keep: impl FnMut() -> bool) {
        for (at, run) in split(offset, bytes.len(), grain) {
            if keep() {
                self.size = self.size.max(at + run.len() as u64);
                let sector = self.sectors.entry(at / SECTOR as u64).or_insert_with(|| Arc::new([0; SECTOR]));
                let from = (at % SECTOR as u64) as usize;
                Arc::make_mut(sector)[from..from + run.len()].copy_from_slice(&bytes[run]);
            }
        }
    }

    pub fn punch(&mut self, offset: u64, len: u64) {
        let hole = offset / SECTOR as u64..(offset + len) / SECTOR as u64;
        match (hole.end - hole.start) as usize > self.sectors.len() {
            true => self.sectors.retain(|at, _| !hole.contains(at)),
            false => hole.for_each(|at| drop(self.sectors.remove(&at))),
        }
    }

    pub fn set_size(&mut self, size: u64) {
        if size < self.size {
            self.sectors.retain(|at, _| (at + 1) * SECTOR as u64 <= size);
        }
        self.size = size;
    }

    /// Whether nothing of it takes space.
    pub fn is_hole(&self) -> bool {
        self.sectors.is_empty()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        self.read(&mut bytes, 0);
        bytes
    }
}

/// Pieces of a range that lie in one grain each: offset, and where in the buffer.
fn split(offset: u64, len: usize, grain: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let piece = (grain - (at % grain as u64) as usize).min(len - done);
        done += piece;
        (piece > 0).then(|| (at, done - piece..done))
    })
}
