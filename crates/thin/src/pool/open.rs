//! Making a pool, and opening one: block 0, both space maps, the devices (dm-thin format sections 9.1 and 11.1).
//!
//! What always holds: the hints of the disk (free counts, first free entries, allocated blocks) are computed anew from
//! the bitmaps, never believed (section 7.3); mapping trees are read when they are asked for.

use super::{
    Commit, Device, Owner, Pool,
    owner::{self, FIRST_DOOMED},
};
use crate::{
    Superblock, ThinError, ThinId,
    bitmap::Bitmap,
    limits::{
        DATA_BLOCK_SECTORS_MAX, DATA_BLOCK_SECTORS_MIN, DATA_BLOCKS_MAX, META_BITMAPS, META_BLOCKS_MAX,
        META_BLOCKS_MIN,
    },
    meta::{Meta, MetaRead},
    page::{Page, PageKind, get_u32},
    space::{Placed, SpaceMap},
    superblock::SpaceMapRoot,
    values::{Details, IndexEntry, Tree, bitmaps_for},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a new pool is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Identity, kept in the uuid field that kernels and tools leave alone. Zero: none, as in a foreign pool
    /// ([`crate::Owner`]).
    pub uuid: [u8; 16],
    /// Sectors of a data block: a multiple of 128 up to 2097152.
    pub data_block_sectors: u32,
    /// Data blocks.
    pub data_blocks: u64,
    /// Metadata blocks; what is above 4161600 stays unused.
    pub metadata_blocks: u64,
}

impl Format {
    fn check(&self) -> Result<(), ThinError> {
        let wrong = |what, found: u64, allowed: String| Err(ThinError::Argument { what, found, allowed });
        let sectors = self.data_block_sectors;
        if !(DATA_BLOCK_SECTORS_MIN..=DATA_BLOCK_SECTORS_MAX).contains(&sectors)
            || !sectors.is_multiple_of(DATA_BLOCK_SECTORS_MIN)
        {
            return wrong(
                "the data block size in sectors",
                sectors.into(),
                "multiples of 128 up to 2097152".into(),
            );
        }
        if self.uuid != [0; 16] && Owner::of(&self.uuid) == Owner::Foreign {
            return wrong("the first half of the uuid", 0, "anything but the mark of a foreign pool".into());
        }
        if self.data_blocks > DATA_BLOCKS_MAX {
            return wrong(
                "the number of data blocks",
                self.data_blocks,
                format!("at most {DATA_BLOCKS_MAX}"),
            );
        }
        let least = META_BLOCKS_MIN + 2 * bitmaps_for(self.data_blocks);
        if self.metadata_blocks < least {
            return wrong("the number of metadata blocks", self.metadata_blocks, format!("at least {least}"));
        }
        Ok(())
    }
}

/// Nothing can be read from a pool that does not exist yet.
struct Nothing;

impl MetaRead for Nothing {
    fn read(&self, _: u64) -> std::io::Result<Box<Page>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// The blocks of a new pool, to be written like any commit: block 0 last.
pub fn format(format: &Format) -> Result<Commit, ThinError> {
    format.check()?;
    let nr_meta = format.metadata_blocks.min(META_BLOCKS_MAX);
    let mut meta =
        Meta::new(Nothing, SpaceMap::empty("metadata", nr_meta), SpaceMap::empty("data", format.data_blocks));
    let mut superblock = Superblock::new(format.uuid, format.data_block_sectors, nr_meta);
    meta.allocate()?;
    superblock.mapping_root = meta.add_tree(Tree::Top)?;
    superblock.details_root = meta.add_tree(Tree::Details)?;
    superblock.meta_map.ref_count_root = meta.add_tree(Tree::Overflow)?;
    superblock.data_map.ref_count_root = meta.add_tree(Tree::Overflow)?;
    superblock.data_map.bitmap_root = meta.add_tree(Tree::Index)?;
    Pool { transaction: 0, ..Pool::new(superblock, meta, BTreeMap::new()) }.freeze()
}

impl<R: MetaRead> Pool<R> {
    /// Opens what `reader` has. The devices' sizes are checked by [`Pool::check_sizes`]; whether the pool may be
    /// written by [`Superblock::check_writable`].
    pub fn open(reader: R) -> Result<Self, ThinError> {
        let page = reader.read(0).map_err(|source| ThinError::Read { block: 0, source })?;
        let superblock = Superblock::decode(&page, 0)?;
        let nr_meta = superblock.meta_map.nr_blocks;
        if nr_meta > META_BLOCKS_MAX {
            let want = format!("at most {META_BLOCKS_MAX}");
            return Err(ThinError::Superblock { field: "metadata map blocks", found: nr_meta, want });
        }
        let nr_data = superblock.data_map.nr_blocks;
        if nr_data > DATA_BLOCKS_MAX {
            let want = format!("at most {DATA_BLOCKS_MAX}");
            return Err(ThinError::Superblock { field: "data map blocks", found: nr_data, want });
        }
        let mut meta = Meta::new(reader, SpaceMap::empty("metadata", 0), SpaceMap::empty("data", 0));
        meta.blocks = load_metadata_map(&mut meta, &superblock.meta_map)?;
        meta.data = load_data_map(&mut meta, &superblock.data_map)?;
        let devices = load_devices(&mut meta, &superblock)?;
        Ok(Pool::new(superblock, meta, devices))
    }

