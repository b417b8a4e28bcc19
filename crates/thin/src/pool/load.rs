//! Reading what stands below block 0: both space maps, the devices (dm-thin format section 11.1).
//!
//! What always holds: memory stays in proportion to the image, whatever it says of itself; what is damaged is named
//! with the keys that it costs (A6).

use super::Device;
use crate::{
    Superblock, ThinError, ThinId,
    bitmap::Bitmap,
    error::{Lost, TreeName},
    limits::{DAMAGE_MAX, TIME_MAX},
    meta::{Meta, MetaRead},
    page::{PageKind, get_u32, get_u64},
    space::{Placed, SpaceMap},
    superblock::SpaceMapRoot,
    tree::{Care, Place, See},
    values::{Details, IndexEntry, Tree, bitmaps_for},
};
use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

/// What to do about damage.
#[derive(Debug)]
pub(super) enum Damage {
    /// It is an error.
    Refused,
    /// It is written down, and what can be read is read.
    Noted(Vec<ThinError>),
}

impl Damage {
    pub(super) fn note(&mut self, error: ThinError) -> Result<(), ThinError> {
        match self {
            Damage::Refused => return Err(error),
            Damage::Noted(errors) if errors.len() < DAMAGE_MAX => errors.push(error),
            Damage::Noted(_) => {}
        }
        Ok(())
    }

    pub(super) fn into_errors(self) -> Vec<ThinError> {
        match self {
            Damage::Refused => Vec::new(),
            Damage::Noted(errors) => errors,
        }
    }
}

pub(super) fn metadata_map<R: MetaRead>(
    meta: &mut Meta<R>,
    root: &SpaceMapRoot,
) -> Result<SpaceMap, ThinError> {
    let tree = TreeName::MetadataIndex;
    let count = bitmaps_for(root.nr_blocks);
    let index = meta.read_page(root.bitmap_root, PageKind::Index);
    let index = index.map_err(|source| lost(tree, 0..count, root.bitmap_root, source))?;
    let entries: Vec<_> =
        (0..count as usize).map(|i| IndexEntry::unpack(&index[16 + 16 * i..32 + 16 * i])).collect();
    let bitmaps = bitmaps(meta, tree, &entries)?;
    let many = overflow(meta, root.ref_count_root)?;
    SpaceMap::load("metadata", root.nr_blocks, bitmaps, &many)
}

pub(super) fn data_map<R: MetaRead>(meta: &mut Meta<R>, root: &SpaceMapRoot) -> Result<SpaceMap, ThinError> {
    let wrong = |what| ThinError::SpaceMap { map: "data", block: 0, what };
    let mut entries = Vec::new();
    let wanted = bitmaps_for(root.nr_blocks);
    meta.walk(root.bitmap_root, Tree::Index, (0, u64::MAX), &mut |key, value| {
        if key != entries.len() as u64 || key >= wanted {
            return Err(wrong(format!("index entry {key} where {} was expected", entries.len())));
        }
        entries.push(IndexEntry::unpack(value));
        Ok(())
    })?;
    if (entries.len() as u64) < wanted {
        return Err(wrong(format!("{} index entries, expected {wanted}", entries.len())));
    }
    let bitmaps = bitmaps(meta, TreeName::DataIndex, &entries)?;
    let many = overflow(meta, root.ref_count_root)?;
    let mut map = SpaceMap::load("data", root.nr_blocks, bitmaps, &many)?;
    entries.iter().enumerate().for_each(|(i, entry)| map.note_hints(i, entry));
    Ok(map)
}

