//! Space (A7): new sets are refused when it is low, expendable ones go when it runs out, LUNs keep what they reserve.
//!
//! ```text
//!   store: a writer that found no room, or its background thread, once a second
//!      |  give_something_up
//!      v
//!   1 what is doomed already leaves the pool          3 else the next expendable set goes:
//!   2 else all ROD tokens go, with the points in        catalogue (change lock) -> its devices leave the pool
//!     time that they keep                                                      \-> herald: its hosts are told
//! ```
//!
//! Why it cannot hang. The one who calls may be the write of a host, and holds the store's lock of those who ask. So
//! nothing here waits for a write, or for anyone who waits for one:
//! - The change lock is waited for. Who has it waits for the catalogue's file and for commits of the pool alone: making
//!   a device never asks the policy, and fences are raised without it ([`super`]).
//! - A set that somebody is busy with is left out, not waited for.
//! - Fences are not waited for: a fence waits for the writes under way, perhaps for this very one. The devices go first and
//!   the hosts are told afterwards; until then what they read or write of the set fails. No device id is used twice, so
//!   nothing can land elsewhere.
//! - Deleting a device waits for writes to that device which are being carried out; one that looks for room is not.

use super::{Array, present::thin_id};
use crate::{
    audit::{Audit, Principal},
    limits,
    model::{Lun, SnapshotSet, Thin},
    rules::{Outcome, lun::NewLun, set, space::expendable},
};
use serde_json::json;
use std::sync::{Arc, Weak};
use umbra_base::{Error, ErrorCode, Result};
use umbra_store::{Allowance, Extend, Level, Mode, SpacePolicy, Thresholds, Usage};

/// The array's word in matters of space, for the store.
#[derive(Debug)]
pub struct GiveUp {
    array: Weak<Array>,
    audit: Arc<Audit>,
}

impl GiveUp {
    /// For `array`, with a line in `audit` for all that is given up.
    pub fn new(array: &Arc<Array>, audit: Arc<Audit>) -> Self {
        GiveUp { array: Arc::downgrade(array), audit }
    }
}

impl SpacePolicy for GiveUp {
    fn level_changed(&self, level: Level, usage: &Usage) {
        let (used, total) = (usage.data_used, usage.data_total);
        let name = level_name(level);
        match level {
            Level::Plenty => tracing::info!(used, total, "the pool has plenty of space again"),
            _ => tracing::warn!(level = name, used, total, "the pool runs out of space"),
        }
        let subject = json!({ "level": name, "data_used_blocks": used, "data_blocks": total });
        self.audit.record(Principal::of_this_process(), "space_level", &subject, Ok("changed"));
    }

    fn give_something_up(&self) -> bool {
        let Some(array) = self.array.upgrade() else { return false };
        if array.bury_doomed() {
            return true;
        }
        // Hosts copy by themselves what a token would have copied for them; nothing else is lost with it.
        if array.front().give_up_tokens() {
            let subject = json!({ "for": "want of space" });
            self.audit.record(Principal::of_this_process(), "give_up_tokens", &subject, Ok("deleted"));
            if array.bury_doomed() {
                return true;
            }
        }
        match array.give_up_a_set() {
            Ok(None) => false,
            Ok(Some(set)) => {
                let subject = json!({ "set": set.id, "volatile": set.volatile, "for": "want of space" });
                self.audit.record(Principal::of_this_process(), "give_up_set", &subject, Ok("deleted"));
                array.bury_doomed()
            }
            Err(error) => {
                tracing::error!(error = ?error, "give up a set for want of space");
                false
            }
        }
    }
}

/// The word for a level.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Plenty => "plenty",
        Level::Low => "low",
        Level::Critical => "critical",
    }
}

impl Array {
    /// When space is low.
    pub fn thresholds(&self) -> Thresholds {
        self.parts.thresholds
    }

    /// Deletes doomed devices here and now, as many as a set can have. False if there was nothing to delete.
    fn bury_doomed(&self) -> bool {
        let mut buried = false;
        for _ in 0..limits::BURIED_AT_ONCE {
            let Some(thin) = self.reaper.take() else { break };
            let gone = self.bury_thin(thin);
            if let Err(error) = &gone {
                tracing::warn!(thin = thin.0, error = ?error, "delete a device; the reaper tries again");
                self.reaper.push(vec![thin]);
            }
            self.reaper.done();
            if gone.is_err() {
                return buried;
            }
            buried = true;
        }
        // What the reaper has in hand is room as well.
        buried || self.reaper.is_at_work() && self.reaper.wait_idle(limits::BURIAL)
    }

