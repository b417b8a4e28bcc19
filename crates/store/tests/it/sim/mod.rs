//! A disk that forgets: three files in memory that record every write and flush, from which the state after a loss of
//! the process or of the machine at any moment can be made.
//!
//! The rules: loss of the process keeps everything written. Loss of the machine keeps, of each file, everything written
//! before its last flush; of what was written later each sector of 512 bytes has, for itself, its flushed content or
//! that of any later write (loss, reordering and tearing in one rule), and holes and sizes may be lost, too. A flush
//! that failed has lost some of what it was for, and no later flush brings it back; the page cache may show it still.

mod content;
mod faults;
mod file;
pub mod node;
mod replay;

pub use content::{Content, SECTOR};
pub use faults::{Failure, Faults, How, Operation};
pub use replay::Replay;

use faults::Trouble;
use file::SimFile;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};
use umbra_store::backing::Backing;
use umbra_thin::{Format, format};

pub const META: usize = 0;
pub const DATA: usize = 1;
pub const LOG: usize = 2;

/// What happened to a file.
#[derive(Clone)]
enum Event {
    Write { file: usize, offset: u64, bytes: Arc<[u8]> },
    Size { file: usize, bytes: u64 },
    Punch { file: usize, offset: u64, len: u64 },
    Sync { file: usize },
    FailedSync { file: usize },
}

impl Event {
    fn file(&self) -> usize {
        match *self {
            Event::Write { file, .. }
            | Event::Size { file, .. }
            | Event::Punch { file, .. }
            | Event::Sync { file }
            | Event::FailedSync { file } => file,
        }
    }

    /// Does it to the files, as far as `keep` says.
    fn apply(&self, files: &mut [Content; 3], mut keep: impl FnMut() -> bool) {
        let file = &mut files[self.file()];
        match self {
            Event::Write { offset, bytes, .. } => file.write_some(bytes, *offset, SECTOR, keep),
            Event::Size { bytes, .. } if keep() => file.set_size(*bytes),
            Event::Punch { offset, len, .. } if keep() => file.punch(*offset, *len),
            _ => {}
        }
    }
}

/// How everything ended.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    Process,
    /// The process, and then what a failed flush had not written, because the page cache let it go.
    Cache,
    /// Of what was not flushed: nothing, all, or each sector by this seed.
    MachineNone,
    MachineSome(u64),
}

/// Called before each read and write, and after each flush, done or failed, before that is told; with the file, outside of
/// every lock of the disk.
pub type Hook = Arc<dyn Fn(usize, Operation) + Send + Sync>;

struct State {
    base: [Content; 3],
    now: [Content; 3],
    events: Vec<Event>,
    trouble: Trouble,
    hook: Option<Hook>,
}

impl State {
    fn record(&mut self, event: Event) {
        event.apply(&mut self.now, || true);
        self.events.push(event);
    }
}

/// The disk.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<State>>);

impl Sim {
    /// Empty files.
    pub fn new() -> Self {
        Self::with(Default::default())
    }

    pub fn with(content: [Content; 3]) -> Self {
        Self::going_on(content.clone(), content, Vec::new())
    }

    fn going_on(base: [Content; 3], now: [Content; 3], events: Vec<Event>) -> Self {
        Sim(Arc::new(Mutex::new(State { base, now, events, trouble: Trouble::default(), hook: None })))
    }

    /// A disk with the same content, on which nothing has happened.
    pub fn copy(&self) -> Self {
        Self::with(self.state().now.clone())
    }

    /// A pool of our own that was just made, all of it flushed: so small that looking at all of it takes no time.
    pub fn with_pool(metadata_blocks: u64, data_blocks: u64, block_bytes: u64) -> Self {
        let data_block_sectors = (block_bytes / SECTOR as u64) as u32;
        let commit =
            format(&Format { uuid: [42; 16], data_block_sectors, data_blocks, metadata_blocks }).unwrap();
        let mut meta = Content::of_size(metadata_blocks * 4096);
        commit.blocks.iter().for_each(|block| meta.write(&block.bytes(), block.number * 4096));
        meta.write(&commit.superblock[..], 0);
        Self::with([meta, Content::of_size(data_blocks * block_bytes), Content::default()])
    }

    pub fn set_hook(&self, hook: Option<Hook>) {
        self.state().hook = hook;
    }

    /// Calls `meet` at the next such operation on the file, once.
    pub fn at_next(&self, file: usize, operation: Operation, meet: impl FnOnce() + Send + 'static) {
        let meet = Mutex::new(Some(meet));
        self.set_hook(Some(Arc::new(move |met, what| {
            if (met, what) == (file, operation) {
                let meet = meet.lock().unwrap().take();
                meet.into_iter().for_each(|meet| meet());
            }
        })));
    }

    /// Runs `what`, and `beside` on a thread of its own from the disk's operation number `at` of that on, or afterwards if
    /// there are not so many. The operation waits for it, but not for long: it may itself wait for the operation's end.
    pub fn beside<T, U: Send + 'static>(
        &self,
        at: usize,
        beside: impl FnOnce() -> U + Send + 'static,
        what: impl FnOnce() -> T,
    ) -> (T, U) {
        let (tell, told) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(Some(beside)));
        let (beside, operations) = (waiting.clone(), AtomicUsize::new(0));
        self.set_hook(Some(Arc::new(move |_, _| {
            if operations.fetch_add(1, SeqCst) == at
                && let Some(beside) = beside.lock().unwrap().take()
            {
                let (tell, (done, is_done)) = (tell.clone(), mpsc::channel::<()>());
                thread::spawn(move || {
                    tell.send(beside()).unwrap();
                    drop(done);
                });
                let _done = is_done.recv_timeout(Duration::from_millis(100));
            }
        })));
        let result = what();
        self.set_hook(None);
        let late = waiting.lock().unwrap().take();
        (result, late.map_or_else(|| told.recv().unwrap(), |beside| beside()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state().trouble = Trouble::of(faults);
    }

    /// Operations since [`Sim::set_faults`].
    pub fn operations(&self) -> usize {
        self.state().trouble.operations()
    }

    /// How many changes and flushes there were.
    pub fn moment(&self) -> usize {
        self.state().events.len()
    }

    /// Whether a flush of this file has failed.
    pub fn failed_to_flush(&self, file: usize) -> bool {
        self.state().events.iter().any(|event| matches!(event, Event::FailedSync { file: f } if *f == file))
    }

    /// For each commit, how many holes were made in the data between its superblock and the next.
    pub fn holes_after_commits(&self) -> Vec<usize> {
        let mut holes = Vec::new();
        for event in &self.state().events {
            match event {
                Event::Write { file: META, offset: 0, .. } => holes.push(0),
                Event::Punch { file: DATA, .. } => *holes.last_mut().unwrap() += 1,
                _ => {}
            }
        }
        holes
    }

    /// The disk with other metadata.
    pub fn with_metadata(&self, metadata: Content) -> Self {
        Self::with([metadata, self.content(DATA), self.content(LOG)])
    }

    pub fn content(&self, file: usize) -> Content {
        self.state().now[file].clone()
    }

    pub fn backing(&self, boot: u8) -> Backing {
        let file = |index| Arc::new(SimFile { sim: self.clone(), index });
        Backing { meta: file(META), data: file(DATA), log: file(LOG), boot: [boot; 16], identity: [42; 16] }
    }

    /// The disk as it is after a loss at `moment`. To make many, let a [`Replay`] go through the moments.
    pub fn after(&self, moment: usize, loss: Loss) -> Sim {
        let mut replay = Replay::of(self);
        replay.advance(moment);
        replay.image(loss)
    }
}
