//! Runs that are made of random steps, from a seed.

use super::{PER_BLOCK, Run};
use crate::sim::Faults;

/// Sectors of the origins at first: the last block is cut short, until the LUN grows.
const FIRST_SIZE: usize = 5 * PER_BLOCK + 37;

impl Run {
    /// Two origins, and so many steps with them.
    pub fn play(seed: u64, steps: usize, faults: Faults) -> Self {
        let mut run = Run::new(seed, faults);
        run.go(steps);
        run
    }

    pub fn go(&mut self, steps: usize) {
        for id in [1, 2] {
            self.create(id);
            self.device(id).size = FIRST_SIZE;
        }
        let mut next_copy = 10;
        (0..steps).for_each(|_| self.step(&mut next_copy));
    }

    fn step(&mut self, next_copy: &mut u32) {
        let live = self.live();
        let id = live[self.random(live.len() as u64) as usize];
        match self.random(30) {
            0..=7 => self.write_somewhere(id),
            8..=9 => self.write_whole_blocks(id),
            10 => self.zero_somewhere(id, |run, first, len| run.change(id, first, len, 0)),
            11 => self.zero_somewhere(id, |run, first, len| {
                // Over something, or it would hardly ever matter.
                let token = run.token();
                run.change(id, first, len, token);
                run.write_zeroes(id, first, len);
            }),
            12..=14 => self.flush(id),
            15..=17 => self.write_atomic_somewhere(id),
            18..=19 if live.len() < 6 => {
                self.cut(&[1, 2], *next_copy);
                *next_copy += 4;
            }
            20..=21 if id > 2 => self.delete(id),
            22 => self.die(),
            23 if self.sizes.len() < 4 => {
                let (blocks, at) = ((self.random(5), self.random(9)), self.random(9) as usize);
                let (first, len) = self.somewhere(id);
                self.extend_beside_a_write(blocks, at, (id, first, len));
            }
            24 => self.look_at(id),
            25..=27 => {
                let to = live[self.random(live.len() as u64) as usize];
                // Also within one device.
                let (from_block, to_block) = (self.random(2) as usize, 3 + self.random(2) as usize);
                // Whole blocks of the LUN: what is behind its end is nobody's.
                let whole = self.devices[&to].size / PER_BLOCK;
                let blocks = (1 + self.random(2) as usize).min(whole - to_block);
                self.share((id, from_block), (to, to_block), blocks);
            }
            28 => {
                let sectors = 1 + self.random(60) as usize;
                self.grow(id, sectors);
            }
            _ => self.flush(1),
        }
    }

    /// A range of a device: first sector, and how many.
    fn somewhere(&mut self, id: u32) -> (usize, usize) {
        let size = self.devices[&id].size;
        let first = self.random(size as u64) as usize;
        let longest = [8, 40, 300][self.random(3) as usize].min(size - first);
        (first, 1 + self.random(longest as u64) as usize)
    }

    fn write_somewhere(&mut self, id: u32) {
        let ((first, len), token) = (self.somewhere(id), self.token());
        self.change(id, first, len, token);
    }

    fn write_whole_blocks(&mut self, id: u32) {
        let whole = self.devices[&id].size / PER_BLOCK;
        let first = self.random(whole as u64) as usize;
        let blocks = 1 + self.random((whole - first).min(3) as u64) as usize;
        let token = self.token();
        self.change(id, first * PER_BLOCK, blocks * PER_BLOCK, token);
    }

    fn zero_somewhere(&mut self, id: u32, zero: impl FnOnce(&mut Self, usize, usize)) {
        let size = self.devices[&id].size;
        let first = self.random(size as u64 - 1) as usize / 64 * 64;
        let len = (PER_BLOCK + self.random(100) as usize).min(size - first);
        zero(self, first, len);
    }

    /// Across the boundary of two blocks or three.
    fn write_atomic_somewhere(&mut self, id: u32) {
        let boundary = (1 + self.random(4) as usize) * PER_BLOCK;
        let (before, after) = (1 + self.random(20) as usize, 1 + self.random(150) as usize);
        let token = self.token();
        self.write_atomic(id, boundary - before, before + after, token);
    }
}
