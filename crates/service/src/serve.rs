//! The life of a service: folders, recovery, socket, calls, stop.

use crate::{
    config::{Config, Options},
    listen,
    node::Node,
    recovery,
    rpc::Api,
};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{DirBuilder, File},
    future::Future,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{oneshot, watch};
use umbra_api::v1::service_server::ServiceServer;
use umbra_base::{Error, ErrorCode, Result};

/// How long calls that run may take after the word to stop; a creation is cancelled and needs its unwinding.
const FAREWELL: Duration = Duration::from_secs(30);
/// How long the first attempt to find the array may keep the socket from being there.
const FIRST_TRY: Duration = Duration::from_secs(5);
/// Pause between two attempts to find the array at the start.
const ARRAY_AGAIN: Duration = Duration::from_secs(2);

/// Serves until `stop` is done. Attachments, mounts and sets that are not volatile stay as they are.
pub async fn serve(options: Options, stop: impl Future<Output = ()>) -> Result<()> {
    let config = Config::load(&options)?;
    make_folder(&config.runtime)?;
    make_folder(&config.state)?;
    let _alone = alone(&config.runtime)?;
    let at_start = config.clone();
    crate::node::blocking(move || recovery::on_host(&at_start)).await?;
    let (stopped, stopping) = watch::channel(false);
    let node = Arc::new(Node::new(config, stopping.clone())?);
    let (tried, first_try) = oneshot::channel();
    let settling = tokio::spawn(settle(node.clone(), tried));
    // Where the array answers at once, a service that answers is known to it.
    let _ = tokio::time::timeout(FIRST_TRY, first_try).await;
    let (peers, _socket) = listen::bind(&node.config.socket).await?.into_parts();
    tracing::info!(socket = %node.config.socket.display(), array = %node.config.array, "serving");
    let server = tonic::transport::Server::builder()
        .add_service(ServiceServer::new(Api(node.clone())))
        .serve_with_incoming_shutdown(peers, wait(stopping));
    let mut server = std::pin::pin!(server);
    let ended = tokio::select! {
        ended = &mut server => ended,
        () = stop => {
            tracing::info!("stopping");
            stopped.send_replace(true);
            // Streams of volatile sets end by themselves; a client that holds another one open is not waited for.
            tokio::time::timeout(FAREWELL, server).await.unwrap_or(Ok(()))
        }
    };
    settling.abort();
    node.quiesce(FAREWELL).await;
    ended.map_err(|source| Error::new(ErrorCode::Io, "serve the management socket").because(source))
}

async fn wait(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Cleans up in the array as soon as it answers; until then every call says that it does not.
async fn settle(node: Arc<Node>, tried: oneshot::Sender<()>) {
    let mut tried = Some(tried);
    while let Err(error) = node.settle().await {
        if let Some(tried) = tried.take() {
            tracing::warn!(code = %error.code(), error = error.chain(), "the array does not answer yet");
            // Nobody waits any more if it took too long.
            let _ = tried.send(());
        }
        tokio::time::sleep(ARRAY_AGAIN).await;
    }
}

fn make_folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::io(format!("make {}", path.display()), source))
}

/// One service for each runtime folder.
fn alone(runtime: &Path) -> Result<File> {
    let path = runtime.join("service.lock");
    let what = |source: std::io::Error| Error::io(format!("lock {}", path.display()), source);
    let file =
        File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(what)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let text = format!("another service runs with the runtime folder {}", runtime.display());
            Err(Error::new(ErrorCode::ObjectAlreadyExists, text).hint("give this one folders of its own"))
        }
        Err(error) => Err(what(error.into())),
    }
}
