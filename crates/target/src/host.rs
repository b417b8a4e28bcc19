//! What one initiator sees: its LUN map, replaced as a whole.

use crate::slot::{Slot, lock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) type LunMap = BTreeMap<u16, Arc<Slot>>;

/// The view of one initiator. It lives as long as the target, logged in or not.
#[derive(Debug, Default)]
pub(crate) struct Host {
    luns: Mutex<Arc<LunMap>>,
    /// Held over a whole change, so that changes follow each other.
    pub changing: Mutex<()>,
    /// Counts up when all sessions are dropped: a login that began before must not finish after.
    logins: AtomicU64,
}

impl Host {
    pub fn luns(&self) -> Arc<LunMap> {
        Arc::clone(&lock(&self.luns))
    }

    /// Puts a new map in force; the old one comes back.
    pub fn replace(&self, luns: LunMap) -> Arc<LunMap> {
        std::mem::replace(&mut lock(&self.luns), Arc::new(luns))
    }

    pub fn slot(&self, number: u16) -> Option<Arc<Slot>> {
        self.luns().get(&number).cloned()
    }

    pub fn login_epoch(&self) -> u64 {
        self.logins.load(Ordering::SeqCst)
    }

    pub fn forget_logins(&self) {
        self.logins.fetch_add(1, Ordering::SeqCst);
    }
}
