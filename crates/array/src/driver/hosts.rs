//! Requests about hosts, carried out.

use super::Array;
use crate::{
    model::Host,
    rules::{Outcome, host},
};
use std::sync::Arc;
use umbra_base::{HostId, Result};

impl Array {
    /// Adds a host and makes its secret.
    pub fn add_host(&self, id: HostId, name: String, initiator: String) -> Result<(Outcome, Arc<Host>)> {
        let created = self.clock().unix();
        let (outcome, id) = self.change(|turn| {
            let (decision, id) = host::add(&turn.cat, Host { id, name, initiator, created, revision: 0 })?;
            if decision.outcome == Outcome::Created {
                self.parts.secrets.make(id)?;
            }
            Ok((decision, id))
        })?;
        Ok((outcome, self.host(&id.to_string())?))
    }

    /// Deletes a host and its secret; its sessions end.
    pub fn delete_host(&self, key: &str, if_revision: u64) -> Result<(Outcome, Arc<Host>)> {
        let (outcome, host) = self.change(|turn| {
            let host = host::find(&turn.cat, key)?;
            Ok((host::delete(&turn.cat, host, if_revision)?, Arc::new(host.clone())))
        })?;
        self.parts.secrets.remove(host.id);
        Ok((outcome, host))
    }

    /// The host that `key` names.
    pub fn host(&self, key: &str) -> Result<Arc<Host>> {
        host::find(&self.catalogue(), key).map(|host| Arc::new(host.clone()))
    }

    /// What the array proves itself with to it (mutual CHAP), if it has something.
    pub fn array_secret(&self, host: &Host) -> Result<Option<String>> {
        self.parts.secrets.mutual(host.id)
    }

    /// Its CHAP secret.
    pub fn host_secret(&self, host: &Host) -> Result<String> {
        self.parts.secrets.get(host.id)
    }
}
