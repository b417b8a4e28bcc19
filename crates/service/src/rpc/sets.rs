//! Sets: list, show, expose, unexpose, break, delete.

use crate::{array::Sets, breaking, delete as deletion, exposure, lookup, node::Node, view};
use std::sync::Arc;
use umbra_api::v1;
use umbra_base::{ErrorCode, Result};

/// Sets that the array knows; one of them if a key is given.
pub async fn list(node: Arc<Node>, request: v1::ListServiceSetsRequest) -> Result<v1::ListServiceSetsReply> {
    if !request.set_key.is_empty() {
        let record = node.array.set(&request.set_key).await?;
        let sets = view::service_sets(&node, vec![record]).await?;
        return Ok(v1::ListServiceSetsReply { sets, next_token: String::new() });
    }
    let which = if request.broken { Sets::Broken } else { Sets::Live };
    let reply = node.array.sets_page(which, request.page).await?;
    let sets = view::service_sets(&node, reply.sets).await?;
    Ok(v1::ListServiceSetsReply { sets, next_token: reply.next_token })
}

/// One set.
pub async fn get(node: Arc<Node>, request: v1::SetKey) -> Result<v1::ServiceSet> {
    let record = match node.array.set(&request.key).await {
        // A broken set is shown by its own id alone, any other by that of a copy as well.
        Err(error) if error.code() == ErrorCode::ObjectNotFound => {
            match lookup::copy(&node, &request.key).await {
                Ok((record, _)) => record,
                Err(_) => return Err(error),
            }
        }
        found => found?,
    };
    view::service_set(&node, record).await
}

/// Mounts a copy read-only.
pub async fn expose(node: Arc<Node>, request: v1::ExposeRequest) -> Result<v1::ExposeReply> {
    exposure::expose(&node, &request.copy_key, &request.path).await
}

/// Unmounts a copy.
pub async fn unexpose(node: Arc<Node>, request: v1::UnexposeRequest) -> Result<v1::ExposeReply> {
    exposure::unexpose(&node, &request.copy_key).await
}

/// Turns copies into LUNs of their own.
pub async fn break_set(node: Arc<Node>, request: v1::BreakRequest) -> Result<v1::BreakReply> {
    breaking::run(&node, &request).await
}

/// Deletes a set or a copy.
pub async fn delete(node: Arc<Node>, request: v1::DeleteRequest) -> Result<v1::DeleteReply> {
    deletion::run(&node, &request.key).await
}
