//! Exposure of copies: a copy's LUN is attached at its first need, made fit to stand beside its original, fenced, and
//! mounted read-only (I1, B1).
//!
//! ```text
//!   attach (file view only) -> renew identity -> record in the array -> fence: array read-only -> block device, read-only -> mount ro,nosuid,nodev
//! ```
//!
//! What always holds: no block device of a copy exists before its identity is settled and recorded; a failed exposure
//! leaves neither mount nor folder nor an attachment that was made for it.

use crate::{
    array::Access,
    attachments, identity, lookup,
    mounting::{self, Wish},
    mounts::{Copy, Mounted},
    node::Node,
    view,
};
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, LunId, Result};
use umbra_host::attach::{DeviceWish, State};

/// Mounts a copy read-only at `path`.
pub async fn expose(node: &Node, key: &str, path: &str) -> Result<v1::ExposeReply> {
    node.settle().await?;
    let path = mounting::mount_point(path)?;
    let (record, copy) = lookup::copy(node, key).await?;
    let _turn = node.locks.lock(&record.id).await;
    // Read again: it may have changed while we waited for our turn.
    let record = lookup::set(node, &record.id).await?;
    lookup::expect_imported_here(node, &record)?;
    let of = Copy { id: lookup::copy_id(&copy)?, set: lookup::set_id(&record)? };
    if let Some(mounted) = mounted_copy(node, of).await? {
        return already(&record, &copy, &mounted, &path);
    }
    let (lun, extent) = place(&record, &copy)?;
    let was_attached = attachments::find(node, lun).await?.is_some();
    let exposed = ready_and_mount(node, &record, lun, extent, &path, of).await;
    if exposed.is_err() && !was_attached {
        release(node, lun).await;
    }
    let (device, identity) = exposed?;
    tracing::info!(set = record.id, copy = copy.copy_id, path = %path.display(), device, "exposed");
    let path = path.display().to_string();
    Ok(v1::ExposeReply {
        outcome: v1::Outcome::Created.into(),
        copy_id: copy.copy_id,
        path,
        device,
        identity,
    })
}

async fn ready_and_mount(
    node: &Node,
    record: &v1::SetRecord,
    lun: LunId,
    extent: &v1::Extent,
    path: &std::path::Path,
    of: Copy,
) -> Result<(String, Vec<v1::IdentityChange>)> {
    let (state, identity) = ready(node, record, lun).await?;
    let number = attachments::partition_at(&state, extent)?;
    let device = attachments::partition_device(&state, number)?;
    let name = device.display().to_string();
    let wish = Wish {
        device,
        path: path.to_owned(),
        lun_id: lun.to_string(),
        copy: Some(of),
        access: Access::ReadOnly,
    };
    mounting::mount(node, wish).await?;
    Ok((name, identity))
}

async fn mounted_copy(node: &Node, of: Copy) -> Result<Option<Mounted>> {
    Ok(mounting::alive(node).await?.into_iter().find(|mounted| mounted.copy == Some(of)))
}

fn already(
    record: &v1::SetRecord,
    copy: &v1::CopyRecord,
    mounted: &Mounted,
    path: &std::path::Path,
) -> Result<v1::ExposeReply> {
    if mounted.path != path {
        let text = format!("copy {} is exposed at {}", copy.copy_id, mounted.path.display());
        return Err(Error::new(ErrorCode::ObjectAlreadyExists, text)
            .hint(format!("umbra unexpose {} first", copy.copy_id))
            .param("path", mounted.path.display()));
    }
    let identity = record.luns.iter().filter(|lun| lun.working_lun_id == mounted.lun_id);
    Ok(v1::ExposeReply {
        outcome: v1::Outcome::Unchanged.into(),
        copy_id: copy.copy_id.clone(),
        path: mounted.path.display().to_string(),
        device: mounted.device.display().to_string(),
        identity: identity.flat_map(|lun| lun.identity.clone()).collect(),
    })
}

/// The working LUN of a copy, and where on it the volume lies.
fn place<'a>(record: &v1::SetRecord, copy: &'a v1::CopyRecord) -> Result<(LunId, &'a v1::Extent)> {
    let [extent] = copy.extents.as_slice() else {
        let text = format!("copy {} lies in {} pieces, over several LUNs", copy.copy_id, copy.extents.len());
        return Err(Error::new(ErrorCode::Unsupported, text)
            .hint("break the set and put the volume together by hand"));
    };
    let lun = view::working_lun(record, &extent.lun_id).ok_or_else(|| {
        let text = format!("set {} has no copy of LUN {}", record.id, extent.lun_id);
        Error::new(ErrorCode::Corrupt, text)
    })?;
    Ok((lun.parse()?, extent))
}

