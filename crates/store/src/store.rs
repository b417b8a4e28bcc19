//! The embedded store: a thin pool on files.

use crate::{
    Allowance, Cut, Difference, Extend, Hold, LunStore, Share, SpacePolicy, Usage, Volume,
    background::Committer,
    backing::Backing,
    core::{Asked, Core},
    hold::lock,
    open,
    params::PoolParams,
    volume::ThinVolume,
};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use umbra_base::{Error, ErrorCode, Result, limits::HOLD_MAX, size::MAX_BYTES};
use umbra_thin::{Owner, Snapshot, ThinError, ThinId};

/// A thin pool in the kernel's dm-thin format on DIR/pool.meta, DIR/pool.data and DIR/pool.log.
///
/// Dropping it without [`LunStore::close`] leaves exactly what the death of the process leaves: the next opening enters
/// the log.
#[derive(Debug)]
pub struct ThinPoolStore {
    core: Arc<Core>,
    committer: Mutex<Option<Committer>>,
    closing: Mutex<()>,
}

impl ThinPoolStore {
    /// Opens the pool in `dir`; makes it, with these parameters, if there is none.
    pub fn create_or_open(dir: &Path, params: PoolParams) -> Result<Self> {
        Self::on(Backing::in_dir(dir)?, params)
    }

    /// The same on files of the caller's.
    pub fn on(backing: Backing, params: PoolParams) -> Result<Self> {
        let core = Arc::new(open::open(backing, &params)?);
        let committer = Mutex::new(Committer::start(&core, params.background)?);
        Ok(ThinPoolStore { core, committer, closing: Mutex::new(()) })
    }

    fn refuse_empty(ids: &BTreeSet<ThinId>) -> Result<()> {
        match ids.is_empty() {
            true => Err(Error::new(ErrorCode::InvalidArgument, "a hold of no device")),
            false => Ok(()),
        }
    }
}

impl LunStore for ThinPoolStore {
    fn create(&self, id: ThinId) -> Result<()> {
        let shared = self.core.shared(id);
        let transaction = self.core.change(format_args!("create thin device {id}"), || {
            let mut pool = self.core.pool_to_change()?;
            pool.create(id).map_err(|error| self.core.met(error))?;
            self.core.rekey(&shared, pool.details(id)?.snapshotted_time);
            Ok(pool.transaction())
        })?;
        self.core.commit_through(transaction).map(drop)
    }

