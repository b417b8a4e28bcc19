//! The life of a set after its beginning: created, imported, broken, deleted.

use super::{
    Decision, bury, check, copies, grave,
    lun::{Forgotten, FreeNumbers, drop_lun, drop_masks, next_identity},
    moves::{self, Next, SetStep},
    or_grave,
};
use crate::{
    limits,
    model::{
        Access, Catalogue, Change, CopyRecord, Counters, Edit, GraveKind, Host, IdentityChange, Lun, LunKind,
        Mask, Origin, Reserve, SetLun, SetState, SnapshotSet, Step, UnixNanos, look_up,
    },
};
use umbra_base::{CopyId, Error, ErrorCode, LunId, Result, limits as shared};

/// The set that `key` names, broken or not; one deleted lately is refused with the time of it.
pub fn find<'a>(cat: &'a Catalogue, key: &str) -> Result<&'a SnapshotSet> {
    look_up("set", key, cat.sets.values().map(|set| &**set))
        .map_err(|missing| or_grave(cat, missing, key, false))
}

/// Refuses when the set moved on since the caller read it.
pub fn expect_revision(set: &SnapshotSet, if_revision: u64) -> Result<()> {
    super::expect_revision("set", set.id.0, set.revision, if_revision)
}

/// Pending -> created: the cut is durable; the working copies become LUNs, seen by nobody.
pub fn commit(cat: &Catalogue, set: &SnapshotSet, cut: UnixNanos, now: UnixNanos) -> Result<Decision> {
    if moves::check(cat, set, SetStep::Commit)? == Next::Stays {
        return Ok(Decision::unchanged());
    }
    let mut change = Change::new();
    let mut counters = cat.counters;
    for part in &set.luns {
        counters = Counters { identity: next_identity(counters)?, ..counters };
        change.push(Edit::PutLun(working_lun(cat, set, part, counters, now)));
    }
    change.push(Edit::SetCounters(counters));
    change.push(Edit::PutSet(SnapshotSet { state: SetState::Created { cut }, ..set.clone() }));
    Ok(Decision::created(change))
}

fn working_lun(cat: &Catalogue, set: &SnapshotSet, part: &SetLun, counters: Counters, now: UnixNanos) -> Lun {
    Lun {
        id: part.working,
        name: working_name(cat, set, part),
        size_bytes: part.size_bytes,
        thin: part.working_thin,
        // Identity renewal and journal replay come first (I1); the importer protects the LUN when it is done.
        access: Access::ReadWrite,
        kind: LunKind::Copy(Origin { lun: part.origin, set: set.id }),
        scsi: cat.scsi_identity(counters.identity),
        labels: set.labels.clone(),
        expires_at: 0,
        reserve: Reserve::Nothing,
        quota_bytes: None,
        created: now,
        revision: 0,
    }
}

/// `data-1` in set `3f2c0a3e-...`: `data-1.3f2c0a3e`. Longer when that is taken: the working LUN's id is unique.
fn working_name(cat: &Catalogue, set: &SnapshotSet, part: &SetLun) -> String {
    let free = |name: &String| !cat.luns.values().any(|lun| lun.name == *name);
    let named = |suffix: &str| {
        // Names are ASCII (rules::check), so that any byte is a boundary.
        let room = shared::NAME_BYTES - suffix.len() - 1;
        let stem = part.origin_name.get(..room).unwrap_or(&part.origin_name);
        format!("{stem}.{suffix}")
    };
    let short = named(&set.id.0.simple().to_string()[..8]);
    if free(&short) { short } else { named(&part.working.0.simple().to_string()) }
}

/// Why a pending set ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// Its maker asked for it.
    Aborted,
    /// Its lease ran out, or the array was restarted (S6).
    Lapsed,
}

/// Pending -> gone, with everything that was reserved for it.
pub fn abort(cat: &Catalogue, set: &SnapshotSet, why: GivenUp, now: UnixNanos) -> Result<Decision> {
    moves::check(cat, set, SetStep::Abort)?;
    let mut change = Change::new();
    change.push(Edit::DropSet(set.id));
    for thin in set.thins() {
        change.push(Edit::Doom(thin));
    }
    let kind = if why == GivenUp::Lapsed { GraveKind::LapsedSet } else { GraveKind::Set };
    bury(cat, &mut change, grave(set.id.0, kind, "", now));
    Ok(Decision::deleted(change))
}

/// Whether a set may be taken from a host that has it imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// Refuse instead.
    Never,
    /// Fence that host first (B1).
    Steal,
}