    /// The same until nothing is left to delete, or something cannot be deleted: before a clean stop.
    pub fn bury_all(&self) {
        while self.bury_doomed() {}
    }

    /// Gives up the first expendable set that nobody is busy with. Its devices are with the reaper afterwards.
    fn give_up_a_set(&self) -> Result<Option<Arc<SnapshotSet>>> {
        for id in expendable(&self.catalogue()) {
            let Some(_busy) = self.busy.try_with(id) else { continue };
            let done = self.commit(|turn| {
                let set = set::find(&turn.cat, &id.to_string())?;
                Ok((set::give_up(&turn.cat, set, self.clock().unix())?, Arc::new(set.clone())))
            });
            match done {
                Ok(done) => {
                    self.reaper.push(done.doomed);
                    self.herald.call();
                    tracing::warn!(set = %id, volatile = done.value.volatile, "a set was given up: the pool has no space");
                    return Ok(Some(done.value));
                }
                // It went or moved on between the look and the lock.
                Err(error) if matches!(error.code(), ErrorCode::ObjectNotFound | ErrorCode::BadState) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Originals come before copies: where space is low no new set begins, nor any other copy.
    pub(super) fn has_room_for(&self, what: &str) -> Result<()> {
        let usage = self.store().usage();
        if usage.mode != Mode::ReadWrite {
            let text = format!("the pool takes no changes: it is {:?}", usage.mode);
            return Err(Error::new(ErrorCode::BadState, text).hint("see `umbra pool status`"));
        }
        let low = self.thresholds().level(usage.data_used, usage.data_total) != Level::Plenty;
        let metadata_limit = usage.metadata_total.saturating_mul(limits::METADATA_FULL_PERCENT);
        match (low, usage.metadata_used.saturating_mul(100) > metadata_limit) {
            (true, _) => Err(too_full(what, "data", usage.data_used, usage.data_total)),
            (_, true) => Err(too_full(what, "metadata", usage.metadata_used, usage.metadata_total)),
            _ => Ok(()),
        }
    }

    /// Keeps for a device that was just made what its LUN is to reserve. Refused: the device is gone again.
    pub(super) fn promise(&self, thin: Thin, new: &NewLun) -> Result<()> {
        let promised = self.allow_thin(thin, new.reserve.bytes(new.size_bytes), new.quota_bytes);
        if promised.is_err()
            && let Err(error) = self.store().delete(thin_id(thin))
        {
            tracing::warn!(thin = thin.0, error = ?error, "delete a device; the next start does");
        }
        promised
    }

    /// Tells the store what a LUN may count on, and what it may not exceed.
    pub(super) fn allow(&self, lun: &Lun) -> Result<()> {
        self.allow_thin(lun.thin, lun.reserve.bytes(lun.size_bytes), lun.quota_bytes)
    }

    fn allow_thin(&self, thin: Thin, reserved_bytes: u64, quota_bytes: Option<u64>) -> Result<()> {
        match (reserved_bytes, quota_bytes) {
            (0, None) => Ok(()),
            _ => self.store().allow(thin_id(thin), Allowance { reserved_bytes, quota_bytes }),
        }
    }

    /// At the start: the store knows no reservations and quotas by itself. One that it cannot take up is said loudly and
    /// keeps no LUN from its hosts.
    pub(super) fn keep_promises(&self) {
        for lun in self.catalogue().luns.values() {
            if let Err(error) = self.allow(lun) {
                tracing::error!(lun = %lun.id, name = lun.name, error = ?error, "keep what a LUN reserves");
            }
        }
    }

    /// Makes the pool larger while it serves.
    pub fn extend_pool(&self, to: Extend) -> Result<(Outcome, Usage)> {
        if to == Extend::default() {
            let text = "extend the pool: neither a size of the data nor one of the metadata is given";
            return Err(Error::new(ErrorCode::InvalidArgument, text).hint("give the new size of one or both"));
        }
        let sizes = |usage: &Usage| (usage.data_total, usage.metadata_total);
        let before = self.store().usage();
        self.store().extend(to)?;
        let after = self.store().usage();
        let outcome = if sizes(&before) == sizes(&after) { Outcome::Unchanged } else { Outcome::Changed };
        Ok((outcome, after))
    }
}

fn too_full(what: &str, of: &str, used: u64, total: u64) -> Error {
    let text = format!("{used} of the pool's {total} {of} blocks are used: too full for {what}");
    Error::new(ErrorCode::InsufficientStorage, text)
        .hint("delete sets or LUNs that nobody needs, or extend the pool (`umbra pool extend`)")
        .param("used", used)
        .param("total", total)
}
