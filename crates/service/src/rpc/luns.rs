//! LUNs of this host: attach, detach, mount, unmount (`umbra lun ...`).

use crate::{
    array::Access,
    attachments, exposure, identity,
    mounting::{self, Wish},
    node::Node,
};
use std::sync::Arc;
use umbra_api::v1::{self, LunKind};
use umbra_base::{Error, ErrorCode, LunId, Result};
use umbra_host::attach::{DeviceWish, State};

/// Makes a LUN a block device of this host.
pub async fn attach(node: Arc<Node>, request: v1::AttachLunRequest) -> Result<v1::AttachReply> {
    node.settle().await?;
    let lun = node.array.lun(&request.key).await?;
    let (outcome, state) = attach_lun(&node, &lun).await?;
    Ok(v1::AttachReply { outcome: outcome.into(), attachment: Some(attachments::shape(&state, &lun.name)) })
}

async fn attach_lun(node: &Node, lun: &v1::Lun) -> Result<(v1::Outcome, State)> {
    let id: LunId = lun.id.parse()?;
    if lun.kind() == LunKind::Copy {
        return attach_copy(node, lun, id).await;
    }
    let _turn = node.locks.lock(&lun.id).await;
    let access = if lun.read_only { Access::ReadOnly } else { Access::ReadWrite };
    let before = attachments::find(node, id).await?;
    if let Some(state) = before.filter(|state| state.device.is_some()) {
        return follow(node, state, access).await;
    }
    attachments::start(node, lun, DeviceWish::None).await?;
    match attachments::make_device(node, id, access).await {
        Ok(state) => {
            identity::warn_of_collisions(node, &state, &lun.name).await;
            Ok((v1::Outcome::Created, state))
        }
        Err(error) => {
            let _ = attachments::stop(node, id).await;
            Err(error)
        }
    }
}

/// An attached LUN whose write protection changed in the array: its device follows.
async fn follow(node: &Node, state: State, access: Access) -> Result<(v1::Outcome, State)> {
    if (state.access == DeviceWish::ReadOnly) == (access == Access::ReadOnly) {
        return Ok((v1::Outcome::Unchanged, state));
    }
    attachments::refresh(node, state.lun).await?;
    Ok((v1::Outcome::Changed, attachments::make_device(node, state.lun, access).await?))
}

/// A copy comes only as one that may stand beside its original (I1).
async fn attach_copy(node: &Node, lun: &v1::Lun, id: LunId) -> Result<(v1::Outcome, State)> {
    let _turn = node.locks.lock(&lun.set_id).await;
    // Read under the lock: a break may have gone before, and a broken LUN is nobody's business here (B4).
    let record = crate::lookup::set(node, &lun.set_id).await?;
    crate::lookup::expect_imported_here(node, &record)?;
    let before = attachments::find(node, id).await?;
    let (state, _) = exposure::ready(node, &record, id).await?;
    let was_there = before.is_some_and(|state| state.device.is_some());
    Ok((if was_there { v1::Outcome::Unchanged } else { v1::Outcome::Created }, state))
}

/// Takes a LUN's block device away, unless it is in use.
pub async fn detach(node: Arc<Node>, request: v1::DetachLunRequest) -> Result<v1::AttachReply> {
    let (id, name) = attached(&node, &request.key).await?;
    let _turn = node.locks.lock(&id.to_string()).await;
    let state = attachments::find(&node, id).await?;
    let outcome = attachments::stop(&node, id).await?;
    let attachment = state.map(|state| attachments::shape(&state, &name));
    Ok(v1::AttachReply { outcome: outcome.into(), attachment })
}

/// The LUN of that key. An attached one is found without the array too: it may be gone there, or the array may be down.
async fn attached(node: &Node, key: &str) -> Result<(LunId, String)> {
    match node.array.lun(key).await {
        Ok(lun) => Ok((lun.id.parse()?, lun.name)),
        Err(error) => {
            let states = attachments::list(node).await?;
            let state = states.iter().find(|state| state.lun.to_string() == key);
            state.map(|state| (state.lun, String::new())).ok_or(error)
        }
    }
}

