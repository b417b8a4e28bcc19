//! Deletion of sets and copies: off this host first, then out of the array.

use crate::{
    exposure,
    lookup::{self, Found},
    node::Node,
};
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, LunId, Result};

/// Deletes the set or copy with that key.
pub async fn run(node: &Node, key: &str) -> Result<v1::DeleteReply> {
    node.settle().await?;
    match lookup::any(node, key).await? {
        Found::Set(record) => delete_set(node, &record.id).await,
        Found::Copy(found) => delete_copy(node, &found.0.id, &found.1).await,
    }
}

async fn delete_set(node: &Node, id: &str) -> Result<v1::DeleteReply> {
    let _turn = node.locks.lock(id).await;
    let record = lookup::set(node, id).await?;
    if node.gate.current().is_some_and(|set| set.to_string() == record.id) {
        let text = format!("set {id} is being created");
        return Err(Error::new(ErrorCode::BadState, text)
            .hint("end its requester, or wait")
            .param("set", id));
    }
    withdraw(node, &record, &lookup::working_luns(&record)?).await?;
    let outcome = node.array.delete_set(id).await?;
    tracing::info!(set = id, "deleted");
    let copy_ids = record.copies.into_iter().map(|copy| copy.copy_id).collect();
    Ok(v1::DeleteReply { outcome: outcome.into(), set_id: record.id, copy_ids })
}

async fn delete_copy(node: &Node, id: &str, copy: &v1::CopyRecord) -> Result<v1::DeleteReply> {
    let _turn = node.locks.lock(id).await;
    let record = lookup::set(node, id).await?;
    exposure::unmount_copy(node, &record, copy).await?;
    withdraw(node, &record, &lookup::luns_of_only(&record, copy)?).await?;
    let outcome = node.array.delete_copy(&copy.copy_id).await?;
    tracing::info!(set = id, copy = copy.copy_id, "deleted");
    Ok(v1::DeleteReply { outcome: outcome.into(), set_id: record.id, copy_ids: vec![copy.copy_id.clone()] })
}

/// A set that another host has imported is that host's to withdraw.
async fn withdraw(node: &Node, record: &v1::SetRecord, luns: &[LunId]) -> Result<()> {
    let importer = &record.importer_host;
    if !importer.is_empty() && *importer != node.config.host_name {
        let text = format!("set {} is imported on host {importer:?}", record.id);
        return Err(Error::new(ErrorCode::BadState, text).hint("delete it there").param("set", &record.id));
    }
    exposure::withdraw(node, luns).await
}

/// The end of a volatile set's session: the set goes, unless it was broken or is gone already (B6).
pub async fn forget_volatile(node: &Node, id: &str) -> Result<()> {
    match delete_set(node, id).await {
        Err(error) if error.code() == ErrorCode::ObjectNotFound => Ok(()),
        other => other.map(drop),
    }
}
