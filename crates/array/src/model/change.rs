//! A change of the catalogue: a list of edits that happen together or not at all.

use super::{Catalogue, Counters, Grave, Host, Lun, Mask, SnapshotSet, Thin};
use std::{collections::BTreeSet, sync::Arc};
use umbra_base::{HostId, LunId, SetId};
use uuid::Uuid;

/// One record put or dropped.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each name is verb and record")]
pub enum Edit {
    PutLun(Lun),
    DropLun(LunId),
    PutHost(Host),
    DropHost(HostId),
    PutMask(Mask),
    DropMask(HostId, LunId),
    PutSet(SnapshotSet),
    DropSet(SetId),
    /// A thin device that nothing needs from now on.
    Doom(Thin),
    /// A doomed device that is gone from the pool.
    Undoom(Thin),
    Bury(Grave),
    Exhume(Uuid),
    SetCounters(Counters),
}

/// Edits that are committed together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    edits: Vec<Edit>,
}

impl Change {
    /// No edits.
    pub fn new() -> Self {
        Change::default()
    }

    /// Adds an edit.
    pub fn push(&mut self, edit: Edit) -> &mut Self {
        self.edits.push(edit);
        self
    }

    /// The edits, in order.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The same edits, with each object stamped with the revision at which it changes.
    pub fn stamped(&self, revision: u64) -> Change {
        let stamp = |edit: &Edit| match edit.clone() {
            Edit::PutLun(lun) => Edit::PutLun(Lun { revision, ..lun }),
            Edit::PutHost(host) => Edit::PutHost(Host { revision, ..host }),
            Edit::PutSet(set) => Edit::PutSet(SnapshotSet { revision, ..set }),
            edit => edit,
        };
        Change { edits: self.edits.iter().map(stamp).collect() }
    }

    /// The hosts whose view of LUNs may differ after this change of `before`.
    pub fn touched_hosts(&self, before: &Catalogue) -> BTreeSet<HostId> {
        let mut hosts = BTreeSet::new();
        for edit in &self.edits {
            match edit {
                Edit::PutMask(mask) => drop(hosts.insert(mask.host)),
                Edit::DropMask(host, _) | Edit::DropHost(host) => drop(hosts.insert(*host)),
                Edit::PutLun(lun) => hosts.extend(before.masks_of_lun(lun.id).map(|mask| mask.host)),
                Edit::DropLun(lun) => hosts.extend(before.masks_of_lun(*lun).map(|mask| mask.host)),
                _ => {}
            }
        }
        hosts
    }

    /// The devices that this change gives up.
    pub fn dooms(&self) -> impl Iterator<Item = Thin> + '_ {
        self.edits.iter().filter_map(|edit| match edit {
            Edit::Doom(thin) => Some(*thin),
            _ => None,
        })
    }
}

impl Catalogue {
    /// Carries out a stamped change; the catalogue is at `revision` afterwards.
    pub fn apply(&mut self, revision: u64, change: Change) {
        self.revision = revision;
        change.edits.into_iter().for_each(|edit| self.apply_edit(edit));
    }

    fn apply_edit(&mut self, edit: Edit) {
        match edit {
            Edit::PutLun(lun) => drop(self.luns.insert(lun.id, Arc::new(lun))),
            Edit::DropLun(id) => drop(self.luns.remove(&id)),
            Edit::PutHost(host) => drop(self.hosts.insert(host.id, Arc::new(host))),
            Edit::DropHost(id) => drop(self.hosts.remove(&id)),
            Edit::PutMask(mask) => drop(self.masks.insert((mask.host, mask.lun), mask)),
            Edit::DropMask(host, lun) => drop(self.masks.remove(&(host, lun))),
            Edit::PutSet(set) => drop(self.sets.insert(set.id, Arc::new(set))),
            Edit::DropSet(id) => drop(self.sets.remove(&id)),
            Edit::Doom(thin) => drop(self.doomed.insert(thin)),
            Edit::Undoom(thin) => drop(self.doomed.remove(&thin)),
            Edit::Bury(grave) => drop(self.graves.insert(grave.id, Arc::new(grave))),
            Edit::Exhume(id) => drop(self.graves.remove(&id)),
            Edit::SetCounters(counters) => self.counters = counters,
        }
    }
}
