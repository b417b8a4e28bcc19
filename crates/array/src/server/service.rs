//! The requests of `umbra.v1.Array`: each is one call of the driver, on a thread that may wait, and an answer in the
//! wire's shapes. Who asked is checked first; what must be audited is audited when its end is known.

use super::{Requests, peer::PeerInfo, record, record::Addresses, refusal, wish};
use crate::{
    audit::{Audit, Principal},
    driver::Array,
    rules::Outcome,
};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tonic::{Request, Response, Status};
use umbra_api::{v1, v1::array_server};
use umbra_base::{Error, ErrorCode, Result};

/// What the array says of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its folder.
    pub directory: PathBuf,
    /// Where its target is reached.
    pub addresses: Addresses,
    /// Whom it answers besides root.
    pub uid: u32,
}

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    pub(super) array: Arc<Array>,
    audit: Arc<Audit>,
    pub(super) identity: Arc<Identity>,
    requests: Requests,
}

/// An answer, or the error as a status.
type Reply<T> = Result<Response<T>, Status>;

impl Service {
    /// Answers for `array`.
    pub fn new(array: Arc<Array>, audit: Arc<Audit>, identity: Identity, requests: Requests) -> Self {
        Service { array, audit, identity: Arc::new(identity), requests }
    }

    /// Who asked; only root and our own user may (X1).
    fn principal<T>(&self, request: &Request<T>) -> Result<Principal> {
        let principal = request.extensions().get::<PeerInfo>().and_then(|info| info.0);
        match principal {
            Some(principal) if principal.uid == 0 || principal.uid == self.identity.uid => Ok(principal),
            peer => {
                let who = peer.map_or("an unknown user".to_owned(), |peer| format!("user {}", peer.uid));
                tracing::warn!(uid = peer.map(|peer| peer.uid), "management request refused");
                Err(Error::new(ErrorCode::AccessDenied, format!("{who} may not manage this array"))
                    .hint(format!("ask as root or as user {}", self.identity.uid)))
            }
        }
    }

    /// Runs `work` where it may wait. It goes on when the requester leaves: its end can be asked for (P2).
    async fn run<Q: Send + 'static, A: Send + 'static>(
        &self,
        request: Request<Q>,
        work: impl FnOnce(&Service, Q) -> Result<A> + Send + 'static,
    ) -> Reply<A> {
        let principal = self.principal(&request);
        self.run_as(principal, request.into_inner(), |service, _, wish| work(service, wish)).await
    }

    /// The same, with a line in the audit log.
    async fn audited<Q: Send + 'static, A: Send + 'static>(
        &self,
        action: &'static str,
        subject: Value,
        request: Request<Q>,
        work: impl FnOnce(&Service, Q) -> Result<(Outcome, A)> + Send + 'static,
    ) -> Reply<A> {
        let principal = self.principal(&request);
        self.run_as(principal, request.into_inner(), move |service, principal, wish| {
            let done = work(service, wish);
            let result = done.as_ref().map(|(outcome, _)| outcome_word(*outcome));
            service.audit.record(principal, action, &subject, result);
            done.map(|(_, answer)| answer)
        })
        .await
    }

    async fn run_as<Q: Send + 'static, A: Send + 'static>(
        &self,
        principal: Result<Principal>,
        wish: Q,
        work: impl FnOnce(&Service, Principal, Q) -> Result<A> + Send + 'static,
    ) -> Reply<A> {
        let principal = principal.map_err(|error| refusal::status(&error))?;
        let service = self.clone();
        let under_way = self.requests.0.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let answer = work(&service, principal, wish);
            drop(under_way);
            answer
        });
        let done = done.await;
        let answer = done.unwrap_or_else(|source| {
            Err(Error::new(ErrorCode::Internal, "a request ended by a fault of the array").because(source))
        });
        answer.map(Response::new).map_err(|error| refusal::status(&error))
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Unchanged => "unchanged",
        Outcome::Deleted => "deleted",
    }
}

fn millis(length: u64) -> Duration {
    Duration::from_millis(length)
}

