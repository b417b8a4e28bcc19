//! A logical unit on a file with a direct door, which counts who is inside.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use umbra_target::{Extent, LogicalUnit, MappedRun, MediumError};

/// Bytes of an extent at most, unless asked for otherwise.
const PIECE: u64 = 8192;

/// Its bytes lie in reverse order of pieces, so that every long range is many extents.
pub struct FiledUnit {
    file: Arc<File>,
    size: u64,
    /// Bytes of an extent at most.
    piece: u64,
    /// Tickets that are out.
    pub out: AtomicUsize,
    /// I/O planned at the direct door, and calls at the other.
    pub planned: AtomicUsize,
    pub called: AtomicUsize,
    pub flushes: AtomicUsize,
    held: Mutex<bool>,
    changed: Condvar,
    /// Finishing writes fails.
    pub unlucky: AtomicBool,
    /// What is planned lies nowhere: right for reads of what nobody wrote, a mistake for writes.
    pub placeless: AtomicBool,
}

impl FiledUnit {
    pub fn new(size: u64) -> FiledUnit {
        FiledUnit::with_pieces(size, PIECE)
    }

    pub fn with_pieces(size: u64, piece: u64) -> FiledUnit {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        FiledUnit {
            file: Arc::new(file),
            size,
            piece,
            out: AtomicUsize::new(0),
            planned: AtomicUsize::new(0),
            called: AtomicUsize::new(0),
            flushes: AtomicUsize::new(0),
            held: Mutex::new(false),
            changed: Condvar::new(),
            unlucky: AtomicBool::new(false),
            placeless: AtomicBool::new(false),
        }
    }

    /// From now on flushes wait, or go on.
    pub fn hold_flushes(&self, hold: bool) {
        *self.held.lock().unwrap() = hold;
        self.changed.notify_all();
    }

    fn extents(&self, mut offset: u64, len: u64, extents: &mut Vec<Extent>) {
        let end = offset + len;
        while offset < end {
            let piece = offset / self.piece;
            let len = (self.piece - offset % self.piece).min(end - offset);
            let at = (self.size / self.piece - 1 - piece) * self.piece + offset % self.piece;
            extents.push(Extent { at: Some(at), len });
            offset += len;
        }
    }

    fn plan(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) {
        self.extents(offset, len, extents);
        if self.placeless.load(SeqCst) {
            extents.iter_mut().for_each(|extent| extent.at = None);
        }
        self.out.fetch_add(1, SeqCst);
        self.planned.fetch_add(1, SeqCst);
    }

    fn each(&self, offset: u64, len: usize, mut act: impl FnMut(std::ops::Range<usize>, u64)) {
        let mut extents = Vec::new();
        self.extents(offset, len as u64, &mut extents);
        let mut done = 0;
        for extent in extents {
            act(done..done + extent.len as usize, extent.at.unwrap());
            done += extent.len as usize;
        }
    }
}

impl LogicalUnit for FiledUnit {
    /// Whether it is a write's.
    type Ticket = bool;

    fn size_bytes(&self) -> u64 {
        self.size
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), MediumError> {
        self.called.fetch_add(1, SeqCst);
        self.each(offset, buf.len(), |range, at| self.file.read_exact_at(&mut buf[range], at).unwrap());
        Ok(())
    }
    fn write(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        self.called.fetch_add(1, SeqCst);
        self.each(offset, buf.len(), |range, at| self.file.write_all_at(&buf[range], at).unwrap());
        Ok(())
    }
    fn write_atomic(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        self.write(offset, buf)
    }
    fn flush(&self) -> Result<(), MediumError> {
        self.flushes.fetch_add(1, SeqCst);
        let held = self.held.lock().unwrap();
        drop(self.changed.wait_timeout_while(held, Duration::from_secs(30), |held| *held).unwrap());
        Ok(())
    }
    fn unmap(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        self.write_zeroes(offset, len)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        self.write(offset, &vec![0; len as usize])
    }
    fn mapped(&self, offset: u64, len: u64) -> Result<Vec<MappedRun>, MediumError> {
        Ok(vec![MappedRun { offset, len, mapped: true }])
    }
    fn data_file(&self) -> Option<Arc<File>> {
        Some(self.file.clone())
    }
    fn direct_read(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<bool> {
        self.plan(offset, len, extents);
        Some(false)
    }
    fn direct_write(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<bool> {
        self.plan(offset, len, extents);
        Some(true)
    }
    fn finish(&self, write: bool, done: bool) -> Result<(), MediumError> {
        assert!(done || self.placeless.load(SeqCst));
        self.out.fetch_sub(1, SeqCst);
        match write && self.unlucky.load(SeqCst) {
            true => Err(MediumError::NoSpace),
            false => Ok(()),
        }
    }
}
