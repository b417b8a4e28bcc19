//! A driver of the engine as the fuzzer wishes: operations, commits in two steps, crashes between them.
//!
//! It keeps the rules that the engine sets its driver: sizes are checked at opening, a write that was planned is
//! finished or aborted, a superblock is written after all blocks of its commit. On a sound pool it watches that no
//! operation finds damage, that every commit can be written, and that the checker is content with what is on disk.

use crate::{
    disk::Disk,
    operation::{Device, How, Operation},
};
use umbra_base::ErrorCode;
use umbra_thin::{
    Commit, LogUse, Plan, Pool, Snapshot, ThinError, ThinId,
    log::{Change, Record},
};

/// Pairs of one snapshot, blocks of one write: enough to fill a small pool, few enough to stay fast.
const PAIRS_MAX: usize = 8;
const WRITE_MAX: u64 = 64;
/// Steps of one comparison.
const STEPS_MAX: u32 = 64;
/// States on disk that the checker looks at before the last one: it takes most of the time.
const CHECKS_MAX: u32 = 2;

/// A pool that is open.
#[derive(Debug)]
pub(crate) struct Session {
    disk: Disk,
    pool: Pool<Disk>,
    /// Blocks of the data device.
    data_blocks: u64,
    in_flight: Option<Commit>,
    /// Whether the pool was never damaged.
    sound: bool,
    checks: u32,
}

impl Session {
    /// Opens a pool for writing as a driver does.
    pub(crate) fn open(disk: Disk, data_blocks: u64, sound: bool) -> Result<Self, ThinError> {
        let pool = Pool::open(disk.clone())?;
        pool.superblock().check_writable()?;
        pool.check_sizes(disk.len(), data_blocks)?;
        Ok(Session { disk, pool, data_blocks, in_flight: None, sound, checks: 0 })
    }

    /// Does one thing; errors are as good as success unless they accuse a sound pool.
    pub(crate) fn run(&mut self, operation: &Operation) {
        let result = self.attempt(operation);
        if let Err(error) = result {
            assert!(
                !self.sound || is_refusal(&error),
                "a sound pool is said to be damaged: {operation:?}: {error}"
            );
        }
    }

    /// Ends what is under way and commits; on a sound pool nothing of it can fail.
    pub(crate) fn close(mut self) {
        let closed = self.attempt(&Operation::EndCommit).and_then(|()| self.begin_commit(LogUse::Empty));
        match closed.and_then(|()| self.end_commit()) {
            Err(error) => assert!(!self.sound, "a sound pool cannot be committed: {error}"),
            Ok(()) if self.sound => {
                drop(Session::open(self.disk, self.data_blocks, true).expect("it reopens"))
            }
            Ok(()) => {}
        }
    }

    fn attempt(&mut self, operation: &Operation) -> Result<(), ThinError> {
        match operation {
            Operation::Create(first, more) => first.row(*more).try_for_each(|id| self.pool.create(id)),
            Operation::Snapshot(pairs) => self.snapshot(pairs),
            Operation::Delete(first, more) => {
                first.row(*more).try_for_each(|id| self.pool.delete(id).map(drop))
            }
            Operation::BeginDelete(device) => self.pool.begin_delete(device.id()),
            Operation::DeleteStep { budget } => self.delete_step((*budget).into()),
            Operation::Share { from, to, blocks } => {
                let (from, to) = ((from.0.id(), from.1.block()), (to.0.id(), to.1.block()));
                self.pool.share(from.0, from.1, to.0, to.1, (*blocks).into())
            }
            Operation::Hold => self.pool.reserve_metadata_snapshot(),
            Operation::Release => self.pool.release_metadata_snapshot(),
            Operation::Changed { left, right, from, budget } => {
                self.changed(left.id(), right.map(Device::id), from.block(), (*budget).into())
            }
            Operation::Lookup(device, span) => self.pool.lookup(device.id(), span.range()).map(drop),
            Operation::Mappings(device, span) => self.pool.mappings(device.id(), span.range()).map(drop),
            Operation::Leaf(device, at) => self.leaf(device.id(), at.block()),
            Operation::Write { device, at, blocks, how } => {
                let (id, from) = (device.id(), at.block());
                let to = from.saturating_add(u64::from(*blocks) % WRITE_MAX);
                (from..=to).try_for_each(|vblock| self.write(id, vblock, *how))
            }
            Operation::Discard(device, span) => self.pool.discard(device.id(), span.range()).map(drop),
            Operation::ExtendData(blocks) => self.extend_data((*blocks).into()),
            Operation::ExtendMetadata(blocks) => self.extend_metadata((*blocks).into()),
            Operation::ReplayMap { device, at, block, len } => {
                let (device, vblock, block) = (device.id(), at.block(), u64::from(*block));
                self.replay(Change::Map { device, vblock, block, len: (*len).into() })
            }
            Operation::ReplayUnmap(device, span) => {
                let (device, range) = (device.id(), span.range());
                self.replay(Change::Unmap { device, vblock: range.start, len: range.end - range.start })
            }
            Operation::BeginCommit { log } => {
                self.begin_commit(if *log { LogUse::MayHoldWrites { boot: [1; 16] } } else { LogUse::Empty })
            }
            Operation::EndCommit => self.end_commit(),
            Operation::Crash { arrived, whole } => self.crash(*arrived, *whole),
        }
    }