/// Every attachment.
pub async fn list(node: Arc<Node>, _: v1::ListAttachmentsRequest) -> Result<v1::ListAttachmentsReply> {
    let states = attachments::list(&node).await?;
    if states.is_empty() {
        return Ok(v1::ListAttachmentsReply::default());
    }
    // Names are a courtesy of the array; attachments are there without it.
    let luns = node.array.luns().await.unwrap_or_default();
    let name =
        |state: &State| luns.iter().find(|lun| lun.id == state.lun.to_string()).map(|lun| lun.name.clone());
    let shape = |state: &State| attachments::shape(state, &name(state).unwrap_or_default());
    Ok(v1::ListAttachmentsReply { attachments: states.iter().map(shape).collect() })
}

/// Attaches a LUN if it is not, and mounts it.
pub async fn mount(node: Arc<Node>, request: v1::MountLunRequest) -> Result<v1::MountReply> {
    node.settle().await?;
    let path = mounting::mount_point(&request.path)?;
    let lun = node.array.lun(&request.key).await?;
    if lun.kind() == LunKind::Copy {
        let text = format!("LUN {:?} is a copy of set {}", lun.name, lun.set_id);
        return Err(
            Error::new(ErrorCode::BadState, text).hint("umbra expose COPY PATH, or break the set first")
        );
    }
    let (attached, state) = attach_lun(&node, &lun).await?;
    let _turn = node.locks.lock(&lun.id).await;
    let mounted = mount_device(&node, &lun, &state, &request, path).await;
    if mounted.is_err() && attached == v1::Outcome::Created {
        let _ = attachments::stop(&node, state.lun).await;
    }
    mounted
}

async fn mount_device(
    node: &Node,
    lun: &v1::Lun,
    state: &State,
    request: &v1::MountLunRequest,
    path: std::path::PathBuf,
) -> Result<v1::MountReply> {
    let device = attachments::partition_device(state, request.partition)?;
    let read_only = request.read_only || lun.read_only;
    let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
    let there = mounting::alive(node).await?.into_iter().find(|mounted| mounted.path == path);
    let outcome = match there {
        Some(mounted) if mounted.device == device => match mounting::facts(&path).await? {
            (_, now) if now == access => v1::Outcome::Unchanged,
            _ => {
                mounting::remount(&mounted, access).await?;
                v1::Outcome::Changed
            }
        },
        _ => {
            let wish = Wish {
                device: device.clone(),
                path: path.clone(),
                lun_id: lun.id.clone(),
                copy: None,
                access,
            };
            mounting::mount(node, wish).await?;
            v1::Outcome::Created
        }
    };
    reply(outcome, &path, &device).await
}

/// Unmounts what this service mounted.
pub async fn unmount(node: Arc<Node>, request: v1::UnmountRequest) -> Result<v1::MountReply> {
    let path = mounting::mount_point(&request.path)?;
    let Some(mounted) = mounting::alive(&node).await?.into_iter().find(|mounted| mounted.path == path) else {
        return mounting::unmount_other(&path).await;
    };
    let name = mounted.copy.map_or_else(|| mounted.lun_id.clone(), |copy| copy.set.to_string());
    let _turn = node.locks.lock(&name).await;
    let shape = reply(v1::Outcome::Deleted, &path, &mounted.device).await?;
    mounting::unmount(&node, &mounted).await?;
    Ok(shape)
}

async fn reply(
    outcome: v1::Outcome,
    path: &std::path::Path,
    device: &std::path::Path,
) -> Result<v1::MountReply> {
    let (fs_type, access) = mounting::facts(path).await?;
    Ok(v1::MountReply {
        outcome: outcome.into(),
        path: path.display().to_string(),
        device: device.display().to_string(),
        fs_type,
        read_only: access == Access::ReadOnly,
    })
}
