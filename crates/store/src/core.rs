//! What all parts of a store share: the engine under its lock, the files, the gates, the commit.
//!
//! Picture: `pool` is the one lock of the engine, held for memory work only. Data moves outside of it. The order of
//! locks is: close lock, hold, range, engine, journal.
//!
//! What always holds: a change is made in the engine, then appended to the journal, then acknowledged; a commit closes
//! the engine's transaction and starts the journal's next segment under the engine's lock, so that no change is in
//! neither.

use crate::{
    Mode, Usage,
    backing::{Backing, BlockFile},
    epoch::Epochs,
    hold::{Gate, lock},
    journal::{Journal, Together},
    limits,
    map_cache::{CacheKey, Known, MapCache},
    needs_check,
    params::PoolParams,
    provision::{Content, Provision},
    ranges::Ranges,
    room::Room,
    space::Space,
    turns::Turns,
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};
use umbra_base::{Error, ErrorCode, Result};
use umbra_thin::{LogUse, MetaRead, Page, Pool, ThinError, ThinId, log::Change};

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

/// What all openings of one device share. It outlives the device: an opening that is left over must find the gate.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) gate: Arc<Gate>,
    pub(crate) ranges: Ranges,
    /// The device's snapshotted_time; changes only while the gate is closed.
    stamp: AtomicU32,
    /// Its [`CacheKey`]; another one for each life of the id.
    key: AtomicU32,
}

impl Shared {
    pub(crate) fn stamp(&self) -> u32 {
        self.stamp.load(SeqCst)
    }

    /// Takes over the device's snapshot time; under the engine's lock, with the gate closed.
    pub(crate) fn restamp(&self, stamp: u32) {
        self.stamp.store(stamp, SeqCst);
    }

    pub(crate) fn key(&self) -> CacheKey {
        CacheKey(self.key.load(SeqCst))
    }
}

/// The store behind its handles.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) backing: Backing,
    pub(crate) block_bytes: u64,
    pool: Mutex<Pool<MetaFile>>,
    journal: Mutex<Journal>,
    /// Bytes of its open segment, to be looked at without the lock.
    log_used: AtomicU64,
    /// Runs are the engine's transactions.
    pub(crate) commits: Turns,
    data_flushes: Turns,
    /// Times that blocks became free.
    pub(crate) releases: AtomicU64,
    pub(crate) room: Room,
    pub(crate) space: Space,
    pub(crate) epochs: Epochs,
    pub(crate) provision: Provision,
    devices: Mutex<HashMap<ThinId, Arc<Shared>>>,
    pub(crate) cache: MapCache,
    next_key: AtomicU32,
    /// Devices of a damaged pool whose last acknowledged writes cannot be entered.
    behind: OnceLock<BTreeSet<ThinId>>,
    state: Mutex<State>,
    /// Whether `state` is [`State::Open`], to be looked at without the lock.
    is_open: AtomicBool,
    /// Set once: the commits from here on leave no log behind.
    closing: AtomicBool,
    pub(crate) wake: Condvar,
    pub(crate) asked: Mutex<Asked>,
}