fn bitmaps<R: MetaRead>(
    meta: &mut Meta<R>,
    tree: TreeName,
    entries: &[IndexEntry],
) -> Result<Vec<Placed>, ThinError> {
    let mut places = HashSet::new();
    let read = |(entry, i): (&IndexEntry, u64)| {
        let at = entry.block;
        let twice = || bad(at, "a bitmap with two uses".to_owned());
        let page = if places.insert(at) { meta.read_page(at, PageKind::Bitmap) } else { Err(twice()) };
        let bitmap = page.and_then(|page| Bitmap::decode(&page, at));
        Ok(Placed { bitmap: bitmap.map_err(|source| lost(tree, i..i + 1, at, source))?, at: Some(at) })
    };
    entries.iter().zip(0..).map(read).collect()
}

fn overflow<R: MetaRead>(meta: &mut Meta<R>, root: u64) -> Result<Vec<(u64, u32)>, ThinError> {
    let mut many = Vec::new();
    meta.walk(root, Tree::Overflow, (0, u64::MAX), &mut |block, value| {
        many.push((block, get_u32(value, 0)));
        Ok(())
    })?;
    Ok(many)
}

/// The devices of the top-level tree with what the details tree says of them.
pub(super) fn devices<R: MetaRead>(
    meta: &mut Meta<R>,
    superblock: &Superblock,
    damage: &mut Damage,
) -> Result<BTreeMap<ThinId, Device>, ThinError> {
    let mut roots = device_roots(meta, superblock.mapping_root, damage)?;
    let (block, now) = (superblock.details_root, superblock.time);
    let mut devices = BTreeMap::new();
    meta.walk_around(Place::root(block), Tree::Details, damage, &mut |key, value| {
        let details = Details::unpack(value);
        let device = check_id(key).and_then(|id| roots.remove(&id).map(|root| (id, root)));
        let (id, root) = device.ok_or_else(|| bad(block, format!("device {key} has details but no tree")))?;
        devices.insert(id, Device::new(details, root));
        match details.creation_time.max(details.snapshotted_time) {
            time if time > now => Err(bad(block, format!("device {id} has time {time}, it is {now} now"))),
            _ => Ok(()),
        }
    })?;
    for (id, root) in roots {
        let source = bad(block, format!("device {id} has a tree but no details"));
        damage.note(lost(TreeName::Details, id.0.into()..u64::from(id.0) + 1, block, source))?;
        devices.insert(id, Device::new(Details { snapshotted_time: TIME_MAX, ..Details::default() }, root));
    }
    Ok(devices)
}

fn device_roots<R: MetaRead>(
    meta: &mut Meta<R>,
    block: u64,
    damage: &mut Damage,
) -> Result<BTreeMap<ThinId, u64>, ThinError> {
    let mut roots = BTreeMap::new();
    meta.walk_around(Place::root(block), Tree::Top, damage, &mut |key, value| {
        let id = check_id(key).ok_or_else(|| bad(block, format!("device id {key} has more than 24 bits")))?;
        roots.insert(id, get_u64(value, 0));
        Ok(())
    })?;
    Ok(roots)
}

fn check_id(key: u64) -> Option<ThinId> {
    u32::try_from(key).ok().map(ThinId).filter(|id| *id <= ThinId::MAX)
}

fn bad(block: u64, what: String) -> ThinError {
    ThinError::Node { block, what }
}

fn lost(tree: TreeName, keys: Range<u64>, block: u64, source: ThinError) -> ThinError {
    ThinError::Damaged { lost: Lost { tree, device: None, keys, block }, source: Box::new(source) }
}

impl<R: MetaRead> Meta<R> {
    /// A walk that goes on around damage, if that is noted; so are errors of `see`.
    fn walk_around(
        &mut self,
        place: Place,
        tree: Tree,
        damage: &mut Damage,
        see: See<'_>,
    ) -> Result<(), ThinError> {
        let node = match self.visit(&place, tree, Care::Read) {
            Ok(node) => node,
            Err(error) => return damage.note(error),
        };
        for i in 0..node.len() {
            if !node.is_leaf() {
                self.walk_around(place.child(&node, i), tree, damage, see)?;
            } else if let Err(error) = see(node.key(i), node.value(i)) {
                damage.note(error)?;
            }
        }
        Ok(())
    }
}
