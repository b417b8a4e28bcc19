//! What goes wrong on purpose: lies of the disk, which sweeps must notice, and errors, which the store must bear.

use super::{LOG, META, node};
use std::{collections::HashMap, io};

/// What goes wrong.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// This file's flushes return at once and do nothing.
    pub lying_flush: Option<usize>,
    /// This file's writes are forgotten.
    pub lost_writes: Option<usize>,
    /// A write to the log is done only when the next operation comes: as if it were acknowledged before the append.
    pub late_log: bool,
    /// A new version of the table of devices is also written over the version before it, as by an engine that breaks
    /// rule R1.
    pub in_place: bool,
    /// The superblock has a counter beyond its first sector, so that tearing it between sectors breaks its checksum.
    pub long_superblock: bool,
    /// This file's next flush fails, and only that.
    pub failing_flush: Option<usize>,
    /// This block of the metadata cannot be read.
    pub unreadable: Option<u64>,
    pub failure: Option<Failure>,
}

/// An operation that fails, counted from [`super::Sim::set_faults`]: reads, writes, flushes, and taking space.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    pub at: usize,
    pub how: How,
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// That operation alone.
    Once(io::ErrorKind),
    /// Whatever changes or flushes its file, from then on.
    Changes,
    /// Whatever is done to its file, from then on.
    Everything,
    /// Taking space in any file, from then on.
    NoSpace,
}

/// What an operation is to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read,
    Change,
    Flush,
    TakeSpace,
}

/// The faults at work.
#[derive(Default)]
pub struct Trouble {
    pub faults: Faults,
    operations: usize,
    failed_file: Option<usize>,
    late: Option<(u64, Vec<u8>)>,
    /// Where the table of devices was written last, by its first key.
    details: HashMap<u64, u64>,
    superblocks: u64,
}

impl Trouble {
    pub fn of(faults: Faults) -> Self {
        Trouble { faults, ..Trouble::default() }
    }

    pub fn operations(&self) -> usize {
        self.operations
    }

    /// Counts an operation and says how it fails, if it does.
    pub fn meet(&mut self, file: usize, operation: Operation) -> Option<io::Error> {
        let number = self.operations;
        self.operations += 1;
        if operation == Operation::Flush
            && self.faults.failing_flush.take_if(|failing| *failing == file).is_some()
        {
            return Some(io::Error::other("injected"));
        }
        let Failure { at, how } = self.faults.failure?;
        if number == at {
            self.failed_file = Some(file);
        }
        let on_failed = self.failed_file == Some(file);
        let kind = match how {
            How::Once(kind) => (number == at).then_some(kind),
            How::Changes => (on_failed && operation != Operation::Read).then_some(io::ErrorKind::Other),
            How::Everything => on_failed.then_some(io::ErrorKind::Other),
            How::NoSpace => {
                (number >= at && operation == Operation::TakeSpace).then_some(io::ErrorKind::StorageFull)
            }
        };
        kind.map(|kind| io::Error::new(kind, "injected"))
    }

    /// The write that is due by now.
    pub fn overdue(&mut self) -> Option<(u64, Vec<u8>)> {
        self.late.take()
    }

    /// Whether a write is put off; it was taken over then.
    pub fn put_off(&mut self, file: usize, bytes: &[u8], offset: u64) -> bool {
        let late = self.faults.late_log && file == LOG;
        if late {
            self.late = Some((offset, bytes.to_vec()));
        }
        late
    }

    /// What is written instead.
    pub fn disguise(&mut self, file: usize, bytes: &[u8], offset: u64) -> Option<Vec<u8>> {
        (self.faults.long_superblock && file == META && offset == 0).then(|| {
            self.superblocks += 1;
            let mut superblock = bytes.to_vec();
            superblock[2048..2056].copy_from_slice(&self.superblocks.to_le_bytes());
            node::seal_superblock(&mut superblock);
            superblock
        })
    }

    /// What else a write to the metadata writes: offset and bytes of each table of devices, over the one before it.
    pub fn also_in_place(&mut self, file: usize, bytes: &[u8], offset: u64) -> Vec<(u64, Vec<u8>)> {
        if !self.faults.in_place || file != META || offset == 0 {
            return Vec::new();
        }
        let nodes = bytes.chunks_exact(4096).zip((offset..).step_by(4096));
        let tables = nodes.filter(|(table, _)| node::is_table_of_devices(table));
        tables
            .filter_map(|(table, at)| {
                self.details.insert(node::keys(table).next()?, at).map(|old| (table, old))
            })
            .map(|(table, old)| (old, node::moved(table, old / 4096)))
            .collect()
    }
}