#[derive(Debug)]
enum State {
    Open,
    /// Why nothing may be changed any more (A6).
    Failed(String),
    Closed,
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
        mut pool: Pool<MetaFile>,
        journal: Journal,
        params: &PoolParams,
        content: Content,
    ) -> Self {
        let block_bytes = pool.block_bytes();
        let nodes = params.cache_bytes / limits::NODES_OF_CACHE;
        pool.set_cache_pages((nodes / 4096).max(limits::NODES_MIN) as usize);
        Core {
            cache: MapCache::new(params.cache_bytes - nodes, pool.data_fill().total),
            next_key: AtomicU32::new(1),
            block_bytes,
            commits: Turns::new(pool.transaction() - 1),
            data_flushes: Turns::new(0),
            releases: AtomicU64::new(0),
            room: Room::new(params.thresholds),
            space: Space::default(),
            epochs: Epochs::default(),
            provision: Provision::new(pool.data_fill().total, block_bytes, content),
            devices: Mutex::default(),
            behind: OnceLock::new(),
            state: Mutex::new(State::Open),
            is_open: AtomicBool::new(true),
            closing: AtomicBool::new(false),
            wake: Condvar::new(),
            asked: Mutex::new(Asked::Nothing),
            pool: Mutex::new(pool),
            journal: Mutex::new(journal),
            log_used: AtomicU64::new(0),
            backing,
        }
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool<MetaFile>> {
        lock(&self.pool)
    }

    pub(crate) fn shared(&self, id: ThinId) -> Arc<Shared> {
        let mut devices = lock(&self.devices);
        let shared = devices.entry(id).or_insert_with(|| {
            let stamp = self.pool().details(id).map_or(0, |details| details.snapshotted_time);
            Arc::new(Shared {
                gate: Arc::default(),
                ranges: Ranges::default(),
                stamp: AtomicU32::new(stamp),
                key: AtomicU32::new(self.new_key()),
            })
        });
        shared.clone()
    }

    fn new_key(&self) -> u32 {
        self.next_key.fetch_add(1, Relaxed) % (1 << 28)
    }

    /// The id is another device from now on, or none. Called under the engine's lock, so that no commit can hand its
    /// blocks out while the cache still knows them.
    pub(crate) fn rekey(&self, shared: &Shared, stamp: u32) {
        shared.key.store(self.new_key(), SeqCst);
        shared.restamp(stamp);
    }

    /// Reads the mappings around a block into the cache.
    pub(crate) fn learn(&self, id: ThinId, shared: &Shared, vblock: u64) -> Result<(), ThinError> {
        let line = MapCache::line_of(vblock);
        let mut pool = self.pool();
        let runs = pool.lookup(id, line.clone())?;
        let known = |at: &umbra_thin::Mapped, i: u64| Known::At { block: at.block + i, private: !at.shared };
        let mapped = runs
            .iter()
            .filter_map(|run| run.at.as_ref().map(|at| (run, at)))
            .flat_map(|(run, at)| (0..run.len).map(move |i| (run.vblock + i, known(at, i))));
        shared.ranges.while_steady(|is_locked| {
            self.cache.fill(shared.key(), shared.stamp(), line, mapped, is_locked);
        });
        drop(pool);
        Ok(())
    }

    /// The gates of every device that was ever asked for.
    pub(crate) fn all_gates(&self) -> Vec<(ThinId, Arc<Gate>)> {
        let mut gates: Vec<_> =
            lock(&self.devices).iter().map(|(id, shared)| (*id, shared.gate.clone())).collect();
        gates.sort_by_key(|(id, _)| *id);
        gates
    }

    /// Whether everything works; if not, somebody else says why.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(SeqCst)
    }

    /// Refuses what needs an open store.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_open.load(SeqCst) {
            return Ok(());
        }
        match &*lock(&self.state) {
            State::Closed => Err(Error::new(ErrorCode::BadState, "the pool is closed")),
            _ => Ok(()),
        }
    }

    /// Refuses what changes something, unless changes are possible.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.is_open.load(SeqCst) {
            return Ok(());
        }
        match &*lock(&self.state) {
            State::Open => Ok(()),
            State::Closed => Err(Error::new(ErrorCode::BadState, "the pool is closed")),
            State::Failed(why) => {
                Err(Error::new(ErrorCode::BadState, format!("the pool is read-only since an error: {why}"))
                    .hint("find out what is wrong with the disk, then restart the array"))
            }
        }
    }

    /// From now on nothing is changed (A6). What is in memory is still read.
    pub(crate) fn fail(&self, error: &Error) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Open) {
            tracing::error!(code = %error.code(), error = error.chain(), "pool is read-only");
            *state = State::Failed(error.chain());
            self.is_open.store(false, SeqCst);
        }
        drop(state);
        self.room.wake();
    }

    /// Read-only from the start, and without the devices that are behind their log.
    pub(crate) fn serve_damaged(&self, behind: BTreeSet<ThinId>, damage: &Error) {
        // It is set once, by the opening.
        drop(self.behind.set(behind));
        self.fail(damage);
    }

    /// Refuses a device of which older data than was acknowledged would be read.
    pub(crate) fn check_not_behind(&self, id: ThinId) -> Result<()> {
        match self.behind.get().is_some_and(|behind| behind.contains(&id)) {
            false => Ok(()),
            true => Err(Error::new(
                ErrorCode::Corrupt,
                format!(
                    "thin device {id}: its last writes are in pool.log, which a damaged pool cannot take up"
                ),
            )
            .hint("repair pool.meta with thin_repair, then start the array again")),
        }
    }

    /// Why nothing may be changed, if that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &*lock(&self.state) {
            State::Failed(why) => Some(why.clone()),
            _ => None,
        }
    }

    pub(crate) fn set_closed(&self) {
        *lock(&self.state) = State::Closed;
        self.is_open.store(false, SeqCst);
    }

    pub(crate) fn mode(&self) -> Mode {
        match &*lock(&self.state) {
            State::Open => Mode::ReadWrite,
            State::Failed(_) => Mode::ReadOnly,
            State::Closed => Mode::Closed,
        }
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

    /// Makes everything changed so far durable.
    pub(crate) fn commit(&self) -> Result<u64> {
        let want = {
            let pool = self.pool();
            pool.transaction() - u64::from(!pool.is_changed())
        };
        self.commit_through(want)
    }

    /// Commits even if nothing changed.
    pub(crate) fn commit_anyway(&self) -> Result<u64> {
        let want = self.pool().transaction();
        self.commit_through(want)
    }

    /// Makes a transaction durable and returns the last that is. Joins the commit under way, or starts the next.
    pub(crate) fn commit_through(&self, want: u64) -> Result<u64> {
        self.commits.reach(want, || self.write_commit(), |commit| self.release(commit))
    }

    /// Makes the data of every acknowledged write of a device durable, and what says where it is.
    pub(crate) fn flush_device(&self, id: ThinId) -> Result<()> {
        self.check_writable()?;
        let begun = self.commits.begun();
        let want = self.pool().changed_in(id)?;
        // A commit that began after the call has flushed the data on its way.
        if self.commit_through(want)? > begun { Ok(()) } else { self.flush_data() }
    }

    /// Makes everything acknowledged so far durable.
    pub(crate) fn flush_all(&self) -> Result<()> {
        self.check_writable()?;
        let begun = self.commits.begun();
        if self.commit()? > begun { Ok(()) } else { self.flush_data() }
    }

    fn flush_data(&self) -> Result<()> {
        let next = self.data_flushes.begun() + 1;
        self.data_flushes.reach(next, || self.sync_data(), |()| ()).map(drop)
    }

    fn sync_data(&self) -> Result<()> {
        self.backing.data.sync().map_err(|e| {
            let error = Error::io("flush pool.data", e);
            self.fail(&error);
            // Nobody knows any more what the blocks of logged writes hold; stale data must not show (A2).
            if let Err(error) = lock(&self.journal).clear() {
                tracing::error!(%error, "empty pool.log");
            }
            error
        })
    }

    /// Closes the transaction and writes it: data, metadata, superblock, each durable before the next (R4, R5).
    fn write_commit(&self) -> Result<umbra_thin::Commit> {
        self.check_not_failed()?;
        self.try_commit().inspect_err(|error| self.fail(error))
    }

    fn check_not_failed(&self) -> Result<()> {
        match &*lock(&self.state) {
            State::Failed(why) => {
                Err(Error::new(ErrorCode::BadState, format!("the pool is read-only: {why}")))
            }
            _ => Ok(()),
        }
    }

    fn try_commit(&self) -> Result<umbra_thin::Commit> {
        let commit = self.close_transaction()?;
        self.sync_data()?;
        self.write_metadata(&commit).inspect_err(|_| needs_check::mark(&*self.backing.meta))?;
        Ok(commit)
    }

    fn write_metadata(&self, commit: &umbra_thin::Commit) -> Result<()> {
        let meta = &*self.backing.meta;
        let flush = || meta.sync().map_err(|e| Error::io("flush pool.meta", e));
        write_blocks(meta, commit).map_err(|e| Error::io("write pool.meta", e))?;
        flush()?;
        meta.write_at(&commit.superblock[..], 0)
            .map_err(|e| Error::io("write the superblock of pool.meta", e))?;
        flush()
    }

    fn close_transaction(&self) -> Result<umbra_thin::Commit> {
        let log = if self.closing.load(SeqCst) { LogUse::Empty } else { LogUse::MayHoldWrites };
        let mut pool = self.pool();
        let commit = pool.begin_commit(log)?;
        let mut journal = lock(&self.journal);
        let started = journal.start(commit.generation).map_err(|e| Error::io("write pool.log", e));
        // Under the journal's lock: no record may go to a segment that could not be started.
        started.inspect_err(|error| self.fail(error))?;
        self.log_used.store(journal.used(), Relaxed);
        drop(journal);
        Ok(commit)
    }

    /// After a durable commit: gives back what it freed, once nobody can still be reading or writing it.
    fn release(&self, commit: umbra_thin::Commit) {
        if !commit.freed_data.is_empty() {
            self.epochs.grace();
            self.provision.punch(&*self.backing.data, &commit.freed_data);
        }
        self.pool().commit_durable(commit.transaction);
        self.room_came();
    }

    /// Blocks became free: whoever waits for some looks again.
    pub(crate) fn room_came(&self) {
        self.releases.fetch_add(1, SeqCst);
        self.room.wake();
    }

    /// The last commit of a clean stop: no log behind it (A4).
    pub(crate) fn commit_closing(&self) -> Result<()> {
        self.closing.store(true, SeqCst);
        self.commit_anyway()?;
        lock(&self.journal).clear().map_err(|e| Error::io("empty pool.log", e))
    }
}

/// Writes the blocks of a commit, neighbours together.
fn write_blocks(meta: &dyn BlockFile, commit: &umbra_thin::Commit) -> io::Result<()> {
    let mut blocks: Vec<_> = commit.blocks.iter().collect();
    blocks.sort_unstable_by_key(|block| block.number);
    for run in blocks.chunk_by(|a, b| a.number + 1 == b.number) {
        let bytes: Vec<u8> = run.iter().flat_map(|block| block.bytes()).copied().collect();
        meta.write_at(&bytes, run[0].number * 4096)?;
    }
    Ok(())
}
