//! A logical unit in memory, for tests: thin, in blocks of 4096 bytes; with switches that slow it down or break it.

#![allow(clippy::unwrap_used, reason = "tests: a poisoned lock is a failed test")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Duration;
use umbra_target::{LogicalUnit, MappedRun, MediumError, Space};

const BLOCK: u64 = 4096;

/// A unit whose unmapped blocks read as zeroes.
pub struct MemoryUnit {
    size: u64,
    /// Bytes of what it calls a physical block.
    physical: u32,
    blocks: Arc<RwLock<HashMap<u64, Box<[u8]>>>>,
    held: Mutex<Held>,
    changed: Condvar,
    flushes: AtomicUsize,
    failure: Mutex<Option<Failure>>,
    /// Bytes that were shared, not copied.
    shared: AtomicU64,
    /// Held by the unit and each of its points in time.
    points: Arc<()>,
    space: Mutex<Option<Space>>,
    looks: AtomicUsize,
}

/// A write inside the unit, until it is dropped.
struct Inside<'a>(&'a MemoryUnit);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.held.lock().unwrap().inside -= 1;
        self.0.changed.notify_all();
    }
}

/// How writes fail.
#[allow(dead_code, reason = "each user of this file needs a part of it")]
#[derive(Debug, Clone, Copy)]
pub enum Failure {
    NoSpace,
    Io,
    Panic,
}

/// Whether writes are held up, and how many are inside.
#[derive(Default)]
struct Held {
    hold: bool,
    inside: usize,
}

#[allow(dead_code, reason = "each user of this file needs a part of it")]
impl MemoryUnit {
    pub fn new(size: u64) -> Self {
        MemoryUnit::on_sectors(size, BLOCK as u32)
    }

    /// One that says its physical blocks have so many bytes.
    pub fn on_sectors(size: u64, physical: u32) -> Self {
        MemoryUnit {
            size,
            physical,
            blocks: Arc::default(),
            held: Mutex::default(),
            changed: Condvar::new(),
            flushes: AtomicUsize::new(0),
            failure: Mutex::default(),
            shared: AtomicU64::new(0),
            points: Arc::default(),
            space: Mutex::default(),
            looks: AtomicUsize::new(0),
        }
    }

    /// The same disk at another size: another unit with the same contents, whose writes are held by themselves.
    pub fn resized(&self, size: u64) -> Self {
        MemoryUnit { blocks: self.blocks.clone(), ..MemoryUnit::on_sectors(size, self.physical) }
    }

    /// From now on this is the space behind it.
    pub fn set_space(&self, space: Option<Space>) {
        *self.space.lock().unwrap() = space;
    }

    /// How often its space was asked for.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// Bytes that it was given without a copy, so far.
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::SeqCst)
    }

    /// Its points in time that somebody has.
    pub fn points(&self) -> usize {
        Arc::strong_count(&self.points) - 1
    }

    /// From now on writes wait inside the unit.
    pub fn hold_writes(&self) {
        self.held.lock().unwrap().hold = true;
    }

    /// Lets them go on.
    pub fn release_writes(&self) {
        self.held.lock().unwrap().hold = false;
        self.changed.notify_all();
    }

    /// Waits until `count` writes are held.
    pub fn wait_for_held(&self, count: usize) {
        let held = self.held.lock().unwrap();
        drop(self.changed.wait_while(held, |held| held.inside < count).unwrap());
    }

    /// From now on writes and flushes fail so.
    pub fn fail(&self, failure: Option<Failure>) {
        *self.failure.lock().unwrap() = failure;
    }

    /// Flushes so far.
    pub fn flushes(&self) -> usize {
        self.flushes.load(Ordering::SeqCst)
    }

    /// All contents.
    pub fn contents(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        self.read(0, &mut bytes).unwrap();
        bytes
    }

    fn failing(&self) -> Result<(), MediumError> {
        let failure = *self.failure.lock().unwrap();
        match failure {
            None => Ok(()),
            Some(Failure::NoSpace) => Err(MediumError::NoSpace),
            Some(Failure::Io) => Err(MediumError::Io("broken on purpose".into())),
            Some(Failure::Panic) => panic!("on purpose"),
        }
    }

    /// Waits until no write that was held is inside any more.
    pub fn wait_until_idle(&self) {
        let held = self.held.lock().unwrap();
        drop(self.changed.wait_while(held, |held| held.inside > 0).unwrap());
    }

    fn gate(&self) -> Inside<'_> {
        let mut held = self.held.lock().unwrap();
        held.inside += 1;
        self.changed.notify_all();
        // Not for ever: a test that fails while it holds writes must still end.
        held = self.changed.wait_timeout_while(held, Duration::from_secs(30), |held| held.hold).unwrap().0;
        drop(held);
        Inside(self)
    }

    /// Calls `each` with every block that the range touches: index, range in the block, range in the buffer.
    fn split(
        offset: u64,
        len: u64,
        mut each: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>),
    ) {
        let mut done = 0;
        while done < len {
            let at = offset + done;
            let within = (at % BLOCK) as usize;
            let n = (BLOCK as usize - within).min((len - done) as usize);
            each(at / BLOCK, within..within + n, done as usize..done as usize + n);
            done += n as u64;
        }
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        if offset + len > self.size { Err(MediumError::OutOfRange) } else { Ok(()) }
    }
}