/// Created -> imported by `host`, which from now on sees the working LUNs, and nobody else does.
pub fn import(
    cat: &Catalogue,
    set: &SnapshotSet,
    host: &Host,
    takeover: Takeover,
    forgotten: Forgotten<'_>,
) -> Result<Decision> {
    if set.state.importer() == Some(host.id) && matches!(set.state, SetState::Imported { .. }) {
        return Ok(Decision::unchanged());
    }
    let step = if takeover == Takeover::Steal { SetStep::Steal } else { SetStep::Import };
    match moves::check(cat, set, step) {
        Ok(Next::To(_)) => {}
        // Another host has it, and nobody asked to take it away.
        Ok(_) => return Err(imported_elsewhere(cat, set)),
        Err(error) => return Err(error),
    }
    if !set.transportable && set.creator != host.id {
        return Err(Error::new(
            ErrorCode::BadState,
            format!(
                "set {} is not transportable: only host {:?}, which made it, can import it",
                set.id, set.creator_name
            ),
        )
        .hint("create the set with --transportable")
        .param("set", set.id));
    }
    let mut change = Change::new();
    let mut numbers = FreeNumbers::of(cat, host, forgotten);
    for part in &set.luns {
        let lun = working(cat, part.working)?;
        drop_masks(cat, lun.id, &mut change);
        let number = match cat.masks.get(&(host.id, lun.id)) {
            Some(mask) => mask.number,
            None => numbers.take()?,
        };
        change.push(Edit::PutMask(Mask { host: host.id, lun: lun.id, number }));
        change.push(Edit::PutLun(lun.clone()));
    }
    let state = SetState::Imported { cut: set.state.cut(), importer: host.id };
    change.push(Edit::PutSet(SnapshotSet { state, epoch: set.epoch + 1, ..set.clone() }));
    Ok(Decision::changed(change))
}

fn imported_elsewhere(cat: &Catalogue, set: &SnapshotSet) -> Error {
    let name =
        set.state.importer().and_then(|id| cat.hosts.get(&id)).map_or("another host", |host| &host.name);
    Error::new(ErrorCode::BadState, format!("set {} is imported by {name:?}", set.id))
        .hint("un-import it there; if that host is dead, take it over with --steal")
        .param("set", set.id)
        .param("importer", name)
}

fn working(cat: &Catalogue, id: LunId) -> Result<&Lun> {
    cat.luns.get(&id).map(|lun| &**lun).ok_or_else(|| {
        Error::new(ErrorCode::Corrupt, format!("the catalogue names working LUN {id} and does not know it"))
    })
}

/// Imported -> created: the importer loses sight of the LUNs, their data stays (B4, break with mask).
pub fn unimport(cat: &Catalogue, set: &SnapshotSet) -> Result<Decision> {
    if moves::check(cat, set, SetStep::Unimport)? == Next::Stays {
        return Ok(Decision::unchanged());
    }
    let mut change = Change::new();
    for part in &set.luns {
        drop_masks(cat, part.working, &mut change);
        change.push(Edit::PutLun(working(cat, part.working)?.clone()));
    }
    let state = SetState::Created { cut: set.state.cut() };
    change.push(Edit::PutSet(SnapshotSet { state, ..set.clone() }));
    Ok(Decision::changed(change))
}

/// Imported -> breaking: `host` is about to break it. Asking again may change the access.
pub fn begin_break(
    cat: &Catalogue,
    set: &SnapshotSet,
    host: Option<&Host>,
    access: Access,
) -> Result<Decision> {
    moves::check(cat, set, SetStep::BeginBreak)?;
    let Some(importer) = set.state.importer() else { return Err(imported_elsewhere(cat, set)) };
    if host.is_some_and(|host| host.id != importer) {
        return Err(imported_elsewhere(cat, set));
    }
    let state = SetState::Breaking { cut: set.state.cut(), importer, access };
    Ok(to_state(set, state))
}

/// Breaking -> imported.
pub fn cancel_break(cat: &Catalogue, set: &SnapshotSet) -> Result<Decision> {
    moves::check(cat, set, SetStep::CancelBreak)?;
    let Some(importer) = set.state.importer() else { return Err(imported_elsewhere(cat, set)) };
    Ok(to_state(set, SetState::Imported { cut: set.state.cut(), importer }))
}

fn to_state(set: &SnapshotSet, state: SetState) -> Decision {
    if set.state == state {
        return Decision::unchanged();
    }
    let mut change = Change::new();
    change.push(Edit::PutSet(SnapshotSet { state, ..set.clone() }));
    Decision::changed(change)
}

/// What is known of a working LUN's identity by now.
pub type Identities = Vec<(LunId, Vec<IdentityChange>)>;

