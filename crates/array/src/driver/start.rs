//! The start: catalogue and pool are compared, what a crash left half done is finished or undone, and only then is
//! anything shown to anyone.

use super::{
    Array, Busy, Parts,
    background::{Herald, Reaper},
    instants::Hidden,
    present::Presented,
    thins::ThinIds,
};
use crate::{
    catalogue::Opened,
    leases::Leases,
    model::{Catalogue, Change, Edit, SetState, Thin},
    rules::set::{self, GivenUp},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex},
};
use umbra_base::{Error, ErrorCode, Result};

impl Array {
    /// Starts on these parts. On return hosts see what they saw before, and nothing half-made is left; the doomed
    /// devices are with the reaper.
    pub fn start(parts: Parts, opened: Opened) -> Result<Arc<Array>> {
        let cat = parts.catalogue.read();
        let pool = parts.store.device_ids()?.into_iter().map(|id| Thin(id.0)).collect();
        let damaged = parts.store.trouble().is_some();
        belong_together(&cat, &pool, opened, damaged)?;
        let array = Arc::new_cyclic(|me| Array {
            changing: Mutex::new(ThinIds::after(cat.counters)),
            stale: Mutex::default(),
            presented: Mutex::new(Presented::default()),
            leases: Mutex::new(Leases::default()),
            lease_changed: Condvar::new(),
            busy: Busy::default(),
            hidden: Hidden::default(),
            reaper: Reaper::default(),
            herald: Herald::default(),
            me: me.clone(),
            parts,
        });
        array.give_up_pending()?;
        array.doom_orphans(&pool)?;
        array.parts.secrets.keep_only(&cat.hosts.keys().copied().collect())?;
        array.reaper.push(array.catalogue().doomed.iter().copied().collect());
        array.keep_promises();
        if array.present_all().is_err() {
            // Said where it happened. One LUN that cannot be opened keeps no other from its hosts.
            tracing::error!("not every LUN can be served");
        }
        Ok(array)
    }

    /// Pending sets have lost their lease and their cut with the process that held them (S6).
    fn give_up_pending(&self) -> Result<()> {
        let pending: Vec<_> =
            self.catalogue().sets.values().filter(|set| set.state == SetState::Pending).cloned().collect();
        for set in pending {
            tracing::warn!(set = %set.id, "a set was unfinished when the array ended: it is deleted");
            let now = self.clock().unix();
            let cat = self.catalogue();
            let decision = set::abort(&cat, &set, GivenUp::Lapsed, now)?;
            self.parts.catalogue.commit(cat.revision, &decision.change)?;
        }
        Ok(())
    }

    fn doom_orphans(&self, pool: &BTreeSet<Thin>) -> Result<()> {
        let cat = self.catalogue();
        let needed = cat.needed_thins();
        let mut change = Change::new();
        for orphan in pool.iter().filter(|thin| !needed.contains(thin) && !cat.doomed.contains(thin)) {
            tracing::warn!(thin = orphan.0, "a device that nothing needs is in the pool: it is deleted");
            change.push(Edit::Doom(*orphan));
        }
        if change.is_empty() {
            return Ok(());
        }
        self.parts.catalogue.commit(cat.revision, &change).map(drop)
    }
}

/// Refuses to run a catalogue on a pool that is not its own: collecting orphans would then delete data.
/// Of a damaged pool devices may be lost: what is sound of it is served nevertheless (A6), and nothing of it is deleted.
fn belong_together(cat: &Catalogue, pool: &BTreeSet<Thin>, opened: Opened, damaged: bool) -> Result<()> {
    let refuse = |why: String| {
        Err(Error::new(ErrorCode::Corrupt, why).hint(
            "bring back the catalogue.sqlite and the pool files that belong together; nothing was changed",
        ))
    };
    if opened == Opened::Made && !pool.is_empty() {
        return refuse(format!(
            "the pool holds {} devices, and there is no catalogue that knows them",
            pool.len()
        ));
    }
    if let Some(newest) = pool.last().filter(|thin| thin.0 >= cat.counters.thin_reserved) {
        let reserved = cat.counters.thin_reserved;
        return refuse(format!(
            "the pool holds device {}, and this catalogue has handed out none above {}: it is older than the pool",
            newest.0,
            reserved.saturating_sub(1)
        ));
    }
    if damaged {
        let lost = cat.luns.values().filter(|lun| !pool.contains(&lun.thin));
        lost.for_each(|lun| {
            tracing::error!(lun = lun.name, device = lun.thin.0, "the damaged pool has lost a LUN")
        });
        return Ok(());
    }
    if let Some(lun) = cat.luns.values().find(|lun| !pool.contains(&lun.thin)) {
        return refuse(format!(
            "LUN {:?} is on device {}, which the pool does not hold",
            lun.name, lun.thin.0
        ));
    }
    let whole =
        cat.sets.values().filter(|set| !matches!(set.state, SetState::Pending | SetState::Broken { .. }));
    for set in whole {
        if let Some(thin) = set.thins().find(|thin| !pool.contains(thin)) {
            return refuse(format!("set {} needs device {}, which the pool does not hold", set.id, thin.0));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::World;

    /// The rest of it is served; a sound pool that lacks a LUN is another's.
    #[test]
    fn only_a_damaged_pool_may_lack_devices_that_the_catalogue_knows() {
        let mut world = World::with_set();
        world.cat.counters.thin_reserved = 1000;
        let mut pool: BTreeSet<Thin> = world.cat.luns.values().map(|lun| lun.thin).collect();
        pool.extend(world.cat.sets.values().flat_map(|set| set.thins().collect::<Vec<_>>()));
        assert!(belong_together(&world.cat, &pool, Opened::Found, false).is_ok());
        pool.pop_first();
        assert_eq!(
            belong_together(&world.cat, &pool, Opened::Found, false).unwrap_err().code(),
            ErrorCode::Corrupt
        );
        assert!(belong_together(&world.cat, &pool, Opened::Found, true).is_ok());
    }
}
