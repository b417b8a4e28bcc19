//! The floor: what it takes to hold writes and to copy blocks after a cut, without any pool.
//!
//! Picture: the ranges are parts of one plain file, and there is a place for each of their blocks. A cut counts the time up. The
//! first write to a block in each time reads the block and writes all of it at the end of the file, as a pool does; any
//! other goes to where the block is. There is no engine, no log, nothing becomes durable. What these writes wait for is
//! the machine: its scheduler, its memory, its files.

use super::{HOT, subject::Subject};
use crate::{
    door::{Door, Raw, Way},
    lab::Lab,
    places::BLOCK,
};
use anyhow::Result;
use std::{
    cell::RefCell,
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use umbra_ring::Workers;
use umbra_store::Extent;

/// Where a block is, and when it came there.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u64,
    time: u64,
}

/// Writers inside, and whether more may come.
#[derive(Debug, Default)]
struct Gate {
    inside: usize,
    held: bool,
}

#[derive(Debug)]
struct Shared {
    file: Arc<File>,
    gate: Mutex<Gate>,
    changed: Condvar,
    time: AtomicU64,
    /// Bytes of the file.
    end: AtomicU64,
    blocks: Vec<Mutex<Place>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn enter(&self) {
        let gate = lock(&self.gate);
        let held = |gate: &mut Gate| gate.held;
        self.changed.wait_while(gate, held).unwrap_or_else(PoisonError::into_inner).inside += 1;
    }

    fn try_enter(&self) -> bool {
        let mut gate = lock(&self.gate);
        gate.inside += usize::from(!gate.held);
        !gate.held
    }

    fn leave(&self) {
        let mut gate = lock(&self.gate);
        gate.inside -= 1;
        if gate.held && gate.inside == 0 {
            self.changed.notify_all();
        }
    }

    fn hold(&self) {
        let mut gate = lock(&self.gate);
        gate.held = true;
        drop(self.changed.wait_while(gate, |gate| gate.inside > 0));
    }

    fn release(&self) {
        lock(&self.gate).held = false;
        self.changed.notify_all();
    }

    /// Where a block is that has been written since the last cut, and nobody moves now.
    fn settled(&self, block: usize) -> Option<u64> {
        let place = self.blocks[block].try_lock().ok()?;
        (place.time == self.time.load(SeqCst)).then_some(place.at)
    }

    fn write(&self, block: usize, inside: u64, bytes: &[u8]) -> Result<()> {
        let mut place = lock(&self.blocks[block]);
        let time = self.time.load(SeqCst);
        if place.time == time {
            return Ok(self.file.write_all_at(bytes, place.at + inside)?);
        }
        let to = self.end.fetch_add(BLOCK, SeqCst);
        thread_local!(static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BLOCK as usize]));
        SCRATCH.with_borrow_mut(|scratch| {
            self.file.read_exact_at(scratch, place.at)?;
            scratch[inside as usize..][..bytes.len()].copy_from_slice(bytes);
            self.file.write_all_at(scratch, to)
        })?;
        *place = Place { at: to, time };
        Ok(())
    }
}

/// One range.
#[derive(Debug, Clone)]
pub struct Part {
    shared: Arc<Shared>,
    first: usize,
}

impl Part {
    fn block(&self, offset: u64) -> (usize, u64) {
        (self.first + (offset / BLOCK) as usize, offset % BLOCK)
    }
}

impl Door for Part {
    type Ticket = ();

    fn file(&self) -> &File {
        &self.shared.file
    }