/// Attaches the working LUN of a set so that its devices may stand beside the original's: renewed, recorded, fenced.
pub async fn ready(
    node: &Node,
    record: &v1::SetRecord,
    lun: LunId,
) -> Result<(State, Vec<v1::IdentityChange>)> {
    let _turn = node.locks.lock(&lun.to_string()).await;
    let recorded = recorded(record, lun);
    let there = attachments::find(node, lun).await?;
    if let Some(state) = there.filter(|state| state.device.is_some()) {
        return Ok((state, recorded));
    }
    let _alone = node.locks.lock("identities").await;
    let shown = node.array.lun(&lun.to_string()).await?;
    attachments::start(node, &shown, DeviceWish::None).await?;
    let identity = identity::settle(node, record, lun, recorded).await?;
    node.array.set_lun_access(&lun.to_string(), Access::ReadOnly).await?;
    attachments::refresh(node, lun).await?;
    let state = attachments::make_device(node, lun, Access::ReadOnly).await?;
    Ok((state, identity))
}

/// What was renewed on a working LUN.
pub fn recorded(record: &v1::SetRecord, lun: LunId) -> Vec<v1::IdentityChange> {
    let lun = lun.to_string();
    let found = record.luns.iter().find(|part| part.working_lun_id == lun);
    found.map(|part| part.identity.clone()).unwrap_or_default()
}

/// Unmounts a copy, and detaches its LUN where nothing else uses it.
pub async fn unexpose(node: &Node, key: &str) -> Result<v1::ExposeReply> {
    node.settle().await?;
    let (record, copy) = lookup::copy(node, key).await?;
    let _turn = node.locks.lock(&record.id).await;
    let of = Copy { id: lookup::copy_id(&copy)?, set: lookup::set_id(&record)? };
    let reply = |outcome: v1::Outcome, path: String, device: String| v1::ExposeReply {
        outcome: outcome.into(),
        copy_id: copy.copy_id.clone(),
        path,
        device,
        identity: Vec::new(),
    };
    let Some(mounted) = mounted_copy(node, of).await? else {
        return Ok(reply(v1::Outcome::Unchanged, String::new(), String::new()));
    };
    mounting::unmount(node, &mounted).await?;
    release(node, mounted.lun_id.parse()?).await;
    tracing::info!(set = record.id, copy = copy.copy_id, path = %mounted.path.display(), "unexposed");
    Ok(reply(v1::Outcome::Deleted, mounted.path.display().to_string(), mounted.device.display().to_string()))
}

/// Unmounts a copy if it is exposed.
pub async fn unmount_copy(node: &Node, record: &v1::SetRecord, copy: &v1::CopyRecord) -> Result<()> {
    let of = Copy { id: lookup::copy_id(copy)?, set: lookup::set_id(record)? };
    match mounted_copy(node, of).await? {
        Some(mounted) => mounting::unmount(node, &mounted).await,
        None => Ok(()),
    }
}

/// Detaches a LUN unless something uses it.
pub async fn release(node: &Node, lun: LunId) {
    let _turn = node.locks.lock(&lun.to_string()).await;
    let name = lun.to_string();
    let released = match mounting::alive(node).await {
        Ok(mounts) if mounts.iter().any(|mounted| mounted.lun_id == name) => return,
        Ok(_) => attachments::stop(node, lun).await,
        Err(error) => Err(error),
    };
    match released {
        Ok(_) => {}
        Err(error) if error.code() == ErrorCode::VolumeInUse => {
            tracing::debug!(%lun, "stays attached: in use")
        }
        Err(error) => tracing::warn!(%lun, code = %error.code(), error = error.chain(), "stays attached"),
    }
}

/// Takes a set's LUNs off this host: unmounted, detached. Refused, with the first that is in use, and then as far as it came.
pub async fn withdraw(node: &Node, luns: &[LunId]) -> Result<()> {
    for mounted in mounting::alive(node).await? {
        if luns.iter().any(|lun| lun.to_string() == mounted.lun_id) {
            mounting::unmount(node, &mounted).await?;
        }
    }
    for lun in luns {
        let _turn = node.locks.lock(&lun.to_string()).await;
        attachments::stop(node, *lun).await?;
    }
    Ok(())
}
