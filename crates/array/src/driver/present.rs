//! What each host sees, carried to the target.
//!
//! What always holds: a host is told only when its list differs from the one it was told last; whoever loses something
//! is fenced before anyone else is shown anything new, so that a takeover never has two hosts on one LUN (B1). Stale hosts
//! are taken before the catalogue is read, so that what they are shown has the change that made them stale.

use super::{Array, lock};
use crate::{
    front::Shown,
    model::{Access, Catalogue, Lun, Thin},
    unit::Unit,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use umbra_base::{HostId, LunId, Result};
use umbra_store::ThinId;
use umbra_target::LogicalUnit;

/// What the target was told last.
#[derive(Debug, Default)]
pub struct Presented {
    hosts: BTreeMap<HostId, View>,
    units: BTreeMap<LunId, Arc<Unit>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    initiator: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    number: u16,
    lun: LunId,
    access: Access,
    size_bytes: u64,
}

impl Line {
    /// Whether a host with this line can do all that `other` lets it do.
    fn covers(&self, other: &Line) -> bool {
        (self.number, self.lun) == (other.number, other.lun)
            && (self.access == Access::ReadWrite || other.access == Access::ReadOnly)
    }
}

impl View {
    fn of(cat: &Catalogue, host: HostId) -> Option<View> {
        let initiator = cat.hosts.get(&host)?.initiator.clone();
        let mut lines: Vec<_> = cat
            .masks_of_host(host)
            .filter_map(|mask| {
                let lun = cat.luns.get(&mask.lun)?;
                Some(Line {
                    number: mask.number,
                    lun: lun.id,
                    access: lun.access,
                    size_bytes: lun.size_bytes,
                })
            })
            .collect();
        lines.sort_by_key(|line| line.number);
        Some(View { initiator, lines })
    }

    /// Whether `next` takes something away.
    fn loses(&self, next: &View) -> bool {
        !self.lines.iter().all(|old| next.lines.iter().any(|new| new.covers(old)))
    }
}

impl Array {
    /// Brings every stale host up to date. On return every fence stands that any change committed before the call asks for.
    pub(super) fn present_stale(&self) -> Result<()> {
        let mut presented = lock(&self.presented);
        let stale = std::mem::take(&mut *lock(&self.stale));
        self.present(&mut presented, &self.catalogue(), &stale)
    }

    /// Brings these hosts up to date with `cat`. Every host is told, whatever fails for another; the first failure is
    /// the answer.
    fn present(&self, presented: &mut Presented, cat: &Catalogue, hosts: &BTreeSet<HostId>) -> Result<()> {
        presented
            .units
            .retain(|id, unit| cat.luns.get(id).is_some_and(|lun| lun.size_bytes == unit.size_bytes()));
        let (losers, others): (Vec<HostId>, Vec<HostId>) =
            hosts.iter().partition(|host| presented.loses(cat, **host));
        let mut answer = Ok(());
        for host in losers.into_iter().chain(others) {
            let told = self.present_to(presented, cat, host);
            answer = answer.and(told);
        }
        answer
    }

    /// Brings every host up to date; at the start.
    pub(super) fn present_all(&self) -> Result<()> {
        let cat = self.catalogue();
        let hosts = cat.hosts.keys().copied().collect();
        self.present(&mut lock(&self.presented), &cat, &hosts)
    }

    fn present_to(&self, presented: &mut Presented, cat: &Catalogue, host: HostId) -> Result<()> {
        let Some(view) = View::of(cat, host) else {
            if let Some(old) = presented.hosts.remove(&host) {
                self.front().show(&old.initiator, Vec::new());
                self.front().drop_sessions(&old.initiator);
            }
            return Ok(());
        };
        if presented.hosts.get(&host) == Some(&view) {
            return Ok(());
        }
        let mut answer = Ok(());
        let mut shown = Vec::with_capacity(view.lines.len());
        for line in &view.lines {
            let Some(lun) = cat.luns.get(&line.lun) else { continue };
            match self.unit(presented, lun) {
                Ok(unit) => {
                    shown.push(Shown { number: line.number, unit, scsi: lun.scsi, access: lun.access })
                }
                // The host does not see this one; it is told of the others, and the fences stand.
                Err(error) => {
                    tracing::error!(lun = %lun.id, name = lun.name, error = ?error, "open a LUN");
                    answer = answer.and(Err(error));
                }
            }
        }
        self.front().show(&view.initiator, shown);
        if answer.is_ok() {
            presented.hosts.insert(host, view);
        } else {
            presented.hosts.remove(&host);
        }
        answer
    }

    fn unit(&self, presented: &mut Presented, lun: &Lun) -> Result<Arc<Unit>> {
        if let Some(unit) = presented.units.get(&lun.id) {
            return Ok(unit.clone());
        }
        let unit = Arc::new(Unit::open(self.store(), thin_id(lun.thin), lun.size_bytes, self.me.clone())?);
        presented.units.insert(lun.id, unit.clone());
        Ok(unit)
    }
}

impl Presented {
    fn loses(&self, cat: &Catalogue, host: HostId) -> bool {
        let Some(old) = self.hosts.get(&host) else { return false };
        View::of(cat, host).is_none_or(|next| old.loses(&next))
    }
}

/// The pool's word for it.
pub(super) fn thin_id(thin: Thin) -> ThinId {
    ThinId(thin.0)
}
