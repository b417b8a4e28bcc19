//! The gRPC face of the service: each call is logged once with who made it, done in a task of its own (so that a client
//! that goes away does not leave half a break), and its error told with code and sentence.

mod create;
mod info;
mod luns;
mod sets;

use crate::node::Node;
use std::{fmt, future::Future, sync::Arc, time::Instant};
use tonic::{Request, Response, Status, transport::server::UdsConnectInfo};
use tracing::Instrument;
use umbra_api::{convert, v1};
use umbra_base::{Error, ErrorCode, Result};

/// The service's calls.
#[derive(Debug, Clone)]
pub struct Api(pub Arc<Node>);

/// Who calls (X2).
#[derive(Debug, Clone, Copy)]
pub struct Principal {
    uid: u32,
    pid: i32,
}

impl Principal {
    fn of<T>(request: &Request<T>) -> Option<Principal> {
        let peer = request.extensions().get::<UdsConnectInfo>()?.peer_cred?;
        Some(Principal { uid: peer.uid(), pid: peer.pid().unwrap_or(0) })
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {} pid {}", self.uid, self.pid)
    }
}

/// Whether a call changes anything: those that do not are logged where somebody looks closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reads,
    Changes,
}

impl Api {
    async fn answer<Q, A, F>(
        &self,
        kind: Kind,
        rpc: &'static str,
        request: Request<Q>,
        work: impl FnOnce(Arc<Node>, Q) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A>> + Send + 'static,
        A: Send + 'static,
    {
        let principal = Principal::of(&request);
        let started = Instant::now();
        // Whatever is logged on the way says for whom (X2).
        let who = principal.map(|principal| principal.to_string()).unwrap_or_default();
        let span = tracing::info_span!("call", rpc, who);
        let done = tokio::spawn(work(self.0.clone(), request.into_inner()).instrument(span.clone())).await;
        let _inside = span.enter();
        let result = done.unwrap_or_else(|panic| Err(Error::new(ErrorCode::Internal, rpc).because(panic)));
        log(kind, started, result.as_ref().err());
        result.map(Response::new).map_err(|error| convert::status(&error))
    }
}

fn log(kind: Kind, started: Instant, error: Option<&Error>) {
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match (error, kind) {
        (Some(error), _) => tracing::warn!(ms, code = %error.code(), error = error.chain(), "refused"),
        (None, Kind::Changes) => tracing::info!(ms, "done"),
        (None, Kind::Reads) => tracing::debug!(ms, "done"),
    }
}

#[tonic::async_trait]
impl v1::service_server::Service for Api {
    async fn get_info(&self, request: Request<v1::GetInfoRequest>) -> Result<Response<v1::Info>, Status> {
        self.answer(Kind::Reads, "get_info", request, info::get_info).await
    }

    async fn list_writers(
        &self,
        request: Request<v1::ListWritersRequest>,
    ) -> Result<Response<v1::ListWritersReply>, Status> {
        self.answer(Kind::Reads, "list_writers", request, info::list_writers).await
    }

    async fn list_providers(
        &self,
        request: Request<v1::ListProvidersRequest>,
    ) -> Result<Response<v1::ListProvidersReply>, Status> {
        self.answer(Kind::Reads, "list_providers", request, info::list_providers).await
    }

    async fn list_volumes(
        &self,
        request: Request<v1::ListVolumesRequest>,
    ) -> Result<Response<v1::ListVolumesReply>, Status> {
        self.answer(Kind::Reads, "list_volumes", request, info::list_volumes).await
    }

    type CreateStream = create::Events;

    async fn create(&self, request: Request<v1::CreateRequest>) -> Result<Response<create::Events>, Status> {
        self.answer(Kind::Changes, "create", request, create::create).await
    }

    async fn list_sets(
        &self,
        request: Request<v1::ListServiceSetsRequest>,
    ) -> Result<Response<v1::ListServiceSetsReply>, Status> {
        self.answer(Kind::Reads, "list_sets", request, sets::list).await
    }

    async fn get_set(&self, request: Request<v1::SetKey>) -> Result<Response<v1::ServiceSet>, Status> {
        self.answer(Kind::Reads, "get_set", request, sets::get).await
    }

    async fn expose(&self, request: Request<v1::ExposeRequest>) -> Result<Response<v1::ExposeReply>, Status> {
        self.answer(Kind::Changes, "expose", request, sets::expose).await
    }

    async fn unexpose(
        &self,
        request: Request<v1::UnexposeRequest>,
    ) -> Result<Response<v1::ExposeReply>, Status> {
        self.answer(Kind::Changes, "unexpose", request, sets::unexpose).await
    }

    async fn r#break(&self, request: Request<v1::BreakRequest>) -> Result<Response<v1::BreakReply>, Status> {
        self.answer(Kind::Changes, "break", request, sets::break_set).await
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteReply>, Status> {
        self.answer(Kind::Changes, "delete", request, sets::delete).await
    }

    async fn attach_lun(
        &self,
        request: Request<v1::AttachLunRequest>,
    ) -> Result<Response<v1::AttachReply>, Status> {
        self.answer(Kind::Changes, "attach_lun", request, luns::attach).await
    }

    async fn detach_lun(
        &self,
        request: Request<v1::DetachLunRequest>,
    ) -> Result<Response<v1::AttachReply>, Status> {
        self.answer(Kind::Changes, "detach_lun", request, luns::detach).await
    }

    async fn list_attachments(
        &self,
        request: Request<v1::ListAttachmentsRequest>,
    ) -> Result<Response<v1::ListAttachmentsReply>, Status> {
        self.answer(Kind::Reads, "list_attachments", request, luns::list).await
    }

    async fn mount_lun(
        &self,
        request: Request<v1::MountLunRequest>,
    ) -> Result<Response<v1::MountReply>, Status> {
        self.answer(Kind::Changes, "mount_lun", request, luns::mount).await
    }

    async fn unmount(
        &self,
        request: Request<v1::UnmountRequest>,
    ) -> Result<Response<v1::MountReply>, Status> {
        self.answer(Kind::Changes, "unmount", request, luns::unmount).await
    }
}