#[tonic::async_trait]
impl array_server::Array for Service {
    async fn get_status(&self, request: Request<v1::GetArrayStatusRequest>) -> Reply<v1::ArrayStatus> {
        self.run(request, |service, _| Ok(service.status())).await
    }

    async fn create_lun(&self, request: Request<v1::CreateLunRequest>) -> Reply<v1::LunReply> {
        let work = |s: &Service, wish| Ok(s.lun_reply(s.array.create_lun(wish::new_lun(wish)?)?).1);
        self.run(request, work).await
    }

    async fn get_lun(&self, request: Request<v1::GetLunRequest>) -> Reply<v1::Lun> {
        self.run(request, |s, wish| Ok(s.lun(&*s.array.lun(&wish.key)?))).await
    }

    async fn list_luns(&self, request: Request<v1::ListLunsRequest>) -> Reply<v1::ListLunsReply> {
        self.run(request, |s, wish| s.list_luns(wish)).await
    }

    async fn delete_lun(&self, request: Request<v1::DeleteLunRequest>) -> Reply<v1::LunReply> {
        let subject = json!({ "lun": request.get_ref().key });
        let work = |s: &Service, wish: v1::DeleteLunRequest| {
            Ok(s.lun_reply(s.array.delete_lun(&wish.key, wish.if_revision)?))
        };
        self.audited("delete_lun", subject, request, work).await
    }

    async fn extend_lun(&self, request: Request<v1::ExtendLunRequest>) -> Reply<v1::LunReply> {
        let work = |s: &Service, wish: v1::ExtendLunRequest| {
            Ok(s.lun_reply(s.array.extend_lun(&wish.key, wish.size_bytes, wish.if_revision)?).1)
        };
        self.run(request, work).await
    }

    async fn rename_lun(&self, request: Request<v1::RenameLunRequest>) -> Reply<v1::LunReply> {
        let work = |s: &Service, wish: v1::RenameLunRequest| {
            Ok(s.lun_reply(s.array.rename_lun(&wish.key, &wish.name, wish.if_revision)?).1)
        };
        self.run(request, work).await
    }

    async fn set_lun_access(&self, request: Request<v1::SetLunAccessRequest>) -> Reply<v1::LunReply> {
        let subject = json!({ "lun": request.get_ref().key, "read_only": request.get_ref().read_only });
        let work = |s: &Service, wish: v1::SetLunAccessRequest| {
            let access = wish::access(wish.read_only);
            Ok(s.lun_reply(s.array.set_lun_access(&wish.key, access, wish.if_revision)?))
        };
        self.audited("set_lun_access", subject, request, work).await
    }

    async fn unmask_lun(&self, request: Request<v1::UnmaskLunRequest>) -> Reply<v1::LunReply> {
        let subject = json!({ "lun": request.get_ref().key, "host": request.get_ref().host_key });
        let work = |s: &Service, wish: v1::UnmaskLunRequest| {
            Ok(s.lun_reply(s.array.unmask_lun(&wish.key, &wish.host_key, wish.if_revision)?))
        };
        self.audited("unmask_lun", subject, request, work).await
    }

    async fn mask_lun(&self, request: Request<v1::MaskLunRequest>) -> Reply<v1::LunReply> {
        let subject = json!({ "lun": request.get_ref().key, "host": request.get_ref().host_key });
        let work = |s: &Service, wish: v1::MaskLunRequest| {
            Ok(s.lun_reply(s.array.mask_lun(&wish.key, &wish.host_key, wish.if_revision)?))
        };
        self.audited("mask_lun", subject, request, work).await
    }

    async fn add_host(&self, request: Request<v1::AddHostRequest>) -> Reply<v1::HostReply> {
        let subject = json!({ "host": request.get_ref().name, "initiator": request.get_ref().initiator });
        let work = |s: &Service, wish: v1::AddHostRequest| {
            Ok(s.host_reply(s.array.add_host(wish::host_id(&wish.id)?, wish.name, wish.initiator)?))
        };
        self.audited("add_host", subject, request, work).await
    }

    async fn get_host(&self, request: Request<v1::GetHostRequest>) -> Reply<v1::Host> {
        let work = |s: &Service, wish: v1::GetHostRequest| {
            Ok(record::host(&s.array.catalogue(), &*s.array.host(&wish.key)?))
        };
        self.run(request, work).await
    }

