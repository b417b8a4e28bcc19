//! The copies of a set: the volumes as the host recorded them.

use super::check;
use crate::{
    limits,
    model::{Catalogue, CopyRecord, Named, SetState, SnapshotSet, look_up},
};
use umbra_base::{Error, ErrorCode, LunId, Result};
use uuid::Uuid;

/// Checks a record; `size_of` gives the size of each original LUN of the set.
pub fn check(copy: &CopyRecord, size_of: impl Fn(LunId) -> Option<u64>) -> Result<()> {
    let texts = [
        &copy.volume,
        &copy.device,
        &copy.fs_type,
        &copy.fs_uuid,
        &copy.mount_point,
        &copy.consistency_reason,
    ];
    texts.into_iter().chain(&copy.writers).try_for_each(|text| check::text("a text of a copy", text))?;
    check::at_most("writers of a copy", copy.writers.len(), limits::ITEMS)?;
    check::at_most("extents of a copy", copy.extents.len(), limits::EXTENTS)?;
    for extent in &copy.extents {
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorCode::InvalidArgument,
                format!("an extent of copy {} at {} of LUN {}: {why}", copy.id, extent.offset, extent.lun),
            ))
        };
        let Some(size) = size_of(extent.lun) else { return refuse("the LUN is not in the set") };
        match extent.offset.checked_add(extent.length) {
            Some(end) if end <= size && extent.length > 0 => {}
            _ => return refuse("it does not lie inside the LUN"),
        }
    }
    Ok(())
}

struct Part<'a>(&'a SnapshotSet, &'a CopyRecord);

impl Named for Part<'_> {
    fn uuid(&self) -> Uuid {
        self.1.id.0
    }
    fn name(&self) -> Option<&str> {
        None
    }
}

/// The copy that `key` names, and its set. Copies of broken sets are none any more.
pub fn find<'a>(cat: &'a Catalogue, key: &str) -> Result<(&'a SnapshotSet, &'a CopyRecord)> {
    let living = cat.sets.values().filter(|set| !matches!(set.state, SetState::Broken { .. }));
    let parts: Vec<_> = living.flat_map(|set| set.copies.iter().map(|copy| Part(set, copy))).collect();
    look_up("copy", key, parts.iter()).map(|part| (part.0, part.1))
}

/// The working LUNs that only `copy` lies on.
pub fn luns_of_only(set: &SnapshotSet, copy: &CopyRecord) -> Vec<LunId> {
    let uses = |copy: &CopyRecord, lun: LunId| copy.extents.iter().any(|extent| extent.lun == lun);
    let only = set.luns.iter().filter(|lun| {
        uses(copy, lun.origin)
            && !set.copies.iter().any(|other| other.id != copy.id && uses(other, lun.origin))
    });
    only.map(|lun| lun.working).collect()
}
