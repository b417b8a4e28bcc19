//! Ids of thin devices: handed out from a block that the catalogue has reserved.
//!
//! What always holds: an id is handed out once in the array's life, and is below the catalogue's `thin_reserved` by
//! then. So whatever the pool holds at the start below that mark and the catalogue does not need is an orphan of a
//! crash; anything above it means that catalogue and pool do not belong together. (Points in time go on with an id of
//! theirs: see [`super::instants`].)

use crate::{
    catalogue::CatalogueStore,
    limits,
    model::{Change, Counters, Edit, Thin},
};
use umbra_base::{Error, ErrorCode, Result};

/// The ids that are left of the reserved block.
#[derive(Debug)]
pub struct ThinIds {
    next: u32,
}

impl ThinIds {
    /// Starts behind everything that may have been handed out before.
    pub fn after(counters: Counters) -> Self {
        ThinIds { next: counters.thin_reserved }
    }

    /// Hands out `count` ids; reserves a further block first if need be. Under the change lock only.
    pub fn take(&mut self, catalogue: &dyn CatalogueStore, count: usize) -> Result<Vec<Thin>> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let end = self.next.saturating_add(count);
        let cat = catalogue.read();
        if end > cat.counters.thin_reserved {
            let reserved = end.saturating_add(limits::THIN_RESERVE).min(limits::THIN_MAX + 1);
            if end > reserved {
                return Err(Error::new(ErrorCode::LimitReached, "the pool's device ids are used up")
                    .hint("the format has 24 bits for them: start a new array and move the LUNs"));
            }
            let mut change = Change::new();
            change.push(Edit::SetCounters(Counters { thin_reserved: reserved, ..cat.counters }));
            catalogue.commit(cat.revision, &change)?;
        }
        let ids = (self.next..end).map(Thin).collect();
        self.next = end;
        Ok(ids)
    }
}
