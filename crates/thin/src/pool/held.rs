//! The metadata snapshot: all trees as one commit left them, for readers of a pool in use (dm-thin format section 9.8).
//!
//! It freezes mappings, not data: blocks that a device has alone are still written in place. While it stands, data
//! blocks that it names stay in use.

use super::{Need, Owner, Pool, changes::Source, need::COST_OF_KEY, read::check_range};
use crate::{
    BlockTime, Details, ThinError, ThinId,
    meta::MetaRead,
    page::{PageKind, get_u64},
    superblock::{INCOMPAT_LOG, SpaceMapRoot, Superblock},
    tree::Place,
    values::Tree,
};
use std::ops::Range;

impl<R: MetaRead> Pool<R> {
    /// Makes the metadata snapshot, of the state that the last commit left; there is one at most. The open transaction
    /// must hold no change ([`ThinError::NotCommitted`]: commit, and ask again). The snapshot stands on the disk with
    /// the next commit, and can be read from when that is durable.
    pub fn reserve_metadata_snapshot(&mut self) -> Result<(), ThinError> {
        self.check_changeable()?;
        if self.superblock.held_root != 0 {
            return Err(ThinError::HeldExists);
        }
        if self.changed {
            return Err(ThinError::NotCommitted);
        }
        self.need(Need::ToGrow(COST_OF_KEY))?;
        self.change(|pool| {
            let mut copy = Superblock {
                data_map: SpaceMapRoot::default(),
                meta_map: SpaceMapRoot::default(),
                incompat: pool.superblock.incompat & !INCOMPAT_LOG,
                log_boot: [0; 16],
                ..pool.superblock.clone()
            };
            if pool.owner == Owner::Foreign {
                copy.uuid = [0; 16];
            }
            let block = pool.meta.allocate()?;
            pool.meta.blocks.increment(copy.mapping_root)?;
            pool.meta.blocks.increment(copy.details_root)?;
            pool.superblock.held_root = block;
            pool.new_held = Some((block, copy.encode_at(block)));
            Ok(())
        })
    }

    /// Gives the metadata snapshot up; what it alone held is free after the next commit. No commit may be in flight.
    /// Takes as long as it has nodes of its own.
    pub fn release_metadata_snapshot(&mut self) -> Result<(), ThinError> {
        self.check_changeable()?;
        if self.in_flight.is_some() {
            return Err(ThinError::CommitInFlight);
        }
        let held = self.held()?;
        let mapped = self.held_devices()?.iter().map(|(_, details)| details.mapped_blocks).sum();
        self.affordable(mapped, 1)?;
        self.change(|pool| {
            let block = std::mem::take(&mut pool.superblock.held_root);
            pool.meta.release(block)?;
            pool.meta.drop_tree(Place::root(held.mapping_root), Tree::Top)?;
            pool.meta.drop_tree(Place::root(held.details_root), Tree::Details)
        })
    }

    /// The superblock that the metadata snapshot keeps, if there is one and its commit is durable.
    pub fn metadata_snapshot(&mut self) -> Result<Option<Superblock>, ThinError> {
        match self.superblock.held_root {
            0 => Ok(None),
            _ => self.held().map(Some),
        }
    }

    /// The devices of the metadata snapshot, in ascending order of their ids.
    pub fn held_devices(&mut self) -> Result<Vec<(ThinId, Details)>, ThinError> {
        let root = self.held()?.details_root;
        let mut devices = Vec::new();
        self.meta.walk(root, Tree::Details, (0, u64::MAX), &mut |key, value| {
            let id = ThinId(u32::try_from(key).unwrap_or(u32::MAX));
            devices.push((id, Details::unpack(value)));
            Ok(())
        })?;
        Ok(devices)
    }

    /// The mappings of a range of a device of the metadata snapshot, in order.
    pub fn held_mappings(
        &mut self,
        id: ThinId,
        range: Range<u64>,
    ) -> Result<Vec<(u64, BlockTime)>, ThinError> {
        check_range(&range)?;
        let root = self.root_of(Source::Held(id))?;
        let mut found = Vec::new();
        let walked = self.meta.walk(root, Tree::Mapping, (range.start, range.end), &mut |vblock, value| {
            found.push((vblock, BlockTime::unpack(get_u64(value, 0))));
            Ok(())
        });
        walked.map_err(|error| error.of_device(id))?;
        Ok(found)
    }

    /// The kept superblock, from the disk.
    pub(super) fn held(&self) -> Result<Superblock, ThinError> {
        match (self.superblock.held_root, &self.new_held) {
            (0, _) => Err(ThinError::NotHeld),
            (_, Some(_)) => Err(ThinError::NotCommitted),
            (block, None) => {
                let page = self.meta.read_page(block, PageKind::Superblock)?;
                Superblock::decode(&page, block)
            }
        }
    }
}
