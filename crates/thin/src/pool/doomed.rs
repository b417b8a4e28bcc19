//! Deleting a device in bounded steps (dm-thin format section 16.6).
//!
//! Picture: [`Pool::begin_delete`] moves the device to a reserved id, which gives its own id free at once; then
//! [`Pool::delete_step`] takes leaves from the right end of its tree until nothing is left. Every state between is
//! valid metadata with exact mapped counts, so a crash loses nothing but time: the reserved id says what is to be
//! deleted. In a foreign pool no id is reserved: there the device keeps its id and is only hidden; after a crash it is
//! an ordinary device again, with the mappings that are left.

use super::{
    Device, Need, Owner, Pool,
    need::{COST_TO_FREE, COUNTS_OF_LEAF},
    owner::FIRST_DOOMED,
};
use crate::{
    ThinError, ThinId,
    meta::MetaRead,
    tree::{Care, Place},
    values::Tree,
};

/// What a step of a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteStep {
    /// Mappings that are gone. Data blocks that nobody else maps are free after the next commit.
    pub freed_mappings: u64,
    /// Whether there is more to delete.
    pub left: bool,
}

impl<R: MetaRead> Pool<R> {
    /// Takes a device away: after this call it does not exist for anyone. What it alone maps is freed by
    /// [`Pool::delete_step`]. Takes the same short time whatever the device's size.
    pub fn begin_delete(&mut self, id: ThinId) -> Result<(), ThinError> {
        self.device(id)?;
        self.check_changeable()?;
        self.need(Need::ToFree(COST_TO_FREE))?;
        let doomed = match self.owner {
            Owner::Ours => self.free_doomed_id()?,
            Owner::Foreign => id,
        };
        self.change(|pool| {
            let device = match doomed == id {
                true => pool.devices.remove(&id).ok_or(ThinError::Unknown(id))?,
                false => pool.move_device(id, doomed)?,
            };
            pool.devices.insert(doomed, Device { doomed: true, ..device });
            pool.doomed.insert(doomed);
            Ok(())
        })
    }

    /// Whether [`Pool::delete_step`] has something to do; also after opening a pool in which a deletion had begun.
    pub fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    /// Goes on with what [`Pool::begin_delete`] began, by about `budget` leaves (one at least). Commits between steps
    /// give the space back as it goes. An error leaves everything valid; damage makes the next step go on with the
    /// next device.
    pub fn delete_step(&mut self, budget: u64) -> Result<DeleteStep, ThinError> {
        self.check_changeable()?;
        let (mut freed, mut budget) = (0, budget.max(1));
        while let Some(id) = self.doomed.first().copied().filter(|_| budget > 0) {
            match self.drop_piece(id, budget) {
                Ok((mappings, leaves)) => {
                    freed += mappings;
                    budget = budget.saturating_sub(leaves);
                }
                Err(error) if error.is_full() && freed > 0 => break,
                Err(error) => {
                    if matches!(error, ThinError::Damaged { .. }) {
                        self.doomed.remove(&id);
                    }
                    return Err(if self.owner == Owner::Ours { error.of_a_deleted_device() } else { error });
                }
            }
        }
        Ok(DeleteStep { freed_mappings: freed, left: self.has_doomed() })
    }

    fn free_doomed_id(&self) -> Result<ThinId, ThinError> {
        let mut ids = (FIRST_DOOMED..=ThinId::MAX.0).map(ThinId);
        let in_use = self.devices.len() as u64;
        ids.find(|id| !self.devices.contains_key(id)).ok_or(ThinError::Argument {
            what: "the number of devices",
            found: in_use,
            allowed: "fewer than 2^20 that are being deleted".to_owned(),
        })
    }

    /// Hangs a device's tree under another id. No count changes.
    fn move_device(&mut self, from: ThinId, to: ThinId) -> Result<Device, ThinError> {
        let root = self.device(from)?.root;
        self.forget_keys(from)?;
        self.set_root(to, root)?;
        let mut device = self.devices.remove(&from).ok_or(ThinError::Unknown(from))?;
        device.details_changed = true;
        Ok(device)
    }

    /// Drops up to `most` leaves from a doomed device's right end; returns how many mappings and leaves they were.
    fn drop_piece(&mut self, id: ThinId, most: u64) -> Result<(u64, u64), ThinError> {
        self.need(Need::ToFree(COST_TO_FREE))?;
        let root = self.change(|pool| pool.own_root(id))?;
        if self.meta.blocks.count(root)? > 1 {
            return Ok((self.change(|pool| pool.remove_device(id))?, 1));
        }
        let most = self.affordable(COUNTS_OF_LEAF, most)?;
        let named = |error: ThinError| error.of_device(id);
        let (from, leaves) = self.last_leaves(root, most).map_err(named)?;
        let entries = self.check_mappings(id, &(from..u64::MAX))?;
        self.check_count(id, entries, from == 0)?;
        self.change(|pool| {
            let removed = pool.change_tree(id, |meta, root| meta.remove_mappings(root, (from, u64::MAX)))?;
            pool.lower_mapped(id, removed)?;
            if from == 0 { pool.remove_device(id).map(drop) } else { Ok(()) }
        })?;
        Ok((entries, leaves))
    }

    /// The first key of the last leaves of a tree, at most `most` of them, and how many they are. 0: all of the tree.
    fn last_leaves(&mut self, root: u64, most: u64) -> Result<(u64, u64), ThinError> {
        let mut place = Place::root(root);
        let mut node = self.meta.visit(&place, Tree::Mapping, Care::Write)?;
        loop {
            if node.is_leaf() {
                return Ok((0, 1));
            }
            let last = place.child(&node, node.len() - 1);
            let child = self.meta.visit(&last, Tree::Mapping, Care::Write)?;
            if !child.is_leaf() {
                (place, node) = (last, child);
                continue;
            }
            let leaves = (node.len() as u64).min(most);
            let first = node.len() - leaves as usize;
            return Ok((if first == 0 { place.low() } else { node.key(first) }, leaves));
        }
    }
}
