//! Failures that meet a commit, or each other.

use crate::{
    recorded::{BLOCK, open, try_open},
    sim::{DATA, Faults, META, Operation, SECTOR, Sim},
};
use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};
use umbra_store::{
    Extend, LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore,
    backing::{Backing, BlockFile},
};

/// A commit has looked whether anything failed and waits for the engine; a flush of the data fails and empties the log;
/// the commit goes on, and starts a segment of the log. The next start has to find the last flushed state (decision 005).
#[test]
fn a_flush_that_fails_while_a_commit_begins_leaves_a_pool_that_opens() {
    let sim = Sim::with_pool(160, 60, BLOCK);
    let store = open(&sim, 1);
    for id in 1..4 {
        store.create(ThinId(id)).unwrap();
        store.open(ThinId(id), BLOCK).unwrap().write(0, &[id as u8; 512]).unwrap();
    }
    store.close().unwrap();
    drop(store);
    // No mapping is in memory now.
    let store = Arc::new(open(&sim, 1));
    let second = store.open(ThinId(2), BLOCK).unwrap();
    second.write(0, &[9; SECTOR]).unwrap();
    let hold = store.hold(&[ThinId(1)], Duration::from_secs(5)).unwrap();
    let pair = Snapshot { origin: ThinId(1), copy: ThinId(10) };
    let cut = store.cut(&hold, &[pair]).unwrap();
    drop(hold);
    let (tell, committed) = mpsc::channel();
    let (has_engine, engine_taken) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let meet_flush = Mutex::new(Some({
        let store = store.clone();
        move || {
            let reading = store.clone();
            thread::spawn(move || {
                thread::park_timeout(Duration::from_millis(1));
                reading.open(ThinId(3), BLOCK).unwrap().read(0, &mut [0; 512]).unwrap();
            });
            engine_taken.recv().unwrap();
            thread::spawn(move || tell.send(store.wait_durable(&cut)).unwrap());
            thread::sleep(Duration::from_millis(100));
        }
    }));
    let meet_read = Mutex::new(Some(move || {
        has_engine.send(()).unwrap();
        released.recv().unwrap();
    }));
    let flushing = thread::current().id();
    sim.set_faults(Faults { failing_flush: Some(DATA), ..Faults::default() });
    sim.set_hook(Some(Arc::new(move |file, what| {
        let mine = thread::current().id() == flushing;
        if mine && (file, what) == (DATA, Operation::Flush) {
            let meet = meet_flush.lock().unwrap().take();
            meet.into_iter().for_each(|meet| meet());
        }
        if !mine && (file, what) == (META, Operation::Read) {
            let meet = meet_read.lock().unwrap().take();
            meet.into_iter().for_each(|meet| meet());
        }
    })));
    second.flush().unwrap_err();
    release.send(()).unwrap();
    committed.recv().unwrap().unwrap_err();
    sim.set_hook(None);
    drop((second, store));
    try_open(&sim, 1).expect("the last flushed state");
}

/// A file whose growth to one size waits for something.
struct Slow {
    file: Arc<dyn BlockFile>,
    bytes: u64,
    waits: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    seen: AtomicU64,
}

impl BlockFile for Slow {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.seen.fetch_add(1, SeqCst);
        if bytes == self.bytes {
            let wait = self.waits.lock().unwrap().take();
            wait.into_iter().for_each(|wait| wait());
        }
        self.file.set_size(bytes)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
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

/// Two extensions of the metadata at once, to 200 and to 300 blocks.
#[test]
fn an_extension_never_shortens_what_another_has_made() {
    let sim = Sim::with_pool(160, 60, BLOCK);
    let (done, is_done) = mpsc::channel();
    let backing = sim.backing(1);
    let wait = move || {
        let _late = is_done.recv_timeout(Duration::from_secs(1));
    };
    let (seen, waits) = (AtomicU64::new(0), Mutex::new(Some(Box::new(wait) as Box<dyn FnOnce() + Send>)));
    let meta = Arc::new(Slow { file: backing.meta.clone(), bytes: 200 * 4096, waits, seen });
    let store =
        ThinPoolStore::on(Backing { meta: meta.clone(), ..backing }, PoolParams::new(40 * BLOCK)).unwrap();
    let to = |blocks: u64| Extend { data_bytes: None, metadata_bytes: Some(blocks * 4096) };
    thread::scope(|scope| {
        let small = scope.spawn(|| store.extend(to(200)));
        while meta.seen.load(SeqCst) == 0 {
            thread::yield_now();
        }
        let large = store.extend(to(300));
        // The other may have waited long enough.
        let _heard = done.send(());
        large.and(small.join().unwrap()).unwrap();
    });
    let total = store.usage().metadata_total;
    let file = sim.content(META).size() / 4096;
    drop(store);
    assert!(file >= total, "the pool has {total} metadata blocks, its file {file}");
}
