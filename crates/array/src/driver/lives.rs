//! Requests about sets, carried out: pending -> created -> imported -> breaking -> broken (B1).

use super::{Array, lock, present::thin_id};
use crate::{
    leases, limits,
    model::{Access, Catalogue, Host, SetState, SnapshotSet, UnixNanos},
    rules::{
        Decision, Outcome,
        begin::{self, Checked, NewSet, Reserved},
        copies, host,
        moves::{self, SetStep},
        set::{self, GivenUp, Identities, Learned, Takeover},
    },
};
use std::{sync::Arc, time::Duration};
use umbra_base::{Error, ErrorCode, LunId, Result, SetId, limits as shared};
use umbra_store::{Cut, Snapshot, ThinId};
use uuid::Uuid;

/// A cut that was made and is not committed yet.
#[derive(Debug, Clone, Copy)]
pub struct CutDone {
    cut: Cut,
    /// The array's clock at the cut.
    pub at: UnixNanos,
    /// How long writes were held.
    pub held: Duration,
}

impl Array {
    /// Begins a set: checks it whole, reserves its devices, starts its lease.
    pub fn begin_set(
        &self,
        creator: &str,
        new: NewSet,
        lease: Duration,
    ) -> Result<(Outcome, Arc<SnapshotSet>)> {
        let id = new.id;
        let lease = lease_length(lease)?.unwrap_or(shared::SET_LEASE);
        self.has_room_for("a new set")?;
        let (outcome, ()) = self.change(|turn| {
            let thins = match begin::check_new(&turn.cat, &new, host::find(&turn.cat, creator)?)? {
                Checked::Known => return Ok((Decision::unchanged(), ())),
                Checked::Fresh(origins) => origins.len() * 2,
            };
            let thins = turn.take_thins(thins)?;
            let reserve = |pair: &[crate::model::Thin]| Reserved {
                working: LunId(Uuid::new_v4()),
                working_thin: pair[1],
                pristine_thin: pair[0],
            };
            let reserved: Vec<_> = thins.chunks_exact(2).map(reserve).collect();
            let now = self.clock().unix();
            // The lease is there before the record, so that the record is never without one.
            lock(&self.leases).begin(id, self.clock().now(), lease);
            let creator = host::find(&turn.cat, creator)?;
            Ok((begin::begin(&turn.cat, new, creator, &reserved, now)?, ()))
        })?;
        self.lease_changed.notify_all();
        Ok((outcome, self.set(&id.to_string())?))
    }

    /// Starts the lease of a pending set anew.
    pub fn renew_lease(&self, key: &str, length: Duration) -> Result<(Outcome, Arc<SnapshotSet>)> {
        let set = self.set(key)?;
        moves::check(&self.catalogue(), &set, SetStep::Renew)?;
        lock(&self.leases).renew(set.id, self.clock().now(), lease_length(length)?)?;
        self.lease_changed.notify_all();
        Ok((Outcome::Changed, set))
    }

    /// Holds writes to all originals, cuts both copies of each at one instant, lets go (A3). Everything is in memory:
    /// no file but the pool's is touched and nothing is logged, for this runs in the window (S7).
    pub fn cut_set(&self, key: &str, hold_limit: Duration) -> Result<(CutDone, Arc<SnapshotSet>)> {
        let hold_limit =
            if hold_limit.is_zero() { shared::HOLD_MAX } else { hold_limit.min(shared::HOLD_MAX) };
        let (set, _busy) = self.busy_with(key)?;
        let cat = self.catalogue();
        moves::check(&cat, &set, SetStep::Cut)?;
        lock(&self.leases).renew(set.id, self.clock().now(), None)?;
        if let Some(done) = lock(&self.leases).cut(set.id) {
            return Ok((done, set));
        }
        let (origins, pairs) = pairs(&cat, &set)?;
        let started = self.clock().now();
        let pairs = crate::faults::cut_one_apart(&**self.store(), &origins, pairs)?;
        let hold = self.store().hold(&origins, hold_limit)?;
        let at = self.clock().unix();
        let cut = self.store().cut(&hold, &pairs);
        drop(hold);
        let done = CutDone { cut: cut?, at, held: self.clock().now().since(started) };
        lock(&self.leases).set_cut(set.id, done)?;
        Ok((done, set))
    }