    fn open(&self, id: ThinId, size_bytes: u64) -> Result<Arc<dyn Volume>> {
        self.core.check_open()?;
        self.core.pool().details(id)?;
        self.core.check_not_behind(id)?;
        if size_bytes == 0 || size_bytes > MAX_BYTES || !size_bytes.is_multiple_of(umbra_thin::limits::SECTOR)
        {
            let text = format!(
                "open thin device {id}: a size of {size_bytes} bytes is not whole sectors of 512 bytes"
            );
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        Ok(Arc::new(ThinVolume { core: self.core.clone(), shared: self.core.shared(id), id, size_bytes }))
    }

    fn hold(&self, ids: &[ThinId], lease: Duration) -> Result<Hold> {
        self.core.check_writable()?;
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        Self::refuse_empty(&ids)?;
        if lease > HOLD_MAX {
            let text = format!("a hold of {lease:?} is longer than {HOLD_MAX:?}");
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        {
            let pool = self.core.pool();
            ids.iter().try_for_each(|id| pool.details(*id).map(drop))?;
        }
        Hold::take(ids.iter().map(|id| (*id, self.core.shared(*id).gate.clone())).collect(), lease)
    }

    fn cut(&self, hold: &Hold, pairs: &[Snapshot]) -> Result<Cut> {
        let mut allowed = hold.ids().clone();
        for Snapshot { origin, copy } in pairs {
            if !allowed.contains(origin) {
                let text = format!("cut thin device {origin}: its writes are not held");
                return Err(Error::new(ErrorCode::InvalidArgument, text));
            }
            allowed.insert(*copy);
        }
        // Found before the engine is locked, which comes after the table of devices.
        let ids = hold.ids().iter().copied().chain(pairs.iter().map(|pair| pair.copy));
        let shared: Vec<_> = ids.map(|id| (id, self.core.shared(id))).collect();
        let origins: Vec<_> =
            pairs.iter().map(|pair| pair.origin).filter(|id| hold.ids().contains(id)).collect();
        hold.while_held(|| {
            self.core.check_writable()?;
            let mut pool = self.core.pool();
            if !self.core.space.can_cut(&origins, pool.data_fill().free) {
                let text = "cut: the pool could not keep what is reserved for the origins any more";
                return Err(Error::new(ErrorCode::InsufficientStorage, text)
                    .hint("delete copies, extend the pool, or reserve less"));
            }
            pool.snapshot(pairs).map_err(|error| self.core.met(error))?;
            self.core.space.cut(&origins);
            for (id, shared) in &shared {
                // One that was deleted before its gate was closed has no time, and nothing to write.
                if let Ok(details) = pool.details(*id) {
                    shared.restamp(details.snapshotted_time);
                }
            }
            Ok(Cut { transaction: pool.transaction() })
        })
    }

    fn wait_durable(&self, cut: &Cut) -> Result<()> {
        self.core.commit_through(cut.transaction).map(drop)
    }

    fn delete(&self, id: ThinId) -> Result<()> {
        self.core.check_writable()?;
        let is_gone = matches!(self.core.pool().details(id), Err(ThinError::Unknown(_)));
        if is_gone {
            // Perhaps by somebody whose commit is on its way.
            return self.core.commit().map(drop);
        }
        // What is in flight ends first: its log records must come before the end of the device.
        let shared = self.core.shared(id);
        let hold = Hold::take(vec![(id, shared.gate.clone())], HOLD_MAX)?;
        let begin = || {
            let mut pool = self.core.pool_to_change()?;
            match pool.begin_delete(id) {
                Ok(()) => {
                    self.core.rekey(&shared, 0);
                    self.core.space.forget(id);
                    Ok(pool.transaction())
                }
                Err(ThinError::Unknown(_)) => Ok(pool.transaction()),
                Err(error) => Err(self.core.met(error).into()),
            }
        };
        let what = format_args!("delete thin device {id}");
        let transaction = self.core.change(what, || hold.while_held(begin))?;
        drop(hold);
        drop(shared);
        self.core.note_gone(id);
        self.core.commit_through(transaction)?;
        // In a foreign pool a device that is being deleted is, after a crash, an ordinary one: it goes at once. A pool that is
        // being closed is changed no more; the next opening goes on.
        let is_ours = self.core.pool().owner() == Owner::Ours;
        if is_ours && (!self.core.is_open() || lock(&self.committer).is_some()) {
            self.core.ask(Asked::Commit);
            return Ok(());
        }
        self.core.reap_all()?;
        if self.core.pool().owner() == Owner::Foreign && self.core.pool().has_doomed() {
            let text =
                format!("delete thin device {id}: there is not enough metadata space to take all of it away");
            return Err(Error::new(ErrorCode::InsufficientStorage, text).hint("extend the pool's metadata"));
        }
        self.core.commit().map(drop)
    }

    fn share(&self, wish: Share) -> Result<()> {
        self.core.share(wish)
    }

    fn changed(&self, old: ThinId, new: ThinId, from: u64) -> Result<Difference> {
        self.core.changed(old, new, from)
    }

    fn allocated(&self, id: ThinId, from: u64) -> Result<Difference> {
        self.core.allocated(id, from)
    }

    fn allow(&self, id: ThinId, allowance: Allowance) -> Result<()> {
        self.core.check_writable()?;
        self.core.allow(id, allowance)
    }

    fn set_policy(&self, policy: Arc<dyn SpacePolicy>) {
        self.core.room.set_policy(policy);
        self.core.ask(Asked::Commit);
    }

    fn extend(&self, to: Extend) -> Result<()> {
        self.core.extend(to)
    }

    fn flush(&self) -> Result<()> {
        self.core.flush_all()
    }

    fn device_ids(&self) -> Result<Vec<ThinId>> {
        self.core.check_open()?;
        Ok(self.core.pool().device_ids().collect())
    }

    fn usage(&self) -> Usage {
        self.core.usage()
    }

    fn trouble(&self) -> Option<String> {
        self.core.trouble()
    }

    fn damage(&self) -> Vec<String> {
        self.core.damage()
    }

    fn mapped_blocks(&self, id: ThinId) -> Result<u64> {
        self.core.check_open()?;
        self.core.check_not_behind(id)?;
        Ok(self.core.pool().details(id)?.mapped_blocks)
    }

    fn cuts_left(&self) -> u32 {
        self.core.pool().cuts_left()
    }

    fn end_waiting(&self) {
        self.core.room.end();
    }

    fn data_file(&self) -> Option<Arc<std::fs::File>> {
        self.core.backing.data.file()
    }

    fn close(&self) -> Result<()> {
        let _closing = lock(&self.closing);
        if self.core.check_open().is_err() {
            return Ok(());
        }
        self.core.check_writable()?;
        let hold = Hold::take(self.core.all_gates(), HOLD_MAX)?;
        self.core.set_closed()?;
        drop(hold);
        self.core.end_emptying();
        // Joined without the lock: what the thread is at may be a deletion, which takes it.
        let committer = lock(&self.committer).take();
        drop(committer);
        self.core.commit_closing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Background;

    #[test]
    fn of_devices_that_are_gone_nothing_is_kept_once_nobody_has_them_open() {
        let dir = tempfile::tempdir().unwrap();
        let params = PoolParams { background: Background::Off, ..PoolParams::new(64 << 20) };
        let store = ThinPoolStore::create_or_open(dir.path(), params).unwrap();
        store.create(ThinId(1)).unwrap();
        for copy in (2..10).map(ThinId) {
            let hold = store.hold(&[ThinId(1)], HOLD_MAX).unwrap();
            store.cut(&hold, &[Snapshot { origin: ThinId(1), copy }]).unwrap();
            drop(hold);
            let open = store.open(copy, 1 << 20).unwrap();
            store.delete(copy).unwrap();
            assert_eq!(store.core.known_devices(), 2, "an opening that is left over must find its gate");
            drop(open);
            store.core.forget_gone();
            assert_eq!(store.core.known_devices(), 1);
        }
    }
}
