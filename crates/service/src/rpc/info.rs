//! What there is: the service itself, writers, providers, volumes.

use crate::{node::Node, resolve, writers};
use std::sync::Arc;
use umbra_api::v1;
use umbra_base::Result;

/// The service.
pub async fn get_info(node: Arc<Node>, _: v1::GetInfoRequest) -> Result<v1::Info> {
    Ok(v1::Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host_name: node.config.host_name.clone(),
        initiator: node.config.initiator.clone(),
        array_address: node.config.array.to_string(),
        pid: std::process::id(),
        runtime_directory: node.config.runtime.display().to_string(),
        creating_set_id: node.gate.current().map(|set| set.to_string()).unwrap_or_default(),
    })
}

/// Its writers, each asked how it does.
pub async fn list_writers(node: Arc<Node>, _: v1::ListWritersRequest) -> Result<v1::ListWritersReply> {
    Ok(v1::ListWritersReply { writers: writers::describe(&node).await? })
}

/// Its providers.
pub async fn list_providers(node: Arc<Node>, _: v1::ListProvidersRequest) -> Result<v1::ListProvidersReply> {
    let mut providers = Vec::new();
    for provider in node.providers() {
        providers.push(provider.describe().await);
    }
    Ok(v1::ListProvidersReply { providers })
}

/// The volumes of this host.
pub async fn list_volumes(node: Arc<Node>, _: v1::ListVolumesRequest) -> Result<v1::ListVolumesReply> {
    Ok(v1::ListVolumesReply { volumes: resolve::list(&node).await? })
}