    /// Waits until the cut is durable; then the set is created, and its working copies are LUNs.
    pub fn commit_set(&self, key: &str) -> Result<(Outcome, Arc<SnapshotSet>)> {
        let (set, _busy) = self.busy_with(key)?;
        moves::check(&self.catalogue(), &set, SetStep::Commit)?;
        if set.state != SetState::Pending {
            return Ok((Outcome::Unchanged, set));
        }
        lock(&self.leases).renew(set.id, self.clock().now(), None)?;
        let done = lock(&self.leases).cut(set.id).ok_or_else(|| {
            Error::new(ErrorCode::BadState, format!("commit set {}: it has not been cut", set.id))
                .hint("cut it first")
                .param("set", set.id)
        })?;
        self.store().wait_durable(&done.cut)?;
        let answer =
            self.change_set(set.id, |cat, set| set::commit(cat, set, done.at, self.clock().unix()))?;
        lock(&self.leases).end(set.id);
        Ok(answer)
    }

    /// Gives up a pending set. One that is not known (any more) needs no giving up.
    pub fn abort_set(&self, key: &str, if_revision: u64) -> Result<(Outcome, Option<Arc<SnapshotSet>>)> {
        let (set, _busy) = match self.busy_with(key) {
            Ok(found) => found,
            Err(error) if is_gone(&error) => return Ok((Outcome::Unchanged, None)),
            Err(error) => return Err(error),
        };
        set::expect_revision(&set, if_revision)?;
        self.give_up(set.id, GivenUp::Aborted)?;
        Ok((Outcome::Deleted, Some(set)))
    }

    /// Gives up a set whose lease has run out, unless it was committed meanwhile.
    pub(super) fn expire_set(&self, id: SetId) -> Result<()> {
        // Whoever is busy with it renewed its lease or ends it; there is another look soon.
        let Some(_busy) = self.busy.try_with(id) else { return Ok(()) };
        let is_pending = self.catalogue().sets.get(&id).is_some_and(|set| set.state == SetState::Pending);
        if !is_pending {
            lock(&self.leases).end(id);
            return Ok(());
        }
        if !lock(&self.leases).has_lapsed(id, self.clock().now()) {
            return Ok(());
        }
        self.give_up(id, GivenUp::Lapsed)?;
        tracing::warn!(set = %id, "the lease of a pending set ran out: it is deleted");
        Ok(())
    }

    fn give_up(&self, id: SetId, why: GivenUp) -> Result<()> {
        self.decide(|cat| set::abort(cat, set::find(cat, &id.to_string())?, why, self.clock().unix()))?;
        lock(&self.leases).end(id);
        Ok(())
    }

    /// Lets one host see the working LUNs; a takeover fences the host that had them.
    pub fn import_set(
        &self,
        key: &str,
        host_key: &str,
        takeover: Takeover,
    ) -> Result<(Outcome, Arc<SnapshotSet>)> {
        let (set, _busy) = self.busy_with(key)?;
        let forgotten = |host: &Host, number| self.front().has_forgotten(&host.initiator, number);
        self.change_set(set.id, |cat, set| {
            set::import(cat, set, host::find(cat, host_key)?, takeover, &forgotten)
        })
    }

    /// Takes the working LUNs from the importer; their data stays.
    pub fn unimport_set(&self, key: &str, if_revision: u64) -> Result<(Outcome, Arc<SnapshotSet>)> {
        self.step(key, if_revision, set::unimport)
    }

    /// Records the importer's intent to break.
    pub fn begin_break(
        &self,
        key: &str,
        host_key: &str,
        access: Access,
    ) -> Result<(Outcome, Arc<SnapshotSet>)> {
        self.step(key, 0, |cat, set| {
            let host = if host_key.is_empty() { None } else { Some(host::find(cat, host_key)?) };
            set::begin_break(cat, set, host, access)
        })
    }

    /// Withdraws that intent.
    pub fn cancel_break(&self, key: &str, if_revision: u64) -> Result<(Outcome, Arc<SnapshotSet>)> {
        self.step(key, if_revision, set::cancel_break)
    }

    /// The point of no return (B3): one transaction of the catalogue. The pristine copies go in the background.
    pub fn commit_break(
        &self,
        key: &str,
        access: Access,
        identities: Identities,
    ) -> Result<(Outcome, Arc<SnapshotSet>)> {
        let started = self.clock().now();
        let answer = self
            .step(key, 0, |cat, set| set::commit_break(cat, set, access, identities, self.clock().unix()))?;
        let took = self.clock().now().since(started);
        tracing::info!(set = %answer.1.id, luns = answer.1.luns.len(), took_us = took.as_micros(), "set broken");
        Ok(answer)
    }

