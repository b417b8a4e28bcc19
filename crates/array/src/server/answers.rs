//! The answers of [`Service`]: records of the catalogue and the pool in the wire's shapes, and pages of them.

use super::{page, record, service::Service, wish};
use crate::{
    model::{Host, Lun, SetState, SnapshotSet},
    rules::{Outcome, host as host_rules},
};
use std::{sync::Arc, time::Duration};
use umbra_api::v1;
use umbra_base::Result;
use umbra_store::{ThinId, Usage};

impl Service {
    pub(super) fn lun(&self, lun: &Lun) -> v1::Lun {
        let blocks = self.array.store().mapped_blocks(ThinId(lun.thin.0)).unwrap_or(0);
        let mapped = blocks * self.array.store().usage().block_bytes;
        record::lun(&self.array.catalogue(), &self.identity.addresses, lun, mapped)
    }

    pub(super) fn lun_reply(&self, (outcome, lun): (Outcome, Arc<Lun>)) -> (Outcome, v1::LunReply) {
        (outcome, v1::LunReply { outcome: record::outcome(outcome), lun: Some(self.lun(&lun)) })
    }

    pub(super) fn host_reply(&self, (outcome, host): (Outcome, Arc<Host>)) -> (Outcome, v1::HostReply) {
        let host = record::host(&self.array.catalogue(), &host);
        (outcome, v1::HostReply { outcome: record::outcome(outcome), host: Some(host) })
    }

    pub(super) fn set(&self, set: &SnapshotSet) -> v1::SetRecord {
        let (left, cut) = match set.state {
            SetState::Pending => (self.array.lease_left(set.id), self.array.cut_of(set.id)),
            _ => (Duration::ZERO, None),
        };
        record::set(&self.array.catalogue(), set, left, cut)
    }

    pub(super) fn set_reply(&self, (outcome, set): (Outcome, Arc<SnapshotSet>)) -> (Outcome, v1::SetReply) {
        (outcome, v1::SetReply { outcome: record::outcome(outcome), set: Some(self.set(&set)) })
    }

    pub(super) fn status(&self) -> v1::ArrayStatus {
        let cat = self.array.catalogue();
        let addresses = &self.identity.addresses;
        v1::ArrayStatus {
            array_id: cat.array.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: cat.revision,
            pid: std::process::id(),
            directory: self.identity.directory.display().to_string(),
            iqn: addresses.iqn.clone(),
            iscsi_socket: addresses.iscsi_socket.display().to_string(),
            portals: addresses.portals.clone(),
            now_unix_ns: self.array.clock().unix(),
            pool: Some(self.pool(&self.array.store().usage())),
            sessions: self.array.front().sessions().into_iter().map(record::session).collect(),
        }
    }

    pub(super) fn pool(&self, usage: &Usage) -> v1::PoolStatus {
        let store = self.array.store();
        record::pool(usage, self.array.thresholds(), store.trouble(), store.damage())
    }

    pub(super) fn list_luns(&self, wish: v1::ListLunsRequest) -> Result<v1::ListLunsReply> {
        let cat = self.array.catalogue();
        let host = match wish.host_key.as_str() {
            "" => None,
            key => Some(host_rules::find(&cat, key)?.id),
        };
        let seen = |lun: &Lun| host.is_none_or(|host| cat.masks.contains_key(&(host, lun.id)));
        let luns =
            cat.luns.values().filter(|lun| seen(lun)).map(|lun| (page::place(lun.created, lun.id.0), lun));
        let (luns, next_token) = page::page(luns, wish.page);
        Ok(v1::ListLunsReply {
            luns: luns.into_iter().map(|lun| self.lun(lun)).collect(),
            next_token,
            revision: cat.revision,
        })
    }

    pub(super) fn list_differences(
        &self,
        wish: v1::ListDifferencesRequest,
    ) -> Result<v1::ListDifferencesReply> {
        let (from, most) = wish::place(wish.page)?;
        let old = Some(wish.old_copy_key.as_str()).filter(|key| !key.is_empty());
        let page = self.array.differences(&wish.copy_key, old, from, most)?;
        Ok(record::differences(&page, self.array.store().usage().block_bytes))
    }

    pub(super) fn list_hosts(&self, wish: v1::ListHostsRequest) -> v1::ListHostsReply {
        let cat = self.array.catalogue();
        let hosts = cat.hosts.values().map(|host| (page::place(host.created, host.id.0), host));
        let (hosts, next_token) = page::page(hosts, wish.page);
        v1::ListHostsReply {
            hosts: hosts.into_iter().map(|host| record::host(&cat, host)).collect(),
            next_token,
        }
    }

    pub(super) fn list_sets(&self, wish: v1::ListSetsRequest) -> Result<v1::ListSetsReply> {
        let cat = self.array.catalogue();
        let host = match wish.host_key.as_str() {
            "" => None,
            key => Some(host_rules::find(&cat, key)?.id),
        };
        let of_host = |set: &SnapshotSet| {
            host.is_none_or(|host| set.creator == host || set.state.importer() == Some(host))
        };
        let is_wanted = |set: &SnapshotSet| matches!(set.state, SetState::Broken { .. }) == wish.broken;
        let sets = cat.sets.values().filter(|set| of_host(set) && is_wanted(set));
        let (sets, next_token) =
            page::page(sets.map(|set| (page::place(set.begun, set.id.0), set)), wish.page);
        Ok(v1::ListSetsReply { sets: sets.into_iter().map(|set| self.set(set)).collect(), next_token })
    }
}
