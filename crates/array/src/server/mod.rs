//! The management server: `umbra.v1.Array` on a unix socket.
//!
//! [`peer`] accepts and bounds connections, [`service`] takes requests and [`answers`] them, [`record`] makes wire shapes
//! of records and [`wish`] checked wishes of requests. What always holds: only root and the array's own user are
//! answered (X1); a peer that breaks the protocol loses its connection and disturbs nobody.

mod answers;
mod page;
mod peer;
mod record;
mod refusal;
mod service;
mod wish;

pub use record::Addresses;
pub use service::Identity;

use crate::{audit::Audit, driver::Array, limits};
use peer::Peers;
use service::Service;
use std::{future::Future, sync::Arc};
use tokio::{net::UnixListener, sync::Semaphore};
use tonic::transport::Server;
use umbra_api::v1::array_server::ArrayServer;
use umbra_base::{Error, Result};

/// The requests under way: each holds one permit.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Semaphore>);

impl Requests {
    const ALL: u32 = limits::STREAMS * limits::CONNECTIONS as u32;

    /// None.
    pub fn new() -> Self {
        Requests(Arc::new(Semaphore::new(Self::ALL as usize)))
    }

    /// Waits until none is under way; later ones wait for good.
    pub async fn drain(&self) {
        if let Ok(all) = self.0.acquire_many(Self::ALL).await {
            all.forget();
        }
    }
}

/// Answers requests on `listener` until `stop` is done.
pub async fn serve(
    listener: UnixListener,
    array: Arc<Array>,
    audit: Arc<Audit>,
    identity: Identity,
    requests: Requests,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let service = ArrayServer::new(Service::new(array, audit, identity, requests))
        .max_decoding_message_size(limits::REQUEST_BYTES);
    Server::builder()
        .max_concurrent_streams(limits::STREAMS)
        .concurrency_limit_per_connection(limits::STREAMS as usize)
        .http2_max_header_list_size(limits::HEADER_BYTES)
        .http2_keepalive_interval(Some(limits::KEEPALIVE))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE))
        .add_service(service)
        .serve_with_incoming_shutdown(Peers::new(listener), stop)
        .await
        .map_err(|source| Error::io("serve the management socket", source))
}
