//! A worker: changes and reads the sectors that it owns, and keeps its own book.

use super::book::{BLOCK, Change, Clock, PER_BLOCK, SECTOR, SHARED_BLOCKS, STRIP, Tokens};
use std::{collections::BTreeMap, fs::File, ops::Range, os::unix::fs::FileExt, sync::Arc};
use umbra_store::{Extent, Volume};

/// A stream of pseudo-random numbers (xorshift).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % limit as u64) as usize
    }
}

pub struct Worker<'a> {
    pub number: usize,
    pub dice: Dice,
    pub clock: &'a Clock,
    pub volumes: &'a BTreeMap<u32, Arc<dyn Volume>>,
    pub data: &'a File,
    /// What every device holds, as far as this worker's sectors go.
    pub holds: BTreeMap<u32, Tokens>,
    pub changes: Vec<Change>,
}

impl Worker<'_> {
    pub fn work(mut self, steps: usize) -> Vec<Change> {
        (0..steps).for_each(|_| self.step());
        self.changes
    }

    fn step(&mut self) {
        let device = 1 + self.dice.below(self.volumes.len()) as u32;
        let (strip, block) = (self.part_of_a_strip(), self.part_of_the_block());
        let whole = self.whole_block();
        // Never 0, never the same twice.
        let token = self.clock.tick() + 1;
        match self.dice.below(100) {
            0..40 => self.change(device, strip, token, How::Write),
            40..46 => self.change(device, block, token, How::Write),
            46..50 => self.change(device, whole, token, How::Write),
            50..56 => self.change(device, strip, token, How::Atomic),
            56..62 => self.change(device, whole, token, How::Atomic),
            62..68 => self.change(device, strip, 0, How::Zeroes),
            68..74 => self.change(device, whole, 0, How::Discard),
            74..78 => self.volumes[&device].flush().unwrap(),
            78..90 => self.look(device, strip),
            _ => self.look(device, whole),
        }
    }

    fn part(&mut self, all: Range<usize>, longest: usize) -> Range<usize> {
        let start = all.start + self.dice.below(all.len());
        start..(start + 1 + self.dice.below(longest)).min(all.end)
    }

    fn part_of_a_strip(&mut self) -> Range<usize> {
        let start = self.dice.below(SHARED_BLOCKS) * PER_BLOCK + self.number * STRIP;
        self.part(start..start + STRIP, 8)
    }

    fn whole_block(&self) -> Range<usize> {
        let start = (SHARED_BLOCKS + self.number) * PER_BLOCK;
        start..start + PER_BLOCK
    }

    fn part_of_the_block(&mut self) -> Range<usize> {
        self.part(self.whole_block(), PER_BLOCK)
    }

    fn change(&mut self, device: u32, sectors: Range<usize>, token: u64, how: How) {
        let volume = &self.volumes[&device];
        let (offset, len) = ((sectors.start * SECTOR) as u64, sectors.len() * SECTOR);
        let bytes = token.to_le_bytes().repeat(len / 8);
        let begun = self.clock.tick();
        match how {
            How::Write if self.write_directly(volume, offset, &bytes) => {}
            How::Write => volume.write(offset, &bytes).unwrap(),
            How::Atomic => volume.write_atomic(offset, &bytes).unwrap(),
            How::Zeroes => volume.write_zeroes(offset, len as u64).unwrap(),
            How::Discard => volume.discard(offset, len as u64).unwrap(),
        }
        let span = (begun, self.clock.tick());
        self.holds.get_mut(&device).unwrap()[sectors.clone()].fill(token);
        self.changes.push(Change { span, device, sectors, token });
    }

    /// Through the direct door; false where that is shut.
    fn write_directly(&self, volume: &Arc<dyn Volume>, offset: u64, bytes: &[u8]) -> bool {
        let mut extents = Vec::new();
        let Some(ticket) = volume.direct_write(offset, bytes.len() as u64, &mut extents) else {
            return false;
        };
        let mut rest = bytes;
        for Extent { at, len } in extents {
            let (part, left) = rest.split_at(len as usize);
            self.data.write_all_at(part, at.unwrap()).unwrap();
            rest = left;
        }
        volume.finish(ticket, true).unwrap();
        true
    }

    /// Reads through the direct door where that is open, and finds what it wrote.
    fn look(&mut self, device: u32, sectors: Range<usize>) {
        let volume = &self.volumes[&device];
        let (offset, mut bytes) = ((sectors.start * SECTOR) as u64, vec![0xEE; sectors.len() * SECTOR]);
        let mut extents = Vec::new();
        match volume.direct_read(offset, bytes.len() as u64, &mut extents) {
            Some(ticket) => {
                read_extents(self.data, &extents, &mut bytes);
                volume.finish(ticket, true).unwrap();
            }
            None => volume.read(offset, &mut bytes).unwrap(),
        }
        let (found, held) = (tokens(&bytes), &self.holds[&device][sectors.clone()]);
        assert!(found == held, "device {device} sectors {sectors:?} hold {found:?}, expected {held:?}");
    }
}

fn read_extents(data: &File, extents: &[Extent], bytes: &mut [u8]) {
    let mut rest = bytes;
    for Extent { at, len } in extents {
        let (part, left) = rest.split_at_mut(*len as usize);
        match at {
            Some(at) => data.read_exact_at(part, *at).unwrap(),
            None => part.fill(0),
        }
        rest = left;
    }
}

/// How sectors are changed.
enum How {
    Write,
    Atomic,
    Zeroes,
    Discard,
}

/// The token of each sector.
pub fn tokens(bytes: &[u8]) -> Tokens {
    let token = |sector: &[u8]| {
        assert!(sector.chunks(8).all(|word| word == &sector[..8]), "a sector is torn");
        u64::from_le_bytes(sector[..8].try_into().unwrap())
    };
    bytes.chunks(SECTOR).map(token).collect()
}

pub const SIZE: u64 = (super::book::BLOCKS * BLOCK) as u64;