    async fn list_hosts(&self, request: Request<v1::ListHostsRequest>) -> Reply<v1::ListHostsReply> {
        self.run(request, |s, wish| Ok(s.list_hosts(wish))).await
    }

    async fn delete_host(&self, request: Request<v1::DeleteHostRequest>) -> Reply<v1::HostReply> {
        let subject = json!({ "host": request.get_ref().key });
        let work = |s: &Service, wish: v1::DeleteHostRequest| {
            Ok(s.host_reply(s.array.delete_host(&wish.key, wish.if_revision)?))
        };
        self.audited("delete_host", subject, request, work).await
    }

    async fn get_host_secret(&self, request: Request<v1::GetHostRequest>) -> Reply<v1::HostSecret> {
        let subject = json!({ "host": request.get_ref().key });
        let work = |s: &Service, wish: v1::GetHostRequest| {
            let host = s.array.host(&wish.key)?;
            let secret = s.array.host_secret(&host)?;
            let array_secret = s.array.array_secret(&host)?.unwrap_or_default();
            let array_user =
                if array_secret.is_empty() { String::new() } else { s.identity.addresses.iqn.clone() };
            let user = host.initiator.clone();
            Ok((Outcome::Unchanged, v1::HostSecret { user, secret, array_user, array_secret }))
        };
        self.audited("get_host_secret", subject, request, work).await
    }

    async fn extend_pool(&self, request: Request<v1::ExtendPoolRequest>) -> Reply<v1::PoolReply> {
        let wish = request.get_ref();
        let subject = json!({ "data_bytes": wish.data_bytes, "metadata_bytes": wish.metadata_bytes });
        let work = |s: &Service, wish: v1::ExtendPoolRequest| {
            let (outcome, usage) = s.array.extend_pool(wish::extend(wish))?;
            let reply = v1::PoolReply { outcome: record::outcome(outcome), pool: Some(s.pool(&usage)) };
            Ok((outcome, reply))
        };
        self.audited("extend_pool", subject, request, work).await
    }

    async fn begin_set(&self, request: Request<v1::BeginSetRequest>) -> Reply<v1::SetReply> {
        let work = |s: &Service, wish: v1::BeginSetRequest| {
            let (creator, lease) = (wish.host.clone(), millis(wish.lease_ms));
            Ok(s.set_reply(s.array.begin_set(&creator, wish::new_set(wish)?, lease)?).1)
        };
        self.run(request, work).await
    }

    async fn renew_lease(&self, request: Request<v1::RenewLeaseRequest>) -> Reply<v1::SetReply> {
        let work = |s: &Service, wish: v1::RenewLeaseRequest| {
            Ok(s.set_reply(s.array.renew_lease(&wish.set_key, millis(wish.lease_ms))?).1)
        };
        self.run(request, work).await
    }

    async fn cut_set(&self, request: Request<v1::CutSetRequest>) -> Reply<v1::CutSetReply> {
        let work = |s: &Service, wish: v1::CutSetRequest| {
            let (done, set) = s.array.cut_set(&wish.set_key, millis(wish.hold_limit_ms))?;
            let held_us = u64::try_from(done.held.as_micros()).unwrap_or(u64::MAX);
            Ok(v1::CutSetReply { cut_unix_ns: done.at, held_us, set: Some(s.set(&set)) })
        };
        self.run(request, work).await
    }

    async fn commit_set(&self, request: Request<v1::CommitSetRequest>) -> Reply<v1::SetReply> {
        self.run(request, |s, wish| Ok(s.set_reply(s.array.commit_set(&wish.set_key)?).1)).await
    }

    async fn abort_set(&self, request: Request<v1::SetKey>) -> Reply<v1::SetReply> {
        let work = |s: &Service, wish: v1::SetKey| {
            let (outcome, set) = s.array.abort_set(&wish.key, wish.if_revision)?;
            Ok(v1::SetReply { outcome: record::outcome(outcome), set: set.map(|set| s.set(&set)) })
        };
        self.run(request, work).await
    }