    fn new(superblock: Superblock, meta: Meta<R>, mut devices: BTreeMap<ThinId, Device>) -> Self {
        let owner = Owner::of(&superblock.uuid);
        let mut doomed = BTreeSet::new();
        if owner == Owner::Ours {
            for (id, device) in devices.range_mut(ThinId(FIRST_DOOMED)..) {
                device.doomed = true;
                doomed.insert(*id);
            }
        }
        Pool {
            session: owner::session_generation(&superblock.uuid),
            superblock,
            meta,
            owner,
            devices,
            doomed,
            new_held: None,
            transaction: 1,
            changed: false,
            in_flight: None,
            broken: false,
        }
    }

    /// Whether the devices are as large as the pool believes (section 4).
    pub fn check_sizes(&self, metadata_blocks: u64, data_blocks: u64) -> Result<(), ThinError> {
        let (meta, data) = (self.meta.blocks.nr_blocks(), self.meta.data.nr_blocks());
        if metadata_blocks < meta {
            return Err(ThinError::TooSmall {
                device: "metadata device",
                found: metadata_blocks,
                want: meta,
            });
        }
        if data_blocks < data {
            return Err(ThinError::TooSmall { device: "data device", found: data_blocks, want: data });
        }
        Ok(())
    }
}

fn load_metadata_map<R: MetaRead>(meta: &mut Meta<R>, root: &SpaceMapRoot) -> Result<SpaceMap, ThinError> {
    let index = meta.read_page(root.bitmap_root, PageKind::Index)?;
    let count = bitmaps_for(root.nr_blocks) as usize;
    debug_assert!(count <= META_BITMAPS);
    let places = (0..count).map(|i| IndexEntry::unpack(&index[16 + 16 * i..32 + 16 * i]).block);
    let bitmaps = places.map(|at| load_bitmap(meta, at)).collect::<Result<_, _>>()?;
    let many = load_overflow(meta, root.ref_count_root)?;
    SpaceMap::load("metadata", root.nr_blocks, bitmaps, many)
}

fn load_data_map<R: MetaRead>(meta: &mut Meta<R>, root: &SpaceMapRoot) -> Result<SpaceMap, ThinError> {
    let mut places = Vec::new();
    let wanted = bitmaps_for(root.nr_blocks);
    meta.walk(root.bitmap_root, Tree::Index, (0, u64::MAX), &mut |key, value| {
        if key != places.len() as u64 || key >= wanted {
            let what = format!("index entry {key} where {} was expected", places.len());
            return Err(ThinError::SpaceMap { map: "data", block: 0, what });
        }
        places.push(IndexEntry::unpack(value).block);
        Ok(())
    })?;
    if (places.len() as u64) < wanted {
        let what = format!("{} index entries, expected {wanted}", places.len());
        return Err(ThinError::SpaceMap { map: "data", block: 0, what });
    }
    let bitmaps = places.into_iter().map(|at| load_bitmap(meta, at)).collect::<Result<_, _>>()?;
    let many = load_overflow(meta, root.ref_count_root)?;
    SpaceMap::load("data", root.nr_blocks, bitmaps, many)
}

fn load_bitmap<R: MetaRead>(meta: &mut Meta<R>, at: u64) -> Result<Placed, ThinError> {
    let page = meta.read_page(at, PageKind::Bitmap)?;
    Ok(Placed { bitmap: Bitmap::decode(&page, at)?, at: Some(at) })
}

fn load_overflow<R: MetaRead>(meta: &mut Meta<R>, root: u64) -> Result<HashMap<u64, u32>, ThinError> {
    let mut many = HashMap::new();
    meta.walk(root, Tree::Overflow, (0, u64::MAX), &mut |block, value| {
        many.insert(block, get_u32(value, 0));
        Ok(())
    })?;
    Ok(many)
}

fn load_devices<R: MetaRead>(
    meta: &mut Meta<R>,
    superblock: &Superblock,
) -> Result<BTreeMap<ThinId, Device>, ThinError> {
    let damaged = |what: String| ThinError::Node { block: superblock.mapping_root, what };
    let mut roots = BTreeMap::new();
    meta.walk(superblock.mapping_root, Tree::Top, (0, u64::MAX), &mut |key, value| {
        let id = u32::try_from(key).ok().filter(|id| *id <= ThinId::MAX.0);
        let id = id.ok_or_else(|| damaged(format!("device id {key} has more than 24 bits")))?;
        roots.insert(ThinId(id), crate::page::get_u64(value, 0));
        Ok(())
    })?;
    let mut devices = BTreeMap::new();
    meta.walk(superblock.details_root, Tree::Details, (0, u64::MAX), &mut |key, value| {
        let id = ThinId(u32::try_from(key).unwrap_or(u32::MAX));
        let root =
            roots.remove(&id).ok_or_else(|| damaged(format!("device {key} has details but no tree")))?;
        let details = Details::unpack(value);
        devices.insert(id, Device::new(details, root));
        Ok(())
    })?;
    match roots.keys().next() {
        Some(id) => Err(damaged(format!("device {id} has a tree but no details"))),
        None => Ok(devices),
    }
}
