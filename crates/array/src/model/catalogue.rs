//! The whole catalogue at one revision.

use super::{Host, Lun, Mask, SnapshotSet, Thin, UnixNanos};
use crate::model::ScsiIdentity;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use umbra_base::{ArrayId, HostId, LunId, SetId};
use uuid::Uuid;

/// Counters that never go back, whatever is deleted (I2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Thin device ids below this one were handed out, or may have been.
    pub thin_reserved: u32,
    /// The last SCSI identity that was given to a LUN.
    pub identity: u32,
}

/// What a grave is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraveKind {
    /// A LUN.
    Lun,
    /// A set that was deleted or given up by its maker.
    Set,
    /// A pending set whose lease ran out, or whose array ended (S6).
    LapsedSet,
    /// A set that the array gave up for want of space (A7).
    GivenUpSet,
}

/// A memory of something deleted, so that asking again can say when it went (P2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grave {
    /// Its id.
    pub id: Uuid,
    /// What it was.
    pub kind: GraveKind,
    /// Its name; "" for a set.
    pub name: String,
    /// When it was deleted.
    pub at: UnixNanos,
}

/// Everything that the array knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    /// Raised by each change.
    pub revision: u64,
    /// Which array this is.
    pub array: ArrayId,
    /// The LUNs.
    pub luns: BTreeMap<LunId, Arc<Lun>>,
    /// The hosts.
    pub hosts: BTreeMap<HostId, Arc<Host>>,
    /// Who sees what.
    pub masks: BTreeMap<(HostId, LunId), Mask>,
    /// The sets, broken ones too.
    pub sets: BTreeMap<SetId, Arc<SnapshotSet>>,
    /// Thin devices that nothing needs any more and that may still be in the pool.
    pub doomed: BTreeSet<Thin>,
    /// What was deleted lately.
    pub graves: BTreeMap<Uuid, Arc<Grave>>,
    /// What never goes back.
    pub counters: Counters,
}

impl Catalogue {
    /// An empty catalogue of a new array.
    pub fn new(array: ArrayId) -> Self {
        Catalogue {
            revision: 0,
            array,
            luns: BTreeMap::new(),
            hosts: BTreeMap::new(),
            masks: BTreeMap::new(),
            sets: BTreeMap::new(),
            doomed: BTreeSet::new(),
            graves: BTreeMap::new(),
            counters: Counters { thin_reserved: 1, identity: 0 },
        }
    }

    /// The masks of one host, in the order of LUN ids.
    pub fn masks_of_host(&self, host: HostId) -> impl Iterator<Item = &Mask> {
        let first = (host, LunId(Uuid::nil()));
        let last = (host, LunId(Uuid::max()));
        self.masks.range(first..=last).map(|(_, mask)| mask)
    }

    /// The masks of one LUN.
    pub fn masks_of_lun(&self, lun: LunId) -> impl Iterator<Item = &Mask> {
        self.hosts.keys().filter_map(move |host| self.masks.get(&(*host, lun)))
    }

    /// The host with that iSCSI name.
    pub fn host_of_initiator(&self, initiator: &str) -> Option<&Arc<Host>> {
        self.hosts.values().find(|host| host.initiator == initiator)
    }

    /// Every thin device that something needs: LUNs, and both copies of each set that is not broken.
    pub fn needed_thins(&self) -> BTreeSet<Thin> {
        let of_luns = self.luns.values().map(|lun| lun.thin);
        let living = self.sets.values().filter(|set| !matches!(set.state, super::SetState::Broken { .. }));
        of_luns.chain(living.flat_map(|set| set.thins())).collect()
    }

    /// The SCSI identity number `sequence` of this array.
    pub fn scsi_identity(&self, sequence: u32) -> ScsiIdentity {
        ScsiIdentity::new(self.array, sequence)
    }
}
