//! Creating, snapshotting, deleting devices; growing the pool (dm-thin format sections 9.2, 9.3, 9.6, 9.7).

use super::{Device, Need, Owner, Pool, need::COST_OF_KEY, owner::FIRST_DOOMED};
use crate::{
    Details, Snapshot, ThinError, ThinId,
    error::{Lost, TreeName},
    limits::{DATA_BLOCKS_MAX, META_BLOCKS_MAX, PAIRS_MAX, TIME_MAX},
    meta::{Meta, MetaRead},
    tree::Place,
    values::{Tree, bitmaps_for},
};
use std::collections::BTreeSet;

impl<R: MetaRead> Pool<R> {
    /// Every device, in ascending order.
    pub fn device_ids(&self) -> impl Iterator<Item = ThinId> + '_ {
        self.devices.iter().filter(|(_, device)| !device.doomed).map(|(id, _)| *id)
    }

    /// What the pool knows of a device, the open transaction included.
    pub fn details(&self, id: ThinId) -> Result<Details, ThinError> {
        self.device(id).map(|device| device.details)
    }

    /// The last transaction in which anything of the device changed; 0 if it did not since the pool was opened.
    pub fn changed_in(&self, id: ThinId) -> Result<u64, ThinError> {
        self.device(id).map(|device| device.changed_in)
    }

    /// Makes an empty device.
    pub fn create(&mut self, id: ThinId) -> Result<(), ThinError> {
        self.check_new(id)?;
        self.need(Need::ToGrow(COST_OF_KEY))?;
        self.change(|pool| {
            // From time 1 on a mapping can be marked as shared at no cost ([`Pool::share`]).
            if pool.owner == Owner::Ours {
                pool.superblock.time = pool.superblock.time.max(1);
            }
            let time = pool.superblock.time;
            let root = pool.meta.add_tree(Tree::Mapping)?;
            let details = Details {
                mapped_blocks: 0,
                transaction_id: pool.superblock.trans_id,
                creation_time: time,
                snapshotted_time: time,
            };
            pool.add_device(id, root, details)
        })
    }

    /// Cuts all pairs at one instant: one step of time, one transaction (A3). Either all or none.
    pub fn snapshot(&mut self, pairs: &[Snapshot]) -> Result<(), ThinError> {
        self.check_pairs(pairs)?;
        if self.superblock.time >= TIME_MAX {
            return Err(ThinError::TimeExhausted(TIME_MAX));
        }
        self.need(Need::ToGrow(COST_OF_KEY * (1 + pairs.len() as u64)))?;
        self.change(|pool| {
            pool.superblock.time += 1;
            pairs.iter().try_for_each(|pair| pool.snapshot_one(*pair))
        })
    }

    fn snapshot_one(&mut self, Snapshot { origin, copy }: Snapshot) -> Result<(), ThinError> {
        let time = self.superblock.time;
        let root = self.own_root(origin)?;
        self.meta.blocks.increment(root)?;
        let transaction = self.transaction;
        let trans_id = self.superblock.trans_id;
        let device = self.device_mut(origin)?;
        device.details.snapshotted_time = time;
        device.details_changed = true;
        device.changed_in = transaction;
        let details = Details {
            transaction_id: trans_id,
            creation_time: time,
            snapshotted_time: time,
            ..device.details
        };
        self.add_device(copy, root, details)
    }

    fn check_pairs(&self, pairs: &[Snapshot]) -> Result<(), ThinError> {
        if pairs.is_empty() || pairs.len() > PAIRS_MAX {
            let allowed = format!("1 to {PAIRS_MAX}");
            return Err(ThinError::Argument {
                what: "the number of pairs",
                found: pairs.len() as u64,
                allowed,
            });
        }
        let mut made = BTreeSet::new();
        for Snapshot { origin, copy } in pairs {
            if !made.contains(origin) {
                self.device(*origin)?;
            }
            self.check_new(*copy)?;
            if !made.insert(*copy) {
                return Err(ThinError::Exists(*copy));
            }
        }
        Ok(())
    }

    fn check_new(&self, id: ThinId) -> Result<(), ThinError> {
        let max = match self.owner {
            Owner::Ours => ThinId(FIRST_DOOMED - 1),
            Owner::Foreign => ThinId::MAX,
        };
        if id > max {
            let allowed = format!("0 to {max}");
            return Err(ThinError::Argument { what: "the device id", found: id.0.into(), allowed });
        }
        if self.devices.contains_key(&id) { Err(ThinError::Exists(id)) } else { Ok(()) }
    }

    fn add_device(&mut self, id: ThinId, root: u64, details: Details) -> Result<(), ThinError> {
        self.set_root(id, root)?;
        let device =
            Device { changed_in: self.transaction, details_changed: true, ..Device::new(details, root) };
        self.devices.insert(id, device);
        Ok(())
    }

    /// Removes a device and whatever it alone maps, at once: takes as long as it has leaves of its own (for large
    /// ones: [`Pool::begin_delete`]). Returns the number of its mappings.
    pub fn delete(&mut self, id: ThinId) -> Result<u64, ThinError> {
        let mapped = self.device(id)?.details.mapped_blocks;
        self.affordable(mapped, 1)?;
        self.change(|pool| pool.remove_device(id))
    }

    /// Takes a device out of both trees and deletes its mappings; returns how many it had.
    pub(super) fn remove_device(&mut self, id: ThinId) -> Result<u64, ThinError> {
        let Device { root, details, .. } = *self.any_device(id)?;
        // The top path first: making it private can raise the count of the root.
        self.forget_keys(id)?;
        self.devices.remove(&id);
        self.doomed.remove(&id);
        if self.meta.blocks.count(root)? > 1 {
            self.meta.release(root)?;
            return Ok(details.mapped_blocks);
        }
        match self.meta.delete_tree(Place::root(root), Tree::Mapping).map_err(|e| e.of_device(id))? {
            removed if removed == details.mapped_blocks => Ok(removed),
            removed => Err(wrong_count(id, root, details.mapped_blocks, removed)),
        }
    }

    /// Removes a device's keys; what they led to stays.
    pub(super) fn forget_keys(&mut self, id: ThinId) -> Result<(), ThinError> {
        let key = u64::from(id.0);
        self.superblock.mapping_root = self.meta.remove(self.superblock.mapping_root, Tree::Top, key)?;
        let details = self.superblock.details_root;
        if self.meta.find(details, Tree::Details, key, |_| ())?.is_some() {
            self.superblock.details_root = self.meta.remove(details, Tree::Details, key)?;
        }
        Ok(())
    }

    /// Whether a device may lose `entries` mappings, which are all that it has if `all`. Asked before anything is changed,
    /// as a change that ends half way closes the pool.
    pub(super) fn check_count(&self, id: ThinId, entries: u64, all: bool) -> Result<(), ThinError> {
        let Device { root, details, .. } = self.any_device(id)?;
        let mapped = details.mapped_blocks;
        if if all { entries == mapped } else { entries <= mapped } {
            return Ok(());
        }
        let source = Box::new(wrong_count(id, *root, mapped, entries));
        let key = u64::from(id.0);
        let lost = Lost { tree: TreeName::Details, device: Some(id), keys: key..key + 1, block: *root };
        Err(ThinError::Damaged { lost, source })
    }

    /// Keeps a device's number of mappings exact after some were removed.
    pub(super) fn lower_mapped(&mut self, id: ThinId, removed: u64) -> Result<(), ThinError> {
        let device = self.any_device_mut(id)?;
        let (root, mapped) = (device.root, device.details.mapped_blocks);
        device.details.mapped_blocks =
            mapped.checked_sub(removed).ok_or_else(|| wrong_count(id, root, mapped, removed))?;
        Ok(())
    }

    /// Grows the data device to `blocks`. The new ones can be handed out once a commit has them durably; that commit
    /// tells them as freed, so that a driver gives them back to the backing, as zeroes, first.
    pub fn extend_data(&mut self, blocks: u64) -> Result<(), ThinError> {
        self.can_extend_data(blocks, 0)?;
        self.change(|pool| {
            pool.meta.data.extend_later(blocks);
            Ok(())
        })
    }

    /// What [`Pool::extend_data`] would say, once the metadata device has `metadata` blocks. Changes nothing.
    pub fn can_extend_data(&self, blocks: u64, metadata: u64) -> Result<(), ThinError> {
        let now = self.meta.data.nr_blocks();
        check_growth("the number of data blocks", now, blocks, DATA_BLOCKS_MAX)?;
        let more = metadata.min(META_BLOCKS_MAX).saturating_sub(self.meta.blocks.nr_blocks());
        self.need_with(Need::ToFree(2 * bitmaps_for(blocks - now) + COST_OF_KEY), more)
    }

    /// Grows the metadata device to `blocks`; what is above the format's limit stays unused. Until a commit has them
    /// durably, only commits use the new ones.
    pub fn extend_metadata(&mut self, blocks: u64) -> Result<(), ThinError> {
        let blocks = blocks.min(META_BLOCKS_MAX);
        check_growth("the number of metadata blocks", self.meta.blocks.nr_blocks(), blocks, META_BLOCKS_MAX)?;
        self.change(|pool| {
            pool.meta.extend(blocks);
            Ok(())
        })
    }

    pub(super) fn set_root(&mut self, id: ThinId, root: u64) -> Result<(), ThinError> {
        let (top, key) = (self.superblock.mapping_root, u64::from(id.0));
        self.superblock.mapping_root = self.meta.insert(top, Tree::Top, key, &root.to_le_bytes())?;
        Ok(())
    }

    /// The device's root, with the path in the top-level tree made private first: only then does the root's count say
    /// whether it is shared (section 8.2).
    pub(super) fn own_root(&mut self, id: ThinId) -> Result<u64, ThinError> {
        let root = self.any_device(id)?.root;
        if !self.meta.is_private(root)? {
            self.set_root(id, root)?;
        }
        Ok(root)
    }

    /// Changes a device's mapping tree.
    pub(super) fn change_tree<T>(
        &mut self,
        id: ThinId,
        change: impl FnOnce(&mut Meta<R>, u64) -> Result<(u64, T), ThinError>,
    ) -> Result<T, ThinError> {
        let root = self.own_root(id)?;
        let (new, result) = change(&mut self.meta, root)?;
        if new != root {
            self.set_root(id, new)?;
        }
        let transaction = self.transaction;
        let device = self.any_device_mut(id)?;
        device.root = new;
        device.details_changed = true;
        device.changed_in = transaction;
        Ok(result)
    }
}

fn wrong_count(id: ThinId, block: u64, mapped: u64, found: u64) -> ThinError {
    let what = format!("device {id} is said to have {mapped} mappings, {found} were found");
    ThinError::Node { block, what }
}

fn check_growth(what: &'static str, now: u64, blocks: u64, max: u64) -> Result<(), ThinError> {
    match (now..=max).contains(&blocks) {
        true => Ok(()),
        false => Err(ThinError::Argument { what, found: blocks, allowed: format!("{now} to {max}") }),
    }
}
