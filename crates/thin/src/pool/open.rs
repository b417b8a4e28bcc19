//! Making a pool, and opening one: block 0, both space maps, the devices (dm-thin format sections 9.1 and 11.1).
//!
//! What always holds: the hints of the disk (free counts, first free entries, allocated blocks) are computed anew from
//! the bitmaps, never believed (section 7.3); mapping trees are read when they are asked for.

use super::{
    Commit, Device, Owner, Pool,
    load::{self, Damage},
    owner::{self, FIRST_DOOMED},
};
use crate::{
    Superblock, ThinError, ThinId,
    limits::{
        DATA_BLOCK_SECTORS_MAX, DATA_BLOCK_SECTORS_MIN, DATA_BLOCKS_MAX, META_BLOCKS_MAX, META_BLOCKS_MIN,
    },
    meta::{Meta, MetaRead},
    page::Page,
    space::SpaceMap,
    superblock::SpaceMapRoot,
    values::{Tree, bitmaps_for},
};
use std::collections::{BTreeMap, BTreeSet};

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
    let mut meta = Meta::new(
        Nothing,
        nr_meta,
        SpaceMap::empty("metadata", nr_meta),
        SpaceMap::empty("data", format.data_blocks),
    );
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
        let (superblock, mut meta) = start(reader)?;
        meta.blocks = load::metadata_map(&mut meta, &superblock.meta_map)?;
        meta.data = load::data_map(&mut meta, &superblock.data_map)?;
        let devices = load::devices(&mut meta, &superblock, &mut Damage::Refused)?;
        Ok(Pool::new(superblock, meta, devices))
    }

    /// Opens a pool of which more than block 0 may be damaged (A6): for reading only, whatever was found. It has every
    /// device whose path can be read; a device without details is told to map nothing and to be shared throughout.
    /// Returns what is damaged as far as opening met it, [`crate::limits::DAMAGE_MAX`] errors at most; mappings say so
    /// when they are read.
    pub fn open_damaged(reader: R) -> Result<(Self, Vec<ThinError>), ThinError> {
        let (superblock, mut meta) = start(reader)?;
        let mut damage = Damage::Noted(Vec::new());
        let map = &superblock.meta_map;
        meta.blocks = match load::metadata_map(&mut meta, map) {
            Err(error) => damage.note(error).map(|()| unknown("metadata", map))?,
            Ok(map) => map,
        };
        let map = &superblock.data_map;
        meta.data = match load::data_map(&mut meta, map) {
            Err(error) => damage.note(error).map(|()| unknown("data", map))?,
            Ok(map) => map,
        };
        let devices = load::devices(&mut meta, &superblock, &mut damage)?;
        Ok((Pool { read_only: true, ..Pool::new(superblock, meta, devices) }, damage.into_errors()))
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
            commit_near: false,
            in_flight: None,
            broken: false,
            read_only: false,
            replaying: false,
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

/// Block 0, checked as far as it goes alone, and nothing read yet below it.
fn start<R: MetaRead>(reader: R) -> Result<(Superblock, Meta<R>), ThinError> {
    let page = reader.read(0).map_err(|source| ThinError::Read { block: 0, source })?;
    let superblock = Superblock::decode(&page, 0)?;
    let at_most = |field, found, max: u64| match found <= max {
        true => Ok(()),
        false => Err(ThinError::Superblock { field, found, want: format!("at most {max}") }),
    };
    let nr_meta = superblock.meta_map.nr_blocks;
    at_most("metadata map blocks", nr_meta, META_BLOCKS_MAX)?;
    at_most("data map blocks", superblock.data_map.nr_blocks, DATA_BLOCKS_MAX)?;
    let meta = Meta::new(reader, nr_meta, SpaceMap::empty("metadata", 0), SpaceMap::empty("data", 0));
    Ok((superblock, meta))
}

fn unknown(name: &'static str, root: &SpaceMapRoot) -> SpaceMap {
    SpaceMap::unknown(name, root.nr_blocks, root.nr_allocated)
}