    /// Deletes a set and its copies. The answer shows it as it was.
    pub fn delete_set(&self, key: &str, if_revision: u64) -> Result<(Outcome, Arc<SnapshotSet>)> {
        let (set, _busy) = self.busy_with(key)?;
        set::expect_revision(&set, if_revision)?;
        let outcome =
            self.decide(|cat| set::delete(cat, set::find(cat, &set.id.to_string())?, self.clock().unix()))?;
        Ok((outcome, set))
    }

    /// Deletes one copy. The answer shows the set as it is now, or as it was if that was its last.
    pub fn delete_copy(&self, key: &str) -> Result<(Outcome, Arc<SnapshotSet>)> {
        let cat = self.catalogue();
        let (set, copy) = copies::find(&cat, key)?;
        let (before, _busy) = self.busy_with(&set.id.to_string())?;
        let outcome = self.decide(|cat| {
            let (set, copy) = copies::find(cat, &copy.id.to_string())?;
            set::delete_copy(cat, set, copy, self.clock().unix())
        })?;
        Ok((outcome, self.set(&before.id.to_string()).unwrap_or(before)))
    }

    /// Records what was learned about a set.
    pub fn update_set(&self, key: &str, learned: Learned) -> Result<(Outcome, Arc<SnapshotSet>)> {
        self.step(key, 0, |cat, set| set::update(cat, set, learned))
    }

    /// The set that `key` names, broken or not.
    pub fn set(&self, key: &str) -> Result<Arc<SnapshotSet>> {
        set::find(&self.catalogue(), key).map(|set| Arc::new(set.clone()))
    }

    /// What is left of the lease of a pending set.
    pub fn lease_left(&self, set: SetId) -> Duration {
        lock(&self.leases).left(set, self.clock().now())
    }

    /// The cut of a pending set.
    pub fn cut_of(&self, set: SetId) -> Option<CutDone> {
        lock(&self.leases).cut(set)
    }

    pub(super) fn busy_with(&self, key: &str) -> Result<(Arc<SnapshotSet>, super::BusyWith<'_>)> {
        let id = self.set(key)?.id;
        let busy = self.busy.with(id);
        // It may have changed while somebody else was busy with it.
        Ok((self.set(&id.to_string())?, busy))
    }

    fn step(
        &self,
        key: &str,
        if_revision: u64,
        decide: impl FnOnce(&Catalogue, &SnapshotSet) -> Result<Decision>,
    ) -> Result<(Outcome, Arc<SnapshotSet>)> {
        let (set, _busy) = self.busy_with(key)?;
        self.change_set(set.id, |cat, set| {
            set::expect_revision(set, if_revision)?;
            decide(cat, set)
        })
    }

    fn change_set(
        &self,
        id: SetId,
        decide: impl FnOnce(&Catalogue, &SnapshotSet) -> Result<Decision>,
    ) -> Result<(Outcome, Arc<SnapshotSet>)> {
        let outcome = self.decide(|cat| decide(cat, set::find(cat, &id.to_string())?))?;
        Ok((outcome, self.set(&id.to_string())?))
    }
}

fn pairs(cat: &Catalogue, set: &SnapshotSet) -> Result<(Vec<ThinId>, Vec<Snapshot>)> {
    let mut origins = Vec::with_capacity(set.luns.len());
    let mut pairs = Vec::with_capacity(2 * set.luns.len());
    for part in &set.luns {
        let lun = cat.luns.get(&part.origin).ok_or_else(|| leases::lapsed(set.id))?;
        let origin = thin_id(lun.thin);
        origins.push(origin);
        pairs.extend(
            [part.pristine_thin, part.working_thin].map(|copy| Snapshot { origin, copy: thin_id(copy) }),
        );
    }
    Ok((origins, pairs))
}

/// The length that was asked for; zero asks for none in particular.
fn lease_length(wish: Duration) -> Result<Option<Duration>> {
    match wish {
        Duration::ZERO => Ok(None),
        wish if wish <= limits::LEASE_MAX => Ok(Some(wish)),
        wish => Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("a lease of {} s is longer than {} s", wish.as_secs(), limits::LEASE_MAX.as_secs()),
        )
        .hint("ask for less and renew it")),
    }
}

fn is_gone(error: &Error) -> bool {
    let broken = error.params().contains_key("broken_unix_ns");
    matches!(error.code(), ErrorCode::ObjectNotFound | ErrorCode::LeaseExpired) && !broken
}
