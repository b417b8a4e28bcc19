//! A disk that forgets: three files in memory that record every write and flush, from which the state after a loss of
//! the process or of the machine at any moment can be made.
//!
//! The rules: loss of the process keeps everything written. Loss of the machine keeps, of each file, everything written
//! before its last flush began; of what was written later each sector of 512 bytes has, for itself, its flushed content
//! or that of any later write (loss, reordering and tearing in one rule).

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use umbra_store::backing::{Backing, BlockFile};

pub const SECTOR: usize = 512;
pub const META: usize = 0;
pub const DATA: usize = 1;
pub const LOG: usize = 2;

/// A file's content: sectors that are not all zero, and its size.
#[derive(Clone, Default)]
pub struct Content {
    sectors: HashMap<u64, Arc<[u8; SECTOR]>>,
    size: u64,
}

impl Content {
    fn read(&self, buf: &mut [u8], offset: u64) {
        for (at, byte_run) in split(offset, buf.len()) {
            let sector = self.sectors.get(&(at / SECTOR as u64));
            let from = (at % SECTOR as u64) as usize;
            match sector {
                Some(sector) => buf[byte_run.clone()].copy_from_slice(&sector[from..from + byte_run.len()]),
                None => buf[byte_run].fill(0),
            }
        }
    }

    fn write(&mut self, bytes: &[u8], offset: u64, mut keep: impl FnMut() -> bool) {
        self.size = self.size.max(offset + bytes.len() as u64);
        for (at, run) in split(offset, bytes.len()) {
            if keep() {
                let sector = self.sectors.entry(at / SECTOR as u64).or_insert_with(|| Arc::new([0; SECTOR]));
                let from = (at % SECTOR as u64) as usize;
                Arc::make_mut(sector)[from..from + run.len()].copy_from_slice(&bytes[run]);
            }
        }
    }

    fn punch(&mut self, offset: u64, len: u64) {
        (offset / SECTOR as u64..(offset + len) / SECTOR as u64)
            .for_each(|at| drop(self.sectors.remove(&at)));
    }

    fn set_size(&mut self, size: u64) {
        self.size = size;
        self.sectors.retain(|at, _| (at + 1) * SECTOR as u64 <= size);
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        self.read(&mut bytes, 0);
        bytes
    }
}

/// Pieces of a range that lie in one sector each: offset, and where in the buffer.
fn split(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let piece = (SECTOR - (at % SECTOR as u64) as usize).min(len - done);
        done += piece;
        (piece > 0).then(|| (at, done - piece..done))
    })
}

#[derive(Clone)]
enum Event {
    Write { file: usize, offset: u64, bytes: Arc<[u8]> },
    Size { file: usize, bytes: u64 },
    Punch { file: usize, offset: u64, len: u64 },
    Sync { file: usize },
}

/// What goes wrong on purpose.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// This file's flushes return at once and do nothing.
    pub lying_flush: Option<usize>,
    /// This file's writes are forgotten.
    pub lost_writes: Option<usize>,
    /// The n-th operation from now that changes or flushes something fails, and so do all after it on that file.
    pub fail_at: Option<usize>,
    /// There is no room for more data.
    pub no_space: bool,
}

struct State {
    base: [Content; 3],
    now: [Content; 3],
    events: Vec<Event>,
    faults: Faults,
    failed_file: Option<usize>,
    after_sync: Option<Hook>,
}

/// Called after each flush with the file that was flushed, outside of every lock of the disk.
pub type Hook = Arc<dyn Fn(usize) + Send + Sync>;

/// How everything ended.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    Process,
    /// Of what was not flushed: nothing, all, or each sector by this seed.
    MachineNone,
    MachineSome(u64),
}

/// The disk.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<State>>);

impl Sim {
    pub fn new() -> Self {
        Self::with(Default::default())
    }

