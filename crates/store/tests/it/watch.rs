//! Files that are watched: who tests what I/O costs sees each read and write of them, with its place and size.
//!
//! What always holds: a watched file does what the file under it does, and is looked at before that.

use crate::sim::{Operation, Sim};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use umbra_store::backing::{Backing, BlockFile};

struct Watched<F> {
    file: Arc<dyn BlockFile>,
    see: F,
}

/// The file, with each read and write shown to `see` before it is done: what, offset, bytes.
pub fn watched(
    file: Arc<dyn BlockFile>,
    see: impl Fn(Operation, u64, u64) + Send + Sync + 'static,
) -> Arc<dyn BlockFile> {
    Arc::new(Watched { file, see })
}

impl<F: Fn(Operation, u64, u64) + Send + Sync> BlockFile for Watched<F> {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.file.set_size(bytes)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (self.see)(Operation::Read, offset, buf.len() as u64);
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (self.see)(Operation::Change, offset, bytes.len() as u64);
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch(offset, len)
    }
}

/// What was read of a file and written to it.
#[derive(Debug, Default)]
struct Meter {
    reads: AtomicU64,
    read: AtomicU64,
    writes: AtomicU64,
    written: AtomicU64,
}

/// The same at one moment: how often, and bytes in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub reads: u64,
    pub read: u64,
    pub writes: u64,
    pub written: u64,
}

/// A meter on each of a disk's files.
#[derive(Debug, Clone, Default)]
pub struct Meters([Arc<Meter>; 3]);

impl Meters {
    /// The disk's files, and what measures them.
    pub fn on(sim: &Sim) -> (Backing, Meters) {
        let (backing, meters) = (sim.backing(1), Meters::default());
        let metered = |file, meter: &Arc<Meter>| {
            let meter = meter.clone();
            watched(file, move |what, _, bytes| meter.count(what, bytes))
        };
        let [meta, data, log] = &meters.0;
        let (meta, data, log) =
            (metered(backing.meta, meta), metered(backing.data, data), metered(backing.log, log));
        (Backing { meta, data, log, ..backing }, meters)
    }

    /// What was done so far, for each file.
    pub fn now(&self) -> [Count; 3] {
        [0, 1, 2].map(|file| self.0[file].now())
    }

    /// What `work` does to each file.
    pub fn during(&self, work: impl FnOnce()) -> [Count; 3] {
        let before = self.now();
        work();
        let after = self.now();
        [0, 1, 2].map(|file| after[file].since(before[file]))
    }
}

impl Meter {
    fn count(&self, what: Operation, bytes: u64) {
        let (times, all) = match what {
            Operation::Read => (&self.reads, &self.read),
            _ => (&self.writes, &self.written),
        };
        times.fetch_add(1, SeqCst);
        all.fetch_add(bytes, SeqCst);
    }

    fn now(&self) -> Count {
        let [reads, read, writes, written] =
            [&self.reads, &self.read, &self.writes, &self.written].map(|count| count.load(SeqCst));
        Count { reads, read, writes, written }
    }
}

impl Count {
    fn since(self, before: Count) -> Count {
        Count {
            reads: self.reads - before.reads,
            read: self.read - before.read,
            writes: self.writes - before.writes,
            written: self.written - before.written,
        }
    }
}
