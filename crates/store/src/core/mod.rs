//! What all parts of a store share: the engine under its lock, the files, the gates, the commit.
//!
//! Picture: `pool` is the one lock of the engine, held for work in memory and for reading metadata that is not there yet.
//! Data moves outside of it. The order of waiting, of everything in this crate: close lock, hold and gate, range, epoch,
//! table of devices, engine, then (one of them) cache line, table of ranges, table of space, journal; last the state.
//!
//! What always holds: a change is made in the engine, then appended to the journal, then acknowledged; a commit closes
//! the engine's transaction and starts the journal's next segment under the engine's lock, so that no change is in
//! neither.

mod commit;
mod damage;
mod device;
mod health;

pub(crate) use device::Shared;

use self::health::Health;
use crate::{
    Usage,
    backing::{Backing, BlockFile},
    epoch::Epochs,
    hold::lock,
    journal::{Journal, Together},
    limits,
    map_cache::MapCache,
    params::PoolParams,
    provision::{Content, Provision},
    room::Room,
    space::Space,
    turns::Turns,
};
use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};
use umbra_base::{Error, Result};
use umbra_thin::{MetaRead, Page, Pool, ThinId, log::Change};

/// Reads metadata blocks from their file.
pub(crate) struct MetaFile(pub(crate) Arc<dyn BlockFile>);

impl fmt::Debug for MetaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetaFile")
    }
}

impl MetaRead for MetaFile {
    fn read(&self, block: u64) -> io::Result<Box<Page>> {
        let mut page = Box::new([0; 4096]);
        let offset = block.checked_mul(4096).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0.read_at(&mut page[..], offset)?;
        Ok(page)
    }
}

/// The pool's logic on its metadata file.
pub(crate) type Engine = Pool<MetaFile>;

/// The engine, locked. Whoever works in small steps hands it to who waits in between: `PoolGuard::unlock_fair`.
pub(crate) type PoolGuard<'a> = parking_lot::MutexGuard<'a, Engine>;

/// The store behind its handles.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) backing: Backing,
    pub(crate) block_bytes: u64,
    pool: parking_lot::Mutex<Engine>,
    journal: Mutex<Journal>,
    /// Bytes of its open segment, to be looked at without the lock.
    log_used: AtomicU64,
    /// Runs are the engine's transactions.
    pub(crate) commits: Turns,
    /// The last transaction that was closed: what is written from then on is flushed by a later commit.
    pub(crate) closed: AtomicU64,
    data_flushes: Turns,
    /// Times that blocks became free.
    pub(crate) releases: AtomicU64,
    pub(crate) room: Room,
    pub(crate) space: Space,
    pub(crate) epochs: Epochs,
    pub(crate) provision: Provision,
    devices: Mutex<HashMap<ThinId, Arc<Shared>>>,
    /// Of these, such as were deleted.
    gone: Mutex<Vec<ThinId>>,
    pub(crate) cache: MapCache,
    next_key: AtomicU32,
    health: Health,
    /// Held by the one who flushes the data.
    syncing: Mutex<()>,
    /// Held by the one who extends the pool.
    pub(crate) growing: Mutex<()>,
    /// Set once: the next commit is the last, and leaves no log behind.
    closing: AtomicBool,
    /// That commit was begun.
    is_over: AtomicBool,
    pub(crate) wake: Condvar,
    pub(crate) asked: Mutex<Asked>,
}

/// What the background thread is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    Commit,
    End,
}

impl Core {
    pub(crate) fn new(
        backing: Backing,
        mut pool: Engine,
        journal: Journal,
        params: &PoolParams,
        content: Content,
    ) -> Self {
        let block_bytes = pool.block_bytes();
        // A damaged superblock may name any number; there are no more than the file has.
        let blocks = pool.data_fill().total.min(backing.data.size().unwrap_or(0) / block_bytes);
        let nodes = params.cache_bytes / limits::NODES_OF_CACHE;
        pool.set_cache_pages((nodes / 4096).max(limits::NODES_MIN) as usize);
        Core {
            cache: MapCache::new(params.cache_bytes - nodes, blocks),
            next_key: AtomicU32::new(1),
            block_bytes,
            commits: Turns::new(pool.transaction() - 1),
            closed: AtomicU64::new(pool.transaction() - 1),
            data_flushes: Turns::new(0),
            releases: AtomicU64::new(0),
            room: Room::new(params.thresholds),
            space: Space::default(),
            epochs: Epochs::default(),
            provision: Provision::new(blocks, block_bytes, content),
            devices: Mutex::default(),
            gone: Mutex::default(),
            health: Health::open(),
            syncing: Mutex::default(),
            growing: Mutex::default(),
            closing: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            wake: Condvar::new(),
            asked: Mutex::new(Asked::Nothing),
            pool: parking_lot::Mutex::new(pool),
            journal: Mutex::new(journal),
            log_used: AtomicU64::new(0),
            backing,
        }
    }

    pub(crate) fn pool(&self) -> PoolGuard<'_> {
        self.pool.lock()
    }

    /// The engine, for a change that the last commit of a clean stop has to hold.
    pub(crate) fn pool_to_change(&self) -> Result<PoolGuard<'_>> {
        let pool = self.pool();
        self.check_writable().map(|()| pool)
    }

    /// The engine, if nobody has it at this moment.
    pub(crate) fn pool_at_once(&self) -> Option<PoolGuard<'_>> {
        self.pool.try_lock()
    }

    pub(crate) fn usage(&self) -> Usage {
        let pool = self.pool();
        let (data, metadata) = (pool.data_fill(), pool.metadata_fill());
        Usage {
            block_bytes: self.block_bytes,
            data_total: data.total,
            data_used: data.used,
            metadata_total: metadata.total,
            metadata_used: metadata.used,
            data_owed: self.space.owed(),
            mode: self.mode(),
        }
    }

    /// Appends changes that the engine has already; then they may be acknowledged. After a failure nothing is: the log was
    /// emptied, or ends in a segment that no recovery reads.
    pub(crate) fn log(&self, changes: &[Change], together: Together) -> Result<()> {
        let mut journal = lock(&self.journal);
        self.check_writable()?;
        let result = journal.append(changes, together).map_err(|e| Error::io("append to pool.log", e));
        self.log_used.store(journal.used(), Relaxed);
        result.inspect_err(|error| self.fail(error))
    }

    /// Whether the log has room for what the direct door hands out before the next commit, which is asked for here.
    pub(crate) fn has_log_room(&self) -> bool {
        let used = self.log_used.load(Relaxed);
        if used > limits::LOG_SOFT_BYTES {
            self.ask(Asked::Commit);
        }
        used <= limits::LOG_DIRECT_BYTES
    }

    /// Sees to it that the log has room. Called by writers before they enter any gate.
    pub(crate) fn make_log_room(&self) -> Result<()> {
        let used = self.log_used.load(Relaxed);
        if used > limits::LOG_HARD_BYTES {
            self.commit().map(drop)
        } else {
            if used > limits::LOG_SOFT_BYTES {
                self.ask(Asked::Commit);
            }
            Ok(())
        }
    }

    pub(crate) fn ask(&self, what: Asked) {
        let mut asked = lock(&self.asked);
        if *asked != Asked::End {
            *asked = what;
        }
        self.wake.notify_all();
    }
}