    pub fn with(content: [Content; 3]) -> Self {
        Sim(Arc::new(Mutex::new(State {
            base: content.clone(),
            now: content,
            events: Vec::new(),
            faults: Faults::default(),
            failed_file: None,
            after_sync: None,
        })))
    }

    pub fn set_hook(&self, hook: Option<Hook>) {
        self.state().after_sync = hook;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        state.failed_file = None;
    }

    /// How many changes and flushes there were.
    pub fn moment(&self) -> usize {
        self.state().events.len()
    }

    pub fn content(&self, file: usize) -> Content {
        self.state().now[file].clone()
    }

    pub fn backing(&self, boot: u8) -> Backing {
        let file = |index| Arc::new(SimFile { sim: self.clone(), index });
        Backing { meta: file(META), data: file(DATA), log: file(LOG), boot: [boot; 16], identity: [42; 16] }
    }

    /// The disk as it is after a loss at `moment`. It goes on recording: after the loss of a process what was not
    /// flushed can still be lost.
    pub fn after(&self, moment: usize, loss: Loss) -> Sim {
        let state = self.state();
        let events = &state.events[..moment];
        let mut content = state.base.clone();
        let mut random = match loss {
            Loss::MachineSome(seed) => Some(Random(seed ^ moment as u64)),
            _ => None,
        };
        let flushed = [META, DATA, LOG].map(|file| {
            events
                .iter()
                .rposition(|event| matches!(event, Event::Sync { file: f } if *f == file))
                .unwrap_or(0)
        });
        for (at, event) in events.iter().enumerate() {
            let pending = |file: usize| at >= flushed[file] && !matches!(loss, Loss::Process);
            match event {
                Event::Write { file, offset, bytes } if pending(*file) => {
                    content[*file].write(bytes, *offset, || random.as_mut().is_some_and(Random::coin));
                }
                Event::Write { file, offset, bytes } => content[*file].write(bytes, *offset, || true),
                Event::Size { file, bytes } => content[*file].set_size(*bytes),
                Event::Punch { file, offset, len } => {
                    if !pending(*file) || random.as_mut().is_some_and(Random::coin) {
                        content[*file].punch(*offset, *len);
                    }
                }
                Event::Sync { .. } => {}
            }
        }
        let after = Sim::with(content);
        if matches!(loss, Loss::Process) {
            let mut forked = after.state();
            forked.base = state.base.clone();
            forked.events = events.to_vec();
            drop(forked);
        }
        after
    }
}

/// A small generator of coins.
struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 63 == 1
    }
}

struct SimFile {
    sim: Sim,
    index: usize,
}

impl SimFile {
    /// Counts one operation and decides whether it fails.
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.sim.state();
        match state.faults.fail_at {
            Some(0) => {
                state.faults.fail_at = None;
                state.failed_file = Some(self.index);
            }
            Some(left) => state.faults.fail_at = Some(left - 1),
            None => {}
        }
        match state.failed_file {
            Some(file) if file == self.index => Err(io::Error::other("injected")),
            _ => Ok(state),
        }
    }
}

impl BlockFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.sim.state().now[self.index].size)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        state.now[self.index].set_size(bytes);
        state.events.push(Event::Size { file: self.index, bytes });
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.sim.state();
        let content = &state.now[self.index];
        if offset + buf.len() as u64 > content.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.read(buf, offset);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        if state.faults.lost_writes == Some(self.index) {
            return Ok(());
        }
        state.now[self.index].write(bytes, offset, || true);
        state.events.push(Event::Write { file: self.index, offset, bytes: bytes.into() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.begin()?;
        if state.faults.lying_flush != Some(self.index) {
            state.events.push(Event::Sync { file: self.index });
        }
        let hook = state.after_sync.clone();
        drop(state);
        if let Some(hook) = hook {
            hook(self.index);
        }
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        let state = self.begin()?;
        match state.faults.no_space {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        state.now[self.index].punch(offset, len);
        state.events.push(Event::Punch { file: self.index, offset, len });
        Ok(())
    }
}