    async fn import_set(&self, request: Request<v1::ImportSetRequest>) -> Reply<v1::SetReply> {
        let wish = request.get_ref();
        let subject = json!({ "set": wish.set_key, "host": wish.host, "steal": wish.steal });
        let work = |s: &Service, wish: v1::ImportSetRequest| {
            let takeover = wish::takeover(wish.steal);
            Ok(s.set_reply(s.array.import_set(&wish.set_key, &wish.host, takeover)?))
        };
        self.audited("import_set", subject, request, work).await
    }

    async fn unimport_set(&self, request: Request<v1::SetKey>) -> Reply<v1::SetReply> {
        let subject = json!({ "set": request.get_ref().key });
        let work = |s: &Service, wish: v1::SetKey| {
            Ok(s.set_reply(s.array.unimport_set(&wish.key, wish.if_revision)?))
        };
        self.audited("unimport_set", subject, request, work).await
    }

    async fn begin_break(&self, request: Request<v1::BeginBreakRequest>) -> Reply<v1::SetReply> {
        let subject = json!({ "set": request.get_ref().set_key, "read_write": request.get_ref().read_write });
        let work = |s: &Service, wish: v1::BeginBreakRequest| {
            let access = wish::access(!wish.read_write);
            Ok(s.set_reply(s.array.begin_break(&wish.set_key, &wish.host, access)?))
        };
        self.audited("begin_break", subject, request, work).await
    }

    async fn cancel_break(&self, request: Request<v1::SetKey>) -> Reply<v1::SetReply> {
        let subject = json!({ "set": request.get_ref().key });
        let work = |s: &Service, wish: v1::SetKey| {
            Ok(s.set_reply(s.array.cancel_break(&wish.key, wish.if_revision)?))
        };
        self.audited("cancel_break", subject, request, work).await
    }

    async fn commit_break(&self, request: Request<v1::CommitBreakRequest>) -> Reply<v1::SetReply> {
        let subject = json!({ "set": request.get_ref().set_key, "read_write": request.get_ref().read_write });
        let work = |s: &Service, wish: v1::CommitBreakRequest| {
            let access = wish::access(!wish.read_write);
            let identities = wish::identities(wish.luns)?;
            Ok(s.set_reply(s.array.commit_break(&wish.set_key, access, identities)?))
        };
        self.audited("commit_break", subject, request, work).await
    }

    async fn delete_set(&self, request: Request<v1::SetKey>) -> Reply<v1::SetReply> {
        let subject = json!({ "set": request.get_ref().key });
        let work =
            |s: &Service, wish: v1::SetKey| Ok(s.set_reply(s.array.delete_set(&wish.key, wish.if_revision)?));
        self.audited("delete_set", subject, request, work).await
    }

    async fn delete_copy(&self, request: Request<v1::DeleteCopyRequest>) -> Reply<v1::SetReply> {
        let subject = json!({ "copy": request.get_ref().copy_id });
        let work =
            |s: &Service, wish: v1::DeleteCopyRequest| Ok(s.set_reply(s.array.delete_copy(&wish.copy_id)?));
        self.audited("delete_copy", subject, request, work).await
    }

    async fn update_set(&self, request: Request<v1::UpdateSetRequest>) -> Reply<v1::SetReply> {
        let work = |s: &Service, wish: v1::UpdateSetRequest| {
            let key = wish.set_key.clone();
            Ok(s.set_reply(s.array.update_set(&key, wish::learned(wish)?)?).1)
        };
        self.run(request, work).await
    }

    async fn get_set(&self, request: Request<v1::SetKey>) -> Reply<v1::SetRecord> {
        self.run(request, |s, wish| Ok(s.set(&*s.array.set(&wish.key)?))).await
    }

    async fn list_differences(
        &self,
        request: Request<v1::ListDifferencesRequest>,
    ) -> Reply<v1::ListDifferencesReply> {
        self.run(request, |s, wish| s.list_differences(wish)).await
    }

    async fn list_sets(&self, request: Request<v1::ListSetsRequest>) -> Reply<v1::ListSetsReply> {
        self.run(request, |s, wish| s.list_sets(wish)).await
    }
}
