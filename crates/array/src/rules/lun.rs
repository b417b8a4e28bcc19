//! LUNs: made, changed, shown to hosts and hidden from them, deleted.

use super::{Decision, bury, check, expect_revision, full, grave, or_grave, taken};
use crate::{
    limits,
    model::{
        Access, Catalogue, Change, Counters, Edit, GraveKind, Host, Labels, Lun, LunKind, Mask, Reserve,
        SetState, Thin, UnixNanos, look_up,
    },
};
use umbra_base::{Error, ErrorCode, LunId, Result};

/// A wish for a LUN.
#[derive(Debug, Clone)]
pub struct NewLun {
    /// Its id; asking again with it is no second LUN.
    pub id: LunId,
    /// Its name.
    pub name: String,
    /// Its size; rounded up.
    pub size_bytes: u64,
    /// Free key and value pairs.
    pub labels: Labels,
    /// When it may be dropped.
    pub expires_at: UnixNanos,
    /// How much of the pool is kept for it.
    pub reserve: Reserve,
    /// The most that it may map, in bytes.
    pub quota_bytes: Option<u64>,
}

/// Which numbers a host could be given: those that none of its sessions remembers (A1).
pub type Forgotten<'a> = &'a dyn Fn(&Host, u16) -> bool;

/// The LUN that `key` names; one deleted lately is refused with the time of it.
pub fn find<'a>(cat: &'a Catalogue, key: &str) -> Result<&'a Lun> {
    look_up("lun", key, cat.luns.values().map(|lun| &**lun))
        .map_err(|missing| or_grave(cat, missing, key, true))
}

/// Whether `new` can be made, before anything is: `None` if it is there already.
pub fn check_new(cat: &Catalogue, new: &NewLun) -> Result<Option<Decision>> {
    check::name("LUN", &new.name)?;
    check::labels(&new.labels)?;
    let size = check::size(new.size_bytes)?;
    check::allowance(size, new.reserve, new.quota_bytes)?;
    if let Some(known) = cat.luns.get(&new.id) {
        let same = known.name == new.name
            && known.size_bytes == size
            && (known.reserve, known.quota_bytes) == (new.reserve, new.quota_bytes);
        return match same {
            true => Ok(Some(Decision::unchanged())),
            false => Err(taken("lun", &new.id.to_string(), format!("LUN {:?}", known.name))),
        };
    }
    if let Some(grave) = cat.graves.get(&new.id.0) {
        let at = super::when::text(grave.at);
        return Err(taken("lun", &new.id.to_string(), format!("LUN {:?}, deleted at {at}", grave.name)));
    }
    name_is_free(cat, &new.name)?;
    if cat.luns.len() >= limits::LUNS {
        return Err(full("LUNs", limits::LUNS));
    }
    Ok(None)
}

/// Makes the record of a LUN on `thin`, which is in the pool by now.
pub fn create(cat: &Catalogue, new: NewLun, thin: Thin, now: UnixNanos) -> Result<Decision> {
    if let Some(already) = check_new(cat, &new)? {
        return Ok(already);
    }
    let identity = next_identity(cat.counters)?;
    let mut change = Change::new();
    change.push(Edit::SetCounters(Counters { identity, ..cat.counters }));
    change.push(Edit::PutLun(Lun {
        id: new.id,
        name: new.name,
        size_bytes: check::size(new.size_bytes)?,
        thin,
        access: Access::ReadWrite,
        kind: LunKind::Ordinary,
        scsi: cat.scsi_identity(identity),
        labels: new.labels,
        expires_at: new.expires_at,
        reserve: new.reserve,
        quota_bytes: new.quota_bytes,
        created: now,
        revision: 0,
    }));
    Ok(Decision::created(change))
}

/// The next SCSI identity; there are 2^32 of them.
pub fn next_identity(counters: Counters) -> Result<u32> {
    counters.identity.checked_add(1).ok_or_else(|| {
        Error::new(ErrorCode::LimitReached, "this array has given out all of its SCSI identities")
            .hint("start a new array")
    })
}

fn name_is_free(cat: &Catalogue, name: &str) -> Result<()> {
    match cat.luns.values().find(|lun| lun.name == name) {
        Some(other) => Err(taken("lun", name, format!("LUN {}", other.id))),
        None => Ok(()),
    }
}

/// Deletes a LUN that belongs to no living set and is not being copied. Whoever sees it loses it.
pub fn delete(cat: &Catalogue, lun: &Lun, if_revision: u64, now: UnixNanos) -> Result<Decision> {
    expect_revision("LUN", lun.id.0, lun.revision, if_revision)?;
    if let LunKind::Copy(origin) = &lun.kind {
        return Err(Error::new(
            ErrorCode::BadState,
            format!("LUN {:?} is a copy of set {}", lun.name, origin.set),
        )
        .hint("delete the set or the copy, or break the set first")
        .param("set", origin.set));
    }
    not_being_copied(cat, lun, "delete")?;
    let mut change = Change::new();
    drop_lun(cat, lun, &mut change);
    bury(cat, &mut change, grave(lun.id.0, GraveKind::Lun, &lun.name, now));
    Ok(Decision::deleted(change))
}

/// The edits that make a LUN go, masks first.
pub(super) fn drop_lun(cat: &Catalogue, lun: &Lun, change: &mut Change) {
    drop_masks(cat, lun.id, change);
    change.push(Edit::DropLun(lun.id)).push(Edit::Doom(lun.thin));
}

/// The edits that hide a LUN from everyone.
pub(super) fn drop_masks(cat: &Catalogue, lun: LunId, change: &mut Change) {
    for mask in cat.masks_of_lun(lun) {
        change.push(Edit::DropMask(mask.host, lun));
    }
}