impl LogicalUnit for MemoryUnit {
    type Ticket = ();

    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn physical_bytes(&self) -> u32 {
        self.physical
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), MediumError> {
        self.check(offset, buf.len() as u64)?;
        let blocks = self.blocks.read().unwrap();
        Self::split(offset, buf.len() as u64, |index, within, of_buf| match blocks.get(&index) {
            Some(block) => buf[of_buf].copy_from_slice(&block[within]),
            None => buf[of_buf].fill(0),
        });
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        self.check(offset, buf.len() as u64)?;
        let _inside = self.gate();
        self.failing()?;
        let mut blocks = self.blocks.write().unwrap();
        Self::split(offset, buf.len() as u64, |index, within, of_buf| {
            let block = blocks.entry(index).or_insert_with(|| vec![0; BLOCK as usize].into());
            block[within].copy_from_slice(&buf[of_buf]);
        });
        Ok(())
    }

    fn write_atomic(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        self.write(offset, buf)
    }

    fn atomic_bytes(&self) -> u32 {
        1 << 20
    }

    /// What stands there is copied all the same: one cannot tell from outside.
    fn share(&self, from: &Self, from_offset: u64, to_offset: u64, len: u64) -> Result<bool, MediumError> {
        assert!([from_offset, to_offset, len].iter().all(|n| n.is_multiple_of(BLOCK)));
        let mut bytes = vec![0; len as usize];
        from.read(from_offset, &mut bytes)?;
        self.write(to_offset, &bytes)?;
        self.shared.fetch_add(len, Ordering::SeqCst);
        Ok(true)
    }

    fn has_points_in_time(&self) -> bool {
        true
    }

    /// It waits where writes do.
    fn point_in_time(&self) -> Result<Arc<Self>, MediumError> {
        let _inside = self.gate();
        self.failing()?;
        let blocks = Arc::new(RwLock::new(self.blocks.read().unwrap().clone()));
        let points = self.points.clone();
        Ok(Arc::new(MemoryUnit { blocks, points, ..MemoryUnit::on_sectors(self.size, self.physical) }))
    }

    fn space(&self) -> Option<Space> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        *self.space.lock().unwrap()
    }

    fn finish(&self, (): (), _done: bool) -> Result<(), MediumError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), MediumError> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.failing()
    }

    fn unmap(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        self.check(offset, len)?;
        let mut blocks = self.blocks.write().unwrap();
        Self::split(offset, len, |index, within, _| {
            if within.len() == BLOCK as usize {
                blocks.remove(&index);
            } else if let Some(block) = blocks.get_mut(&index) {
                block[within].fill(0);
            }
        });
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        self.unmap(offset, len)
    }

    fn mapped(&self, offset: u64, len: u64) -> Result<Vec<MappedRun>, MediumError> {
        self.check(offset, len)?;
        let blocks = self.blocks.read().unwrap();
        let mut runs = Vec::new();
        Self::split(offset, len, |index, _, of_range| {
            let (from, len) = (offset + of_range.start as u64, of_range.len() as u64);
            runs.push(MappedRun { offset: from, len, mapped: blocks.contains_key(&index) });
        });
        Ok(runs)
    }
}
