//! The beginning of a set: everything about it is checked here, before any host freezes anything for it.

use super::{Decision, check, copies, full, taken};
use crate::{
    limits,
    model::{
        Catalogue, Change, CopyRecord, Edit, Host, Labels, Lun, LunKind, SetLun, SetState, SnapshotSet, Thin,
        UnixNanos,
    },
};
use std::collections::BTreeSet;
use umbra_base::{CopyId, Error, ErrorCode, LunId, Result, SetId, limits as shared};

/// A wish for a set.
#[derive(Debug, Clone)]
pub struct NewSet {
    /// Its id; asking again with it is no second set.
    pub id: SetId,
    /// Keys of the LUNs to copy.
    pub origins: Vec<String>,
    /// The volumes on them.
    pub copies: Vec<CopyRecord>,
    /// Free key and value pairs.
    pub labels: Labels,
    /// When it may be dropped.
    pub expires_at: UnixNanos,
    /// Whether other hosts may import it.
    pub transportable: bool,
    /// Whether it dies with its requester.
    pub volatile: bool,
    /// Volumes on its LUNs that nobody asked for.
    pub extra_volumes: Vec<String>,
}

/// What a LUN of the new set needs that is not decided here.
#[derive(Debug, Clone, Copy)]
pub struct Reserved {
    /// The id of the working LUN.
    pub working: LunId,
    /// Its thin device.
    pub working_thin: Thin,
    /// The pristine copy's thin device.
    pub pristine_thin: Thin,
}

/// A checked wish: either the set is there already, or these LUNs are to be copied.
#[derive(Debug)]
pub enum Checked<'a> {
    /// Asked again.
    Known,
    /// The originals, in the order of the wish.
    Fresh(Vec<&'a Lun>),
}

/// Checks everything; nothing is reserved yet.
pub fn check_new<'a>(cat: &'a Catalogue, new: &NewSet, creator: &Host) -> Result<Checked<'a>> {
    let origins = originals(cat, new)?;
    if let Some(known) = cat.sets.get(&new.id) {
        let same = known.creator == creator.id
            && known.luns.iter().map(|lun| lun.origin).eq(origins.iter().map(|lun| lun.id));
        return match same {
            true => Ok(Checked::Known),
            false => {
                Err(taken("set", &new.id.to_string(), format!("a set of host {:?}", known.creator_name)))
            }
        };
    }
    if let Some(grave) = cat.graves.get(&new.id.0) {
        let at = super::when::text(grave.at);
        return Err(taken("set", &new.id.to_string(), format!("a set that was deleted at {at}")));
    }
    check_details(new, &origins)?;
    no_copy_known(cat, &new.copies)?;
    if cat.luns.len() + origins.len() > limits::LUNS {
        return Err(full("LUNs", limits::LUNS));
    }
    Ok(Checked::Fresh(origins))
}

fn originals<'a>(cat: &'a Catalogue, new: &NewSet) -> Result<Vec<&'a Lun>> {
    check::at_most("LUNs of a set", new.origins.len(), shared::LUNS_PER_SET)?;
    let mut seen = BTreeSet::new();
    let mut origins = Vec::with_capacity(new.origins.len());
    for key in &new.origins {
        let lun = super::lun::find(cat, key)?;
        if let LunKind::Copy(origin) = &lun.kind {
            return Err(Error::new(
                ErrorCode::VolumeNotSupported,
                format!("LUN {:?} is itself a copy, of set {}", lun.name, origin.set),
            )
            .hint("break that set first"));
        }
        if !seen.insert(lun.id) {
            return Err(Error::new(ErrorCode::InvalidArgument, format!("LUN {:?} is named twice", lun.name)));
        }
        origins.push(lun);
    }
    match origins.is_empty() {
        true => Err(Error::new(ErrorCode::InvalidArgument, "a set needs at least one LUN")),
        false => Ok(origins),
    }
}

fn check_details(new: &NewSet, origins: &[&Lun]) -> Result<()> {
    check::labels(&new.labels)?;
    check::at_most("volumes of a set", new.copies.len(), shared::VOLUMES_PER_SET)?;
    check::at_most("extra volumes", new.extra_volumes.len(), limits::ITEMS)?;
    new.extra_volumes.iter().try_for_each(|volume| check::text("an extra volume", volume))?;
    let mut ids = BTreeSet::new();
    for copy in &new.copies {
        if !ids.insert(copy.id) {
            return Err(Error::new(ErrorCode::InvalidArgument, format!("copy {} is named twice", copy.id)));
        }
        copies::check(copy, |lun| {
            origins.iter().find(|origin| origin.id == lun).map(|origin| origin.size_bytes)
        })?;
    }
    Ok(())
}

fn no_copy_known(cat: &Catalogue, copies: &[CopyRecord]) -> Result<()> {
    let wanted: BTreeSet<CopyId> = copies.iter().map(|copy| copy.id).collect();
    for set in cat.sets.values() {
        if let Some(copy) = set.copies.iter().find(|copy| wanted.contains(&copy.id)) {
            return Err(taken("copy", &copy.id.to_string(), format!("set {}", set.id)));
        }
    }
    Ok(())
}

/// Makes the record of a pending set. `reserved` has one entry for each original.
pub fn begin(
    cat: &Catalogue,
    new: NewSet,
    creator: &Host,
    reserved: &[Reserved],
    now: UnixNanos,
) -> Result<Decision> {
    let Checked::Fresh(origins) = check_new(cat, &new, creator)? else { return Ok(Decision::unchanged()) };
    let mut change = Change::new();
    make_room(cat, &mut change)?;
    let luns = origins.iter().zip(reserved).map(|(origin, reserved)| set_lun(origin, reserved)).collect();
    change.push(Edit::PutSet(SnapshotSet {
        id: new.id,
        state: SetState::Pending,
        creator: creator.id,
        creator_name: creator.name.clone(),
        epoch: 0,
        transportable: new.transportable,
        volatile: new.volatile,
        copies: new.copies,
        luns,
        labels: new.labels,
        expires_at: new.expires_at,
        begun: now,
        timeline: Vec::new(),
        extra_volumes: new.extra_volumes,
        revision: 0,
    }));
    Ok(Decision::created(change))
}

fn set_lun(origin: &Lun, reserved: &Reserved) -> SetLun {
    SetLun {
        origin: origin.id,
        origin_name: origin.name.clone(),
        size_bytes: origin.size_bytes,
        working: reserved.working,
        working_thin: reserved.working_thin,
        pristine_thin: reserved.pristine_thin,
        identity: Vec::new(),
    }
}

/// A full catalogue forgets the oldest broken set of which no LUN is left; any other set is needed.
fn make_room(cat: &Catalogue, change: &mut Change) -> Result<()> {
    if cat.sets.len() < limits::SETS {
        return Ok(());
    }
    let is_empty = |set: &&std::sync::Arc<SnapshotSet>| {
        matches!(set.state, SetState::Broken { .. })
            && !set.luns.iter().any(|lun| cat.luns.contains_key(&lun.working))
    };
    match cat.sets.values().filter(is_empty).min_by_key(|set| set.begun) {
        Some(oldest) => {
            change.push(Edit::DropSet(oldest.id));
            Ok(())
        }
        None => Err(full("sets", limits::SETS)),
    }
}