fn not_being_copied(cat: &Catalogue, lun: &Lun, asked: &str) -> Result<()> {
    let pending = cat.sets.values().filter(|set| set.state == SetState::Pending);
    match pending.into_iter().find(|set| set.luns.iter().any(|part| part.origin == lun.id)) {
        None => Ok(()),
        Some(set) => Err(Error::new(
            ErrorCode::BadState,
            format!("{asked} LUN {:?}: set {} is being made of it", lun.name, set.id),
        )
        .hint("try again when the set is made; a lease sees to it that this ends")
        .param("set", set.id)),
    }
}

/// Makes a LUN larger.
pub fn extend(cat: &Catalogue, lun: &Lun, size_bytes: u64, if_revision: u64) -> Result<Decision> {
    expect_revision("LUN", lun.id.0, lun.revision, if_revision)?;
    let size_bytes = check::size(size_bytes)?;
    if size_bytes == lun.size_bytes {
        return Ok(Decision::unchanged());
    }
    if size_bytes < lun.size_bytes {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("LUN {:?} has {} bytes and cannot shrink to {size_bytes}", lun.name, lun.size_bytes),
        )
        .hint("LUNs only grow"));
    }
    if let LunKind::Copy(origin) = &lun.kind {
        return Err(Error::new(
            ErrorCode::BadState,
            format!("LUN {:?} is a copy of set {}", lun.name, origin.set),
        )
        .hint("break the set first"));
    }
    not_being_copied(cat, lun, "extend")?;
    Ok(Decision::changed(put(Lun { size_bytes, ..lun.clone() })))
}

/// Gives a LUN another name.
pub fn rename(cat: &Catalogue, lun: &Lun, name: &str, if_revision: u64) -> Result<Decision> {
    expect_revision("LUN", lun.id.0, lun.revision, if_revision)?;
    check::name("LUN", name)?;
    if lun.name == name {
        return Ok(Decision::unchanged());
    }
    name_is_free(cat, name)?;
    Ok(Decision::changed(put(Lun { name: name.to_owned(), ..lun.clone() })))
}

/// Lets hosts write, or not. The fence is the driver's (A1).
pub fn set_access(lun: &Lun, access: Access, if_revision: u64) -> Result<Decision> {
    expect_revision("LUN", lun.id.0, lun.revision, if_revision)?;
    if lun.access == access {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::changed(put(Lun { access, ..lun.clone() })))
}

fn put(lun: Lun) -> Change {
    let mut change = Change::new();
    change.push(Edit::PutLun(lun));
    change
}

/// Shows a LUN to a host. A copy is shown to the importer of its set alone (B1).
pub fn unmask(
    cat: &Catalogue,
    lun: &Lun,
    host: &Host,
    if_revision: u64,
    forgotten: Forgotten<'_>,
) -> Result<Decision> {
    expect_revision("LUN", lun.id.0, lun.revision, if_revision)?;
    if cat.masks.contains_key(&(host.id, lun.id)) {
        return Ok(Decision::unchanged());
    }
    if let LunKind::Copy(origin) = &lun.kind {
        let importer = cat.sets.get(&origin.set).and_then(|set| set.state.importer());
        if importer != Some(host.id) {
            return Err(Error::new(
                ErrorCode::BadState,
                format!(
                    "LUN {:?} is a copy of set {}, which {:?} has not imported",
                    lun.name, origin.set, host.name
                ),
            )
            .hint("import the set on that host, or break it first")
            .param("set", origin.set));
        }
    }
    let mut change = put(lun.clone());
    let mut numbers = FreeNumbers::of(cat, host, forgotten);
    change.push(Edit::PutMask(Mask { host: host.id, lun: lun.id, number: numbers.take()? }));
    Ok(Decision::changed(change))
}

/// Hides a LUN from one host, or from all.
pub fn mask(cat: &Catalogue, lun: &Lun, host: Option<&Host>, if_revision: u64) -> Result<Decision> {
    expect_revision("LUN", lun.id.0, lun.revision, if_revision)?;
    let wanted = |mask: &&Mask| host.is_none_or(|host| host.id == mask.host);
    let hosts: Vec<_> = cat.masks_of_lun(lun.id).filter(wanted).map(|mask| mask.host).collect();
    if hosts.is_empty() {
        return Ok(Decision::unchanged());
    }
    let mut change = put(lun.clone());
    for host in hosts {
        change.push(Edit::DropMask(host, lun.id));
    }
    Ok(Decision::changed(change))
}

/// The LUN numbers that one host can be given, lowest first.
pub(super) struct FreeNumbers<'a> {
    host: &'a Host,
    used: Vec<u16>,
    forgotten: Forgotten<'a>,
}

impl<'a> FreeNumbers<'a> {
    pub(super) fn of(cat: &Catalogue, host: &'a Host, forgotten: Forgotten<'a>) -> Self {
        let used = cat.masks_of_host(host.id).map(|mask| mask.number).collect();
        FreeNumbers { host, used, forgotten }
    }

    pub(super) fn take(&mut self) -> Result<u16> {
        let free = |number: &u16| !self.used.contains(number) && (self.forgotten)(self.host, *number);
        match (1..=limits::LUN_NUMBERS).find(free) {
            Some(number) => {
                self.used.push(number);
                Ok(number)
            }
            None => Err(Error::new(
                ErrorCode::LimitReached,
                format!("host {:?} has no LUN number left of {}", self.host.name, limits::LUN_NUMBERS),
            )
            .hint(
                "mask LUNs from it that it does not need, and let it scan its LUNs: numbers are not used \
                   again while a session remembers them",
            )
            .param("host", &self.host.name)),
        }
    }
}

#[cfg(test)]
mod tests;
