//! Which devices are compared for two copies of a volume, and where in them the volume lies.
//!
//! What always holds: only pristine devices are named, which nobody writes (C1); two copies are compared only if they are
//! of the same parts of the same LUNs.

use super::{copies, lun};
use crate::model::{Catalogue, LunKind, SetState, SnapshotSet, Thin};
use umbra_base::{Error, ErrorCode, LunId, Result};

/// A run of a volume, in the order of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The older copy's device; `None`: there is no older one, and what is mapped counts.
    pub old: Option<Thin>,
    /// The newer copy's device.
    pub new: Thin,
    /// First byte in the devices.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A part of a copy on one LUN.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    origin: LunId,
    offset: u64,
    length: u64,
    pristine: Thin,
}

/// What to compare for the copy that `key` names with the older one that `old_key` names, if any.
pub fn pieces(cat: &Catalogue, key: &str, old_key: Option<&str>) -> Result<Vec<Piece>> {
    let new = parts(cat, key)?;
    let Some(old_key) = old_key else {
        return Ok(new.iter().map(|part| piece(None, part, part.length)).collect());
    };
    let old = parts(cat, old_key)?;
    let same_place = |(old, new): (&Part, &Part)| (old.origin, old.offset) == (new.origin, new.offset);
    // A volume may have grown at its end.
    let inner = old.len().saturating_sub(1);
    let same_lengths = old.iter().zip(&new).take(inner).all(|(old, new)| old.length == new.length);
    if old.len() != new.len() || !old.iter().zip(&new).all(same_place) || !same_lengths {
        let text = format!("compare copy {old_key:?} with copy {key:?}: they are not of the same volume");
        return Err(Error::new(ErrorCode::InvalidArgument, text)
            .hint("name two copies of one volume; `umbra list` shows the volume of each"));
    }
    Ok(old.iter().zip(&new).map(|(old, new)| piece(Some(old), new, old.length.max(new.length))).collect())
}

fn piece(old: Option<&Part>, new: &Part, length: u64) -> Piece {
    Piece { old: old.map(|old| old.pristine), new: new.pristine, offset: new.offset, length }
}

/// The parts of a copy, or of the LUN of a copy: then all of it.
fn parts(cat: &Catalogue, key: &str) -> Result<Vec<Part>> {
    let missing = match copies::find(cat, key) {
        Ok((set, copy)) => {
            is_cut(set)?;
            let parts = copy.extents.iter().map(|extent| {
                let pristine = pristine(set, |lun| lun.origin == extent.lun)?;
                Ok(Part { origin: extent.lun, offset: extent.offset, length: extent.length, pristine })
            });
            return parts.collect();
        }
        Err(error) if error.code() == ErrorCode::ObjectNotFound => error,
        Err(error) => return Err(error),
    };
    // A person who mistyped is told of copies, not of LUNs.
    let Ok(lun) = lun::find(cat, key) else { return Err(missing) };
    let set = match &lun.kind {
        LunKind::Copy(origin) => cat.sets.get(&origin.set),
        _ => None,
    };
    let Some(set) = set else {
        let text = format!("LUN {:?} is no copy of a set that is not broken", lun.name);
        return Err(Error::new(ErrorCode::InvalidArgument, text)
            .hint("name a copy; what an original or a broken LUN holds can change at any time"));
    };
    let origin = set.luns.iter().find(|part| part.working == lun.id).map(|part| part.origin);
    let pristine = pristine(set, |part| part.working == lun.id)?;
    Ok(vec![Part { origin: origin.unwrap_or(lun.id), offset: 0, length: lun.size_bytes, pristine }])
}

fn pristine(set: &SnapshotSet, is_it: impl Fn(&crate::model::SetLun) -> bool) -> Result<Thin> {
    let missing =
        || Error::new(ErrorCode::Corrupt, format!("set {} lacks a LUN of one of its copies", set.id));
    set.luns.iter().find(|part| is_it(part)).map(|part| part.pristine_thin).ok_or_else(missing)
}

fn is_cut(set: &SnapshotSet) -> Result<()> {
    match set.state {
        SetState::Pending => Err(Error::new(
            ErrorCode::BadState,
            format!("compare copies of set {}: it is being made", set.id),
        )
        .hint("try again when it is created")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Access,
        rules::fixture::{SIZE, World, copy, id, new_set},
    };
    use umbra_base::SetId;

    /// Two created sets of `data` and `wal`, each with a volume over both LUNs and one over the end of `wal`.
    fn world() -> World {
        let mut world = World::new();
        for (set, copies) in [(0x99, [0x71, 0x72]), (0x9a, [0x81, 0x82])] {
            world.set = SetId(id(set));
            let mut new = new_set(set, &["data", "wal"]);
            new.copies = vec![
                copy(copies[0], &[(2, 4096, 8192), (1, 0, SIZE)]),
                copy(copies[1], &[(2, 65536, SIZE - 65536)]),
            ];
            world.begin(new);
            world.commit();
            // The fixture has devices for one set only.
            let mut set = (*world.cat.sets[&world.set]).clone();
            set.luns.iter_mut().for_each(|lun| lun.pristine_thin.0 += (copies[0] as u32) << 8);
            world.cat.sets.insert(set.id, set.into());
        }
        world
    }

    fn key(n: u128) -> String {
        id(n).to_string()
    }

    #[test]
    fn a_volume_is_compared_part_by_part_on_the_pristine_devices() {
        let world = world();
        let thin = |lun: u32, copies: u32| Thin(200 + lun + (copies << 8));
        let found = pieces(&world.cat, &key(0x81), Some(&key(0x71))).unwrap();
        let expected = [(1, 4096, 8192), (0, 0, SIZE)].map(|(lun, offset, length)| Piece {
            old: Some(thin(lun, 0x71)),
            new: thin(lun, 0x81),
            offset,
            length,
        });
        assert_eq!(found, expected);
        let alone = pieces(&world.cat, &key(0x82), None).unwrap();
        assert_eq!(alone, [Piece { old: None, new: thin(1, 0x81), offset: 65536, length: SIZE - 65536 }]);
    }

    #[test]
    fn a_copys_lun_stands_for_all_of_it_and_a_copy_of_another_volume_is_refused() {
        let world = world();
        let working = world.cat.sets[&world.set].luns[0].working.to_string();
        let found = pieces(&world.cat, &working, None).unwrap();
        assert_eq!((found.len(), found[0].offset, found[0].length), (1, 0, SIZE));
        for other in [key(0x72), working] {
            let error = pieces(&world.cat, &key(0x81), Some(&other)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument);
        }
    }

    #[test]
    fn what_is_no_copy_or_not_cut_yet_is_refused() {
        let mut world = world();
        assert_eq!(pieces(&world.cat, "data", None).unwrap_err().code(), ErrorCode::InvalidArgument);
        assert_eq!(pieces(&world.cat, "nothing", None).unwrap_err().code(), ErrorCode::ObjectNotFound);
        let working = world.cat.sets[&world.set].luns[0].working.to_string();
        world.break_set(Access::ReadOnly);
        assert_eq!(pieces(&world.cat, &working, None).unwrap_err().code(), ErrorCode::InvalidArgument);
        assert_eq!(pieces(&world.cat, &key(0x81), None).unwrap_err().code(), ErrorCode::ObjectNotFound);
        let mut pending = new_set(0x9b, &["data"]);
        pending.copies = vec![copy(0x91, &[(1, 0, SIZE)])];
        world.begin(pending);
        assert_eq!(pieces(&world.cat, &key(0x91), None).unwrap_err().code(), ErrorCode::BadState);
    }
}
