//! Runs that are made of random steps, from a seed.

use super::{PER_BLOCK, Run, SECTORS};
use crate::sim::Faults;

impl Run {
    /// Two origins, and so many steps with them.
    pub fn play(seed: u64, steps: usize, faults: Faults) -> Self {
        let mut run = Run::new(seed, faults);
        run.go(steps);
        run
    }

    pub fn go(&mut self, steps: usize) {
        self.create(1);
        self.create(2);
        let mut next_copy = 10;
        (0..steps).for_each(|_| self.step(&mut next_copy));
    }

    fn step(&mut self, next_copy: &mut u32) {
        let live = self.live();
        let id = live[self.random(live.len() as u64) as usize];
        match self.random(29) {
            0..=7 => self.write_somewhere(id),
            8..=9 => self.write_whole_blocks(id),
            10..=11 => self.discard_somewhere(id),
            12..=14 => self.flush(id),
            15..=17 => self.write_atomic_somewhere(id),
            18..=19 if live.len() < 6 => {
                self.cut(&[1, 2], *next_copy);
                *next_copy += 4;
            }
            20..=21 if id > 2 => self.delete(id),
            22 => self.die(),
            23 if self.sizes.len() < 4 => {
                let (data, metadata) = (self.random(5), self.random(9));
                self.extend(data, metadata);
            }
            24 => self.look_at(id),
            25..=27 => {
                let to = live[self.random(live.len() as u64) as usize];
                // Also within one device.
                let (from_block, to_block) = (self.random(2) as usize, 3 + self.random(2) as usize);
                let blocks = 1 + self.random(2) as usize;
                self.share((id, from_block), (to, to_block), blocks);
            }
            _ => self.flush(1),
        }
    }

    fn write_somewhere(&mut self, id: u32) {
        let first = self.random(SECTORS as u64) as usize;
        let longest = [8, 40, 300][self.random(3) as usize].min(SECTORS - first);
        let len = 1 + self.random(longest as u64) as usize;
        let token = self.token();
        self.change(id, first, len, token);
    }

    fn write_whole_blocks(&mut self, id: u32) {
        let first = self.random((SECTORS / PER_BLOCK) as u64) as usize;
        let blocks = 1 + self.random((SECTORS / PER_BLOCK - first).min(3) as u64) as usize;
        let token = self.token();
        self.change(id, first * PER_BLOCK, blocks * PER_BLOCK, token);
    }

    fn discard_somewhere(&mut self, id: u32) {
        let first = self.random(SECTORS as u64 - 1) as usize / 64 * 64;
        let len = (PER_BLOCK + self.random(100) as usize).min(SECTORS - first);
        self.change(id, first, len, 0);
    }

    /// Across the boundary of two blocks or three.
    fn write_atomic_somewhere(&mut self, id: u32) {
        let boundary = (1 + self.random(4) as usize) * PER_BLOCK;
        let (before, after) = (1 + self.random(20) as usize, 1 + self.random(150) as usize);
        let token = self.token();
        self.write_atomic(id, boundary - before, before + after, token);
    }
}