/// Breaking -> broken, the point of no return (B3). The working copies become LUNs of their own, masks and all; the
/// pristine ones are given up. The cost is that of the records alone.
pub fn commit_break(
    cat: &Catalogue,
    set: &SnapshotSet,
    access: Access,
    identities: Identities,
    now: UnixNanos,
) -> Result<Decision> {
    moves::check(cat, set, SetStep::CommitBreak)?;
    let mut broken = set.clone();
    set_identities(&mut broken, identities)?;
    let mut change = Change::new();
    for part in &set.luns {
        let lun = working(cat, part.working)?;
        let kind = LunKind::Broken(Origin { lun: part.origin, set: set.id });
        change.push(Edit::PutLun(Lun { kind, access, ..lun.clone() }));
        change.push(Edit::Doom(part.pristine_thin));
    }
    broken.state = SetState::Broken { cut: set.state.cut(), at: now, access };
    change.push(Edit::PutSet(broken));
    Ok(Decision::changed(change))
}

/// Created or imported -> gone, with both copies of each LUN.
pub fn delete(cat: &Catalogue, set: &SnapshotSet, now: UnixNanos) -> Result<Decision> {
    remove(cat, set, GraveKind::Set, now)
}

/// The same, because the pool has no space left for it (A7).
pub fn give_up(cat: &Catalogue, set: &SnapshotSet, now: UnixNanos) -> Result<Decision> {
    remove(cat, set, GraveKind::GivenUpSet, now)
}

fn remove(cat: &Catalogue, set: &SnapshotSet, kind: GraveKind, now: UnixNanos) -> Result<Decision> {
    moves::check(cat, set, SetStep::Delete)?;
    let mut change = Change::new();
    for part in &set.luns {
        drop_part(cat, part, &mut change)?;
    }
    change.push(Edit::DropSet(set.id));
    bury(cat, &mut change, grave(set.id.0, kind, "", now));
    Ok(Decision::deleted(change))
}

fn drop_part(cat: &Catalogue, part: &SetLun, change: &mut Change) -> Result<()> {
    drop_lun(cat, working(cat, part.working)?, change);
    change.push(Edit::Doom(part.pristine_thin));
    Ok(())
}

/// Deletes one copy, with the LUNs that only it lies on; the set goes with its last.
pub fn delete_copy(
    cat: &Catalogue,
    set: &SnapshotSet,
    copy: &CopyRecord,
    now: UnixNanos,
) -> Result<Decision> {
    moves::check(cat, set, SetStep::Delete)?;
    if set.copies.iter().all(|other| other.id == copy.id) {
        return delete(cat, set, now);
    }
    let gone = copies::luns_of_only(set, copy);
    let mut change = Change::new();
    for part in set.luns.iter().filter(|part| gone.contains(&part.working)) {
        drop_part(cat, part, &mut change)?;
    }
    let mut rest = set.clone();
    rest.luns.retain(|part| !gone.contains(&part.working));
    rest.copies.retain(|other| other.id != copy.id);
    change.push(Edit::PutSet(rest));
    Ok(Decision::deleted(change))
}

/// What is learned about a set after its cut. Empty lists leave what is there.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// How the creation went.
    pub timeline: Vec<Step>,
    /// Copies, matched by id.
    pub copies: Vec<CopyRecord>,
    /// Identities, matched by working LUN.
    pub identities: Identities,
}

/// Records what was learned.
pub fn update(cat: &Catalogue, set: &SnapshotSet, learned: Learned) -> Result<Decision> {
    moves::check(cat, set, SetStep::Update)?;
    let mut after = set.clone();
    if !learned.timeline.is_empty() {
        check::at_most("steps of a timeline", learned.timeline.len(), limits::ITEMS)?;
        for step in &learned.timeline {
            [&step.name, &step.outcome, &step.note]
                .into_iter()
                .try_for_each(|text| check::text("a step", text))?;
        }
        after.timeline = learned.timeline;
    }
    for copy in learned.copies {
        copies::check(&copy, |lun| {
            set.luns.iter().find(|part| part.origin == lun).map(|part| part.size_bytes)
        })?;
        let id = copy.id;
        *known_copy(&mut after, id)? = copy;
    }
    set_identities(&mut after, learned.identities)?;
    if after == *set {
        return Ok(Decision::unchanged());
    }
    let mut change = Change::new();
    change.push(Edit::PutSet(after));
    Ok(Decision::changed(change))
}

fn known_copy(set: &mut SnapshotSet, id: CopyId) -> Result<&mut CopyRecord> {
    let missing = Error::new(ErrorCode::ObjectNotFound, format!("set {} has no copy {id}", set.id));
    set.copies.iter_mut().find(|copy| copy.id == id).ok_or(missing)
}

fn set_identities(set: &mut SnapshotSet, identities: Identities) -> Result<()> {
    for (working, changes) in identities {
        check::at_most("identity changes of a LUN", changes.len(), limits::ITEMS)?;
        for change in &changes {
            let texts = [&change.place, &change.kind, &change.before, &change.after];
            texts.into_iter().try_for_each(|text| check::text("an identity", text))?;
        }
        let missing = Error::new(ErrorCode::ObjectNotFound, format!("set {} has no LUN {working}", set.id));
        set.luns.iter_mut().find(|part| part.working == working).ok_or(missing)?.identity = changes;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
