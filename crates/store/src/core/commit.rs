//! Making changes durable: group commit, flushes, and what follows a commit.
//!
//! What always holds: data before metadata before superblock, each durable before the next (R4, R5); what a commit freed
//! is used again only when nobody can still be reading or writing it; after a failure nothing is written any more.

use super::{Core, PoolGuard};
use crate::{backing::BlockFile, hold::lock, needs_check};
use std::{
    io,
    sync::atomic::Ordering::{Relaxed, SeqCst},
};
use umbra_base::{Error, Result};
use umbra_thin::{LogUse, ThinId};

impl Core {
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
        let closed = self.closed.load(SeqCst);
        let want = self.pool().changed_in(id)?;
        // A commit that closed its transaction after the call has flushed the data on its way.
        if self.commit_through(want)? > closed { Ok(()) } else { self.flush_data() }
    }

    /// Makes everything acknowledged so far durable.
    pub(crate) fn flush_all(&self) -> Result<()> {
        self.check_writable()?;
        let closed = self.closed.load(SeqCst);
        if self.commit()? > closed { Ok(()) } else { self.flush_data() }
    }

    fn flush_data(&self) -> Result<()> {
        let next = self.data_flushes.begun() + 1;
        self.data_flushes.reach(next, || self.sync_data(), |()| ()).map(drop)
    }

    /// The kernel tells a failure to write once for each open file: whoever flushes does so alone, and nobody after a
    /// failure.
    fn sync_data(&self) -> Result<()> {
        let _alone = lock(&self.syncing);
        self.check_not_failed()?;
        self.backing.data.sync().map_err(|e| {
            let error = Error::io("flush pool.data", e);
            self.fail(&error);
            // Nobody knows any more what the blocks of logged writes hold; stale data must not show (A2).
            if let Err(error) = lock(&self.journal).void() {
                tracing::error!(%error, "empty pool.log");
            }
            error
        })
    }

    /// Closes the transaction and writes it: data, metadata, superblock, each durable before the next (R4, R5).
    fn write_commit(&self) -> Result<umbra_thin::Commit> {
        self.check_not_failed()?;
        if self.is_over.load(SeqCst) {
            // Somebody looked for room while the pool was closed: a kernel may have it by now (A4).
            self.check_open()?;
        }
        self.try_commit().inspect_err(|error| self.fail(error))
    }

    fn try_commit(&self) -> Result<umbra_thin::Commit> {
        self.write_counts()?;
        let commit = self.close_transaction()?;
        self.sync_data()?;
        // A failure that was told to another flush is ours as well.
        self.check_not_failed()?;
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

    /// What can be done before everybody waits, in small steps.
    fn write_counts(&self) -> Result<()> {
        loop {
            let mut pool = self.pool();
            let more = pool.write_counts()?;
            PoolGuard::unlock_fair(pool);
            if !more {
                return Ok(());
            }
            // Those that only look whether the engine is free shall find it so, too.
            std::thread::yield_now();
        }
    }

    fn close_transaction(&self) -> Result<umbra_thin::Commit> {
        let mut pool = self.pool();
        let is_last = self.closing.load(SeqCst);
        let log = match is_last {
            true => LogUse::Empty,
            false => LogUse::MayHoldWrites { boot: self.backing.boot },
        };
        let commit = pool.begin_commit(log)?;
        self.is_over.store(is_last, SeqCst);
        self.closed.store(commit.transaction, SeqCst);
        let mut journal = lock(&self.journal);
        // A flush of the data that failed meanwhile has emptied the log: nothing is started in it any more.
        self.check_not_failed()?;
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
        let pool = self.pool();
        // Under the engine's lock: whoever closes this transaction knows that it is the last.
        self.closing.store(true, SeqCst);
        let last = pool.transaction();
        drop(pool);
        // Whoever made it may still be giving back what it freed.
        let done = self.commit_through(last)?;
        self.commits.follow_up(done);
        lock(&self.journal).clear().map_err(|e| Error::io("empty pool.log", e))
    }
}

/// Metadata blocks in one write: 1 MiB.
const BLOCKS_PER_WRITE: usize = 256;

/// Writes the blocks of a commit, neighbours together.
fn write_blocks(meta: &dyn BlockFile, commit: &umbra_thin::Commit) -> io::Result<()> {
    let mut blocks: Vec<_> = commit.blocks.iter().collect();
    blocks.sort_unstable_by_key(|block| block.number);
    let mut bytes = Vec::new();
    let runs = blocks.chunk_by(|a, b| a.number + 1 == b.number);
    for run in runs.flat_map(|run| run.chunks(BLOCKS_PER_WRITE)) {
        bytes.clear();
        run.iter().for_each(|block| bytes.extend_from_slice(&block.bytes()));
        meta.write_at(&bytes, run[0].number * 4096)?;
    }
    Ok(())
}
