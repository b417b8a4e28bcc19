//! The provider of the array: VSS's phases as calls of `umbra.v1.Array`.
//!
//! It keeps the connection and the lease of each set in the making, nothing else. The lease is renewed beside the
//! creation from begin to durability, so that neither a slow writer nor a long sync loses the set, and the death of this
//! process does (S6).

use super::{Import, Kind, Life, Provider, SetSpec};
use crate::array::{Array, call, limited, set_of};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use umbra_api::{ArrayClient, v1};
use umbra_base::{
    Error, ErrorCode, Result, SetId,
    limits::{HOLD_MAX, SET_LEASE},
};
use umbra_vss::CutTime;

/// Copies by the array.
#[derive(Debug)]
pub struct ArrayProvider {
    array: Arc<Array>,
    host: String,
    making: Mutex<HashMap<SetId, Making>>,
}

/// A set in the making.
#[derive(Debug)]
struct Making {
    client: ArrayClient,
    lease: tokio::task::JoinHandle<()>,
}

impl Drop for Making {
    fn drop(&mut self) {
        self.lease.abort();
    }
}

impl ArrayProvider {
    /// The provider of `array` for the host of that name.
    pub fn new(array: Arc<Array>, host: &str) -> ArrayProvider {
        ArrayProvider { array, host: host.to_owned(), making: Mutex::new(HashMap::new()) }
    }

    fn client(&self, set: SetId) -> Result<ArrayClient> {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let making = making.get(&set);
        making
            .map(|making| making.client.clone())
            .ok_or_else(|| Error::new(ErrorCode::BadState, format!("set {set} is not in the making here")))
    }

    fn keep(&self, set: SetId, client: ArrayClient) {
        let lease = tokio::spawn(renew(client.clone(), set));
        self.making.lock().unwrap_or_else(PoisonError::into_inner).insert(set, Making { client, lease });
    }

    fn forget(&self, set: SetId) {
        self.making.lock().unwrap_or_else(PoisonError::into_inner).remove(&set);
    }
}

/// Renews the lease of a set for as long as the task lives. A renewal that fails is not told: the cut will be.
async fn renew(mut client: ArrayClient, set: SetId) {
    let lease_ms = lease_ms();
    loop {
        tokio::time::sleep(SET_LEASE / 3).await;
        let request = v1::RenewLeaseRequest { set_key: set.to_string(), lease_ms };
        let _ = client.renew_lease(limited(request, SET_LEASE)).await;
    }
}

fn lease_ms() -> u64 {
    u64::try_from(SET_LEASE.as_millis()).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl Provider for ArrayProvider {
    fn name(&self) -> &'static str {
        "array"
    }

    fn kind(&self) -> Kind {
        Kind::Hardware
    }

    async fn describe(&self) -> v1::Provider {
        let (version, state, detail) = match self.array.status().await {
            Ok(status) => {
                let mode = status.pool.map(|pool| pool.mode).unwrap_or_default();
                let detail = format!("array {} at {}, pool {mode}", status.array_id, self.array.address());
                (status.version, "ready", detail)
            }
            Err(error) => (String::new(), "unreachable", error.chain()),
        };
        v1::Provider {
            name: self.name().to_owned(),
            kind: self.kind().as_str().to_owned(),
            version,
            state: state.to_owned(),
            detail,
        }
    }

    async fn begin_prepare(&self, spec: &SetSpec) -> Result<()> {
        let mut client = self.array.client().await?;
        let request = v1::BeginSetRequest {
            set_id: spec.set.to_string(),
            host: self.host.clone(),
            origin_lun_keys: spec.luns.clone(),
            copies: spec.copies.clone(),
            labels: spec.labels.clone().into_iter().collect(),
            expires_at_unix_ns: spec.expires_at_unix_ns,
            transportable: spec.import == Import::Later,
            volatile: spec.life == Life::Volatile,
            lease_ms: lease_ms(),
            extra_volumes: spec.extra_volumes.clone(),
        };
        call("begin a set in the array", client.begin_set(request)).await?;
        self.keep(spec.set, client);
        Ok(())
    }

    async fn end_prepare(&self, set: SetId) -> Result<()> {
        // The array reserves nothing that takes time: a set that began is prepared.
        self.client(set).map(drop)
    }

    async fn pre_commit(&self, set: SetId) -> Result<()> {
        // A call over the very connection of the cut: it is open and answers, or the set fails before anything stands.
        let mut client = self.client(set)?;
        let request = v1::RenewLeaseRequest { set_key: set.to_string(), lease_ms: lease_ms() };
        call("renew the lease of a set", client.renew_lease(request)).await.map(drop)
    }

    async fn commit(&self, set: SetId) -> Result<CutTime> {
        let mut client = self.client(set)?;
        let hold_limit_ms = u64::try_from(HOLD_MAX.as_millis()).unwrap_or(u64::MAX);
        let request = v1::CutSetRequest { set_key: set.to_string(), hold_limit_ms };
        let reply = call("cut a set", client.cut_set(limited(request, HOLD_MAX))).await?;
        Ok(CutTime { unix_nanos: reply.cut_unix_ns })
    }

    async fn post_commit(&self, set: SetId) -> Result<()> {
        let mut client = self.client(set)?;
        let request = v1::CommitSetRequest { set_key: set.to_string() };
        call("wait until a set is durable", client.commit_set(request)).await.map(drop)
    }

    async fn finish(&self, set: SetId, import: Import) -> Result<v1::SetRecord> {
        let record = match import {
            Import::Implicit => self.array.import_set(&set.to_string(), &self.host).await?,
            Import::Later => self.array.set(&set.to_string()).await?,
        };
        self.forget(set);
        Ok(record)
    }

    async fn abort(&self, set: SetId) -> Result<()> {
        self.forget(set);
        match self.discard(set).await {
            // A commit that was given up may have come first: the set is another thing now, and goes all the same.
            Err(error) if error.code() == ErrorCode::BadState => self.discard(set).await,
            result => result,
        }
    }
}

impl ArrayProvider {
    /// Whatever there is of a set goes, by the call that its state asks for.
    async fn discard(&self, set: SetId) -> Result<()> {
        let mut client = self.array.client().await?;
        let key = v1::SetKey { key: set.to_string(), if_revision: 0 };
        let record = match call("look up a set", client.get_set(key.clone())).await {
            Ok(record) => record,
            Err(error) if error.code() == ErrorCode::ObjectNotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let gone = match record.state() {
            v1::SetState::Pending => call("abort a set", client.abort_set(key)).await,
            _ => call("delete a set", client.delete_set(key)).await,
        };
        match gone {
            Ok(reply) => drop(set_of(reply)),
            Err(error) if error.code() == ErrorCode::ObjectNotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