    fn snapshot(&mut self, pairs: &[(Device, Device)]) -> Result<(), ThinError> {
        let pair = |(origin, copy): &(Device, Device)| Snapshot { origin: origin.id(), copy: copy.id() };
        self.pool.snapshot(&pairs.iter().take(PAIRS_MAX).map(pair).collect::<Vec<_>>())
    }

    /// A step that has nothing left leaves nothing doomed.
    fn delete_step(&mut self, budget: u64) -> Result<(), ThinError> {
        let step = self.pool.delete_step(budget)?;
        assert_eq!(step.left, self.pool.has_doomed());
        Ok(())
    }

    /// What changed between two devices, or from nothing; each step goes on behind where the last one was.
    fn changed(
        &mut self,
        left: ThinId,
        right: Option<ThinId>,
        from: u64,
        budget: u64,
    ) -> Result<(), ThinError> {
        let mut from = from;
        for _ in 0..STEPS_MAX {
            let next = match right {
                Some(right) => self.pool.changed(left, right, from, budget)?.next,
                None => self.pool.allocated(left, from, budget)?.next,
            };
            let Some(next) = next else { break };
            assert!(next > from, "a step from {from} goes on at {next}");
            from = next;
        }
        Ok(())
    }

    /// Whatever the tree is like, a leaf answers for the block that was asked for, and its entries lie in its range.
    fn leaf(&mut self, id: ThinId, vblock: u64) -> Result<(), ThinError> {
        let mut entries = Vec::new();
        let keys = self.pool.leaf(id, vblock, &mut entries)?;
        assert!(vblock == u64::MAX || keys.contains(&vblock), "the leaf of {vblock} is one of {keys:?}");
        assert!(entries.iter().all(|(key, _)| keys.contains(key)), "entries outside {keys:?}");
        Ok(())
    }

    fn write(&mut self, id: ThinId, vblock: u64, how: How) -> Result<(), ThinError> {
        let plan = match how {
            How::Redirected => self.pool.plan_redirect(id, vblock)?,
            How::InPlaceIfPossible | How::Aborted => self.pool.plan_write(id, vblock)?,
        };
        match (plan, how) {
            (Plan::InPlace(_), _) => Ok(()),
            (_, How::Aborted) => {
                self.pool.abort_write(plan);
                Ok(())
            }
            (Plan::Fresh { to } | Plan::Copy { to, .. }, _) => {
                self.pool.finish_write(id, vblock, to).inspect_err(|_| self.pool.abort_write(plan))
            }
        }
    }

    fn extend_data(&mut self, blocks: u64) -> Result<(), ThinError> {
        let blocks = self.pool.data_fill().total.saturating_add(blocks);
        self.pool.extend_data(blocks)?;
        self.data_blocks = self.data_blocks.max(blocks);
        Ok(())
    }

    /// Within the device: growing that is another matter.
    fn extend_metadata(&mut self, blocks: u64) -> Result<(), ThinError> {
        let now = self.pool.metadata_fill().total;
        self.pool.extend_metadata(now.saturating_add(blocks).min(self.disk.len()))
    }

    /// The log of a sound pool names only blocks that are free or mapped there already, so that a refusal is no
    /// wonder; what it maps is entered nonetheless.
    fn replay(&mut self, change: Change) -> Result<(), ThinError> {
        match self.pool.replay(&Record { sequence: 0, change }) {
            Err(ThinError::LogRecord { .. }) => Ok(()),
            result => result,
        }
    }

    fn begin_commit(&mut self, log: LogUse) -> Result<(), ThinError> {
        if self.in_flight.is_none() {
            // One kind of commit as a store makes it, the other all at once.
            while log != LogUse::Empty && self.pool.write_counts()? {}
            self.in_flight = Some(self.pool.begin_commit(log)?);
        }
        Ok(())
    }

    fn end_commit(&mut self) -> Result<(), ThinError> {
        if let Some(commit) = self.in_flight.take() {
            self.disk.write_commit(&commit);
            self.pool.commit_durable(commit.transaction);
            self.watch("after a commit");
        }
        Ok(())
    }

    fn crash(&mut self, arrived: u64, whole: bool) -> Result<(), ThinError> {
        match self.in_flight.take() {
            Some(commit) if whole => self.disk.write_commit(&commit),
            Some(commit) => {
                let blocks = commit.blocks.iter().enumerate().filter(|(i, _)| arrived >> (i % 64) & 1 == 1);
                blocks.for_each(|(_, block)| self.disk.write(block.number, &block.bytes()));
            }
            None => {}
        }
        self.watch("after a crash");
        let reopened = Session::open(self.disk.clone(), self.data_blocks, self.sound)?;
        *self = Session { checks: self.checks, ..reopened };
        Ok(())
    }

    fn watch(&mut self, when: &str) {
        self.checks += 1;
        if self.sound && self.checks <= CHECKS_MAX {
            self.disk.assert_clean(when);
        }
    }
}

/// Whether an error says no more than that this cannot be done now.
fn is_refusal(error: &ThinError) -> bool {
    !matches!(error.code(), ErrorCode::Corrupt | ErrorCode::Io) && !matches!(error, ThinError::Broken)
}
