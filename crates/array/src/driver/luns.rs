//! Requests about LUNs, carried out.

use super::{Array, present::thin_id};
use crate::{
    model::{Access, Catalogue, Host, Lun, Reserve},
    rules::{
        Decision, Outcome, check, host,
        lun::{self, NewLun},
    },
};
use std::sync::Arc;
use umbra_base::{LunId, Result};

impl Array {
    /// Makes a LUN: its thin device first, its record second.
    pub fn create_lun(&self, new: NewLun) -> Result<(Outcome, Arc<Lun>)> {
        let id = new.id;
        let (outcome, ()) = self.change(|turn| {
            if let Some(already) = lun::check_new(&turn.cat, &new)? {
                return Ok((already, ()));
            }
            let thin = turn.take_thins(1)?[0];
            self.store().create(thin_id(thin))?;
            self.promise(thin, &new)?;
            Ok((lun::create(&turn.cat, new, thin, self.clock().unix())?, ()))
        })?;
        Ok((outcome, self.lun(&id.to_string())?))
    }

    /// Deletes a LUN. The answer shows it as it was.
    pub fn delete_lun(&self, key: &str, if_revision: u64) -> Result<(Outcome, Arc<Lun>)> {
        self.change(|turn| {
            let lun = lun::find(&turn.cat, key)?;
            Ok((lun::delete(&turn.cat, lun, if_revision, self.clock().unix())?, Arc::new(lun.clone())))
        })
    }

    /// Makes a LUN larger, and with it what is kept for one that reserves all that it can need.
    pub fn extend_lun(&self, key: &str, size_bytes: u64, if_revision: u64) -> Result<(Outcome, Arc<Lun>)> {
        self.change_lun(key, |cat, lun| {
            let decision = lun::extend(cat, lun, size_bytes, if_revision)?;
            if decision.outcome == Outcome::Changed && lun.reserve == Reserve::All {
                self.allow(&Lun { size_bytes: check::size(size_bytes)?, ..lun.clone() })?;
            }
            Ok(decision)
        })
    }

    /// Gives a LUN another name.
    pub fn rename_lun(&self, key: &str, name: &str, if_revision: u64) -> Result<(Outcome, Arc<Lun>)> {
        self.change_lun(key, |cat, lun| lun::rename(cat, lun, name, if_revision))
    }

    /// Lets hosts write, or not; a fence (A1).
    pub fn set_lun_access(&self, key: &str, access: Access, if_revision: u64) -> Result<(Outcome, Arc<Lun>)> {
        self.change_lun(key, |_, lun| lun::set_access(lun, access, if_revision))
    }

    /// Shows a LUN to a host.
    pub fn unmask_lun(&self, key: &str, host_key: &str, if_revision: u64) -> Result<(Outcome, Arc<Lun>)> {
        let forgotten = |host: &Host, number| self.front().has_forgotten(&host.initiator, number);
        self.change_lun(key, |cat, lun| {
            lun::unmask(cat, lun, host::find(cat, host_key)?, if_revision, &forgotten)
        })
    }

    /// Hides a LUN from a host, or with an empty key from all; a fence (A1).
    pub fn mask_lun(&self, key: &str, host_key: &str, if_revision: u64) -> Result<(Outcome, Arc<Lun>)> {
        self.change_lun(key, |cat, lun| {
            let host = if host_key.is_empty() { None } else { Some(host::find(cat, host_key)?) };
            lun::mask(cat, lun, host, if_revision)
        })
    }

    /// The LUN that `key` names.
    pub fn lun(&self, key: &str) -> Result<Arc<Lun>> {
        lun::find(&self.catalogue(), key).map(|lun| Arc::new(lun.clone()))
    }

    fn change_lun(
        &self,
        key: &str,
        decide: impl FnOnce(&Catalogue, &Lun) -> Result<Decision>,
    ) -> Result<(Outcome, Arc<Lun>)> {
        let (outcome, id): (Outcome, LunId) = self.change(|turn| {
            let lun = lun::find(&turn.cat, key)?;
            Ok((decide(&turn.cat, lun)?, lun.id))
        })?;
        Ok((outcome, self.lun(&id.to_string())?))
    }
}
