//! What one initiator sees: its LUN map, replaced as a whole.

use crate::slot::{LunMap, lock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The view of one initiator. It lives as long as the target, logged in or not.
#[derive(Debug)]
pub(crate) struct Host<U> {
    luns: Mutex<Arc<LunMap<U>>>,
    /// Held over a whole change, so that changes follow each other.
    pub changing: Mutex<()>,
    /// Counts up when all sessions are dropped: a login that began before must not finish after.
    logins: AtomicU64,
    /// Numbers that are gone, of which its sessions have yet to hear.
    leaving: Mutex<BTreeSet<u16>>,
    /// By session: numbers that it knew and that are gone, until it asks REPORT LUNS (design A1).
    stale: Mutex<BTreeMap<u64, BTreeSet<u16>>>,
}

impl<U> Default for Host<U> {
    fn default() -> Self {
        Host {
            luns: Mutex::default(),
            changing: Mutex::default(),
            logins: AtomicU64::default(),
            leaving: Mutex::default(),
            stale: Mutex::default(),
        }
    }
}

impl<U> Host<U> {
    pub fn luns(&self) -> Arc<LunMap<U>> {
        Arc::clone(&lock(&self.luns))
    }

    /// Puts a new map in force; the old one comes back. Numbers that went count as known until [`Host::all_heard`].
    pub fn replace(&self, new: Arc<LunMap<U>>) -> Arc<LunMap<U>> {
        let mut luns = lock(&self.luns);
        lock(&self.leaving).extend(luns.keys().filter(|number| !new.contains_key(number)));
        std::mem::replace(&mut luns, new)
    }

    /// Every session has heard of the last change, and has said which numbers it knew.
    pub fn all_heard(&self) {
        lock(&self.leaving).clear();
    }

    pub fn login_epoch(&self) -> u64 {
        self.logins.load(Ordering::SeqCst)
    }

    pub fn forget_logins(&self) {
        self.logins.fetch_add(1, Ordering::SeqCst);
    }

    /// A session knew these numbers, which are gone.
    pub fn outdate(&self, session: u64, numbers: impl IntoIterator<Item = u16>) {
        lock(&self.stale).entry(session).or_default().extend(numbers);
    }

    /// A session asked for all LUNs, or ended.
    pub fn forget_session(&self, session: u64) {
        lock(&self.stale).remove(&session);
    }

    /// Whether no session takes this number for what it once was.
    pub fn is_forgotten(&self, number: u16) -> bool {
        !self.luns().contains_key(&number)
            && !lock(&self.leaving).contains(&number)
            && !lock(&self.stale).values().any(|gone| gone.contains(&number))
    }
}