    fn plan(&self, _way: Way, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<()> {
        let (block, inside) = self.block(offset);
        if !self.shared.try_enter() {
            return None;
        }
        let Some(at) = self.shared.settled(block) else {
            self.shared.leave();
            return None;
        };
        extents.push(Extent { at: Some(at + inside), len });
        Some(())
    }

    fn finish(&self, (): ()) -> Result<()> {
        self.shared.leave();
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let (block, inside) = self.block(offset);
        let place = *lock(&self.shared.blocks[block]);
        Ok(self.shared.file.read_exact_at(bytes, place.at + inside)?)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (block, inside) = self.block(offset);
        self.shared.enter();
        let result = self.shared.write(block, inside, bytes);
        self.shared.leave();
        result
    }
}

/// Ranges of a plain file.
pub struct Floor {
    shared: Arc<Shared>,
    parts: Vec<Part>,
}

impl Floor {
    /// So many ranges.
    pub fn new(lab: &Lab, parts: usize) -> Result<Floor> {
        let bytes = parts as u64 * HOT;
        let Raw { file, .. } = lab.raw("floor", bytes)?;
        let blocks = (0..bytes).step_by(BLOCK as usize).map(|at| Mutex::new(Place { at, time: 0 })).collect();
        let (time, end) = (AtomicU64::new(0), AtomicU64::new(bytes));
        let shared = Shared { file, gate: Mutex::default(), changed: Condvar::new(), time, end, blocks };
        let shared = Arc::new(shared);
        let part = |i| Part { shared: shared.clone(), first: i * (HOT / BLOCK) as usize };
        Ok(Floor { parts: (0..parts).map(part).collect(), shared })
    }
}

impl Subject for Floor {
    type Door = Part;

    fn begin(&mut self, lab: &Lab) -> Result<(Vec<Part>, Arc<Workers>)> {
        Ok((self.parts.clone(), lab.workers.clone()))
    }

    fn cut(&mut self, _number: u32) -> Result<Option<Duration>> {
        self.shared.hold();
        let cutting = Instant::now();
        self.shared.time.fetch_add(1, SeqCst);
        let cut = cutting.elapsed();
        self.shared.release();
        Ok(Some(cut))
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.shared.file.sync_data()?)
    }

    /// Every block is at its first place again, and the rest of the file is gone.
    fn end(&mut self, _cuts: u32) -> Result<()> {
        let time = self.shared.time.load(SeqCst);
        for (block, at) in self.shared.blocks.iter().zip((0..).step_by(BLOCK as usize)) {
            *lock(block) = Place { at, time };
        }
        let bytes = self.parts.len() as u64 * HOT;
        self.shared.end.store(bytes, SeqCst);
        Ok(self.shared.file.set_len(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(parts: usize) -> (Lab, Floor) {
        let lab = Lab::new(&std::env::temp_dir(), true).unwrap();
        let floor = Floor::new(&lab, parts).unwrap();
        (lab, floor)
    }

    #[test]
    fn the_first_write_after_a_cut_copies_its_block_and_later_ones_do_not() {
        let (_lab, mut floor) = floor(2);
        let (part, mut extents) = (floor.parts[1].clone(), Vec::new());
        part.plan(Way::Write, BLOCK, 4096, &mut extents).unwrap();
        part.finish(()).unwrap();
        assert_eq!(extents, [Extent { at: Some(HOT + BLOCK), len: 4096 }]);
        floor.cut(1).unwrap();
        assert!(part.plan(Way::Write, BLOCK, 4096, &mut extents).is_none());
        part.write(BLOCK + 512, &[7; 512]).unwrap();
        extents.clear();
        part.plan(Way::Write, BLOCK, 4096, &mut extents).unwrap();
        part.finish(()).unwrap();
        assert_eq!(extents, [Extent { at: Some(2 * HOT), len: 4096 }]);
        let mut bytes = [0; 1536];
        part.read(BLOCK, &mut bytes).unwrap();
        assert_eq!(bytes, [[0x5A; 512], [7; 512], [0x5A; 512]].concat()[..]);
        floor.end(1).unwrap();
        extents.clear();
        part.plan(Way::Write, BLOCK, 4096, &mut extents).unwrap();
        assert_eq!(extents, [Extent { at: Some(HOT + BLOCK), len: 4096 }]);
    }

    #[test]
    fn a_hold_waits_for_writes_under_way_and_keeps_others_out() {
        let (_lab, floor) = floor(1);
        let part = &floor.parts[0];
        part.plan(Way::Write, 0, 4096, &mut Vec::new()).unwrap();
        std::thread::scope(|scope| {
            let holding = scope.spawn(|| floor.shared.hold());
            while part.plan(Way::Write, BLOCK, 4096, &mut Vec::new()).map(|()| part.finish(())).is_some() {
                std::thread::yield_now();
            }
            assert!(!holding.is_finished());
            part.finish(()).unwrap();
            holding.join().unwrap();
            let writing = scope.spawn(|| part.write(0, &[1; 512]));
            assert_eq!(lock(&floor.shared.gate).inside, 0);
            floor.shared.release();
            writing.join().unwrap().unwrap();
        });
    }
}
