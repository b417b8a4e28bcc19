//! Identities of copies (I1): renewed where they would collide, recorded with their undo in the array, given back by break.
//!
//! What always holds: the array knows an edit before it is made, so that whoever breaks the set later can undo it; an edit
//! is made on the file view of a LUN that has no block device; one LUN at a time has its identity settled, so that two
//! copies of one original cannot both find it free.

use crate::{
    array::Access,
    attachments,
    node::{Node, blocking},
};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, LunId, Result};
use umbra_host::{
    attach::State,
    dev::Dev,
    identity::{self as host, Edit, Kind, Renew},
    volumes,
};

/// Renews what would collide on an attached LUN without a block device. `recorded` is what was renewed before; the answer
/// is all that is renewed now.
pub async fn settle(
    node: &Node,
    record: &v1::SetRecord,
    lun: LunId,
    recorded: Vec<v1::IdentityChange>,
) -> Result<Vec<v1::IdentityChange>> {
    let view = view(node, lun).await?;
    let planned = blocking({
        let view = view.clone();
        move || {
            let visible =
                volumes::visible_identities(&[]).map_err(|e| Error::io("look for identities in use", e))?;
            host::plan(&view, &Renew::Colliding(visible))
        }
    })
    .await?;
    refuse_what_cannot_be_renewed(lun, &planned)?;
    if planned.edits.is_empty() {
        return Ok(recorded);
    }
    let now = merged(&recorded, &planned.edits);
    write_down(node, record, lun, now.clone()).await?;
    // If this fails the record stays: undoing an edit that is undone already changes nothing.
    renew(node, lun, view, planned.edits).await?;
    Ok(now)
}

/// What collides and cannot be renewed must not become a block device: the kernel could take it for its original (I1).
fn refuse_what_cannot_be_renewed(lun: LunId, planned: &host::Plan) -> Result<()> {
    let known = planned.left_alone.iter().find_map(|left| Some((&left.place, left.content.as_ref()?)));
    let Some((place, content)) = known else { return Ok(()) };
    let text = format!(
        "{} on {place} of LUN {lun} has the identity {} of its original, which cannot be renewed yet",
        content.fs_type, content.uuid
    );
    Err(Error::new(ErrorCode::IdentityFailed, text)
        .hint("identities of ext4, XFS and GPT are renewed; attach this copy on a host that does not see the original")
        .param("lun", lun)
        .param("content", &content.fs_type))
}

async fn renew(node: &Node, lun: LunId, view: PathBuf, edits: Vec<Edit>) -> Result<()> {
    node.array.set_lun_access(&lun.to_string(), Access::ReadWrite).await?;
    attachments::refresh(node, lun).await?;
    blocking(move || host::apply(&view, &edits)).await?;
    attachments::flush(node, lun).await.map(drop)
}

async fn view(node: &Node, lun: LunId) -> Result<PathBuf> {
    match attachments::find(node, lun).await? {
        Some(state) if state.device.is_none() => Ok(state.view),
        Some(_) => {
            let text = format!("LUN {lun} has a block device: its identity is not to be changed under it");
            Err(Error::new(ErrorCode::IdentityFailed, text))
        }
        None => Err(Error::new(ErrorCode::BadState, format!("LUN {lun} is not attached"))),
    }
}

/// What was renewed before and now, told as one change from the original's value.
fn merged(recorded: &[v1::IdentityChange], edits: &[Edit]) -> Vec<v1::IdentityChange> {
    let mut all = recorded.to_vec();
    for edit in edits {
        let known =
            all.iter_mut().find(|change| change.r#where == edit.place && change.kind == edit.kind.as_str());
        match known {
            Some(change) => change.after.clone_from(&edit.after),
            None => all.push(change(edit)),
        }
    }
    all
}

fn change(edit: &Edit) -> v1::IdentityChange {
    v1::IdentityChange {
        r#where: edit.place.clone(),
        kind: edit.kind.as_str().to_owned(),
        before: edit.before.clone(),
        after: edit.after.clone(),
    }
}

fn edit(change: &v1::IdentityChange) -> Result<Edit> {
    let kind = Kind::from_text(&change.kind).ok_or_else(|| {
        let text = format!(
            "the record has an identity of the kind {:?}, which this version does not know",
            change.kind
        );
        Error::new(ErrorCode::IdentityFailed, text)
    })?;
    let (place, before, after) = (change.r#where.clone(), change.before.clone(), change.after.clone());
    Ok(Edit { place, kind, before, after })
}

async fn write_down(
    node: &Node,
    record: &v1::SetRecord,
    lun: LunId,
    identity: Vec<v1::IdentityChange>,
) -> Result<()> {
    let name = lun.to_string();
    let part = record.luns.iter().find(|part| part.working_lun_id == name).cloned().unwrap_or_default();
    let update = v1::UpdateSetRequest {
        set_key: record.id.clone(),
        luns: vec![v1::SetLun { identity, working_lun_id: name, ..part }],
        ..Default::default()
    };
    node.array.update_set(update).await.map(drop)
}

/// Gives a LUN the identity of its original again.
pub async fn revert(node: &Node, lun: LunId, changes: &[v1::IdentityChange]) -> Result<()> {
    let edits = changes.iter().map(edit).collect::<Result<Vec<_>>>()?;
    let view = view(node, lun).await?;
    blocking(move || host::undo(&view, &edits)).await
}

/// Undoes [`revert`].
pub async fn renew_again(node: &Node, lun: LunId, changes: &[v1::IdentityChange]) -> Result<()> {
    let edits = changes.iter().map(edit).collect::<Result<Vec<_>>>()?;
    let view = view(node, lun).await?;
    blocking(move || host::apply(&view, &edits)).await?;
    attachments::flush(node, lun).await.map(drop)
}

/// Where an original identity of a LUN is visible on this host: on any block device but its own, and but those that
/// another host's attachment put there (B5).
pub async fn original_seen(node: &Node, part: &v1::SetLun) -> Result<Option<String>> {
    let wanted: Vec<_> =
        part.identity.iter().map(|change| change.before.to_lowercase()).filter(|id| is_guid(id)).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let lun: LunId = part.working_lun_id.parse()?;
    let own = attachments::find(node, lun).await?;
    let runtime = node.config.runtime.clone();
    blocking(move || {
        let mut except = foreign_devices(&runtime);
        except.extend(own.iter().flat_map(devices));
        seen(&runtime, &wanted, &except)
    })
    .await
}

fn is_guid(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok()
}

fn seen(runtime: &Path, wanted: &[String], except: &[Dev]) -> Result<Option<String>> {
    let volumes = volumes::list(runtime)?;
    let holds = |volume: &&volumes::Volume| {
        let uuid = volume.content.as_ref().map(|content| content.uuid.to_lowercase());
        !except.contains(&volume.dev) && uuid.is_some_and(|uuid| wanted.contains(&uuid))
    };
    if let Some(volume) = volumes.iter().find(holds) {
        return Ok(Some(volume.device.display().to_string()));
    }
    let visible =
        volumes::visible_identities(except).map_err(|e| Error::io("look for identities in use", e))?;
    Ok(visible.iter().any(|id| wanted.contains(id)).then(|| "a partition table".to_owned()))
}

/// The devices of an attachment: disk and partitions.
fn devices(state: &State) -> Vec<Dev> {
    let disk = state.device.iter().cloned();
    let partitions =
        state.partitions.iter().filter_map(|p| attachments::partition_device(state, p.number).ok());
    let numbers = disk.chain(partitions).filter_map(|path| std::fs::metadata(path).ok());
    numbers.map(|meta| Dev::from_raw(meta.rdev())).collect()
}

/// Loop devices over file views of attachments that are not this host's.
fn foreign_devices(runtime: &Path) -> Vec<Dev> {
    let own = std::fs::canonicalize(runtime).unwrap_or_else(|_| runtime.to_owned());
    let blocks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten().map(|entry| entry.path());
    let foreign = blocks.filter(|block| {
        let backing = std::fs::read_to_string(block.join("loop/backing_file")).unwrap_or_default();
        is_view(Path::new(backing.trim_end())) && !Path::new(backing.trim_end()).starts_with(&own)
    });
    foreign.flat_map(|block| numbers_below(&block)).collect()
}

/// `.../attach/<lun-id>/view/disk`.
fn is_view(path: &Path) -> bool {
    let names: Vec<_> =
        path.components().rev().take(4).filter_map(|part| part.as_os_str().to_str()).collect();
    matches!(names.as_slice(), ["disk", "view", lun, "attach"] if is_guid(lun))
}

fn numbers_below(block: &Path) -> Vec<Dev> {
    let below = std::fs::read_dir(block).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = below.filter(|path| path.join("partition").exists()).chain([block.to_owned()]);
    files.filter_map(|path| std::fs::read_to_string(path.join("dev")).ok()?.trim_end().parse().ok()).collect()
}

/// Tells the log of identities of a plain LUN that are visible elsewhere too: it is attached all the same.
pub async fn warn_of_collisions(node: &Node, state: &State, name: &str) {
    let (runtime, lun, own) = (node.config.runtime.clone(), state.lun, devices(state));
    let found = blocking(move || {
        let on_it = volumes::on_lun(&runtime, lun)?;
        let identities: Vec<_> =
            on_it.iter().filter_map(|v| Some(v.content.as_ref()?.uuid.to_lowercase())).collect();
        seen(&runtime, &identities, &own)
    })
    .await;
    if let Ok(Some(at)) = found {
        tracing::warn!(%lun, name, seen = at, "an identity on this LUN is visible elsewhere on this host too");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(before: &str, after: &str) -> Edit {
        Edit { place: "disk".into(), kind: Kind::XfsUuid, before: before.into(), after: after.into() }
    }

    #[test]
    fn a_second_renewal_keeps_the_way_back_to_the_original() {
        let once = merged(&[], &[edit("a", "b")]);
        let twice = merged(&once, &[edit("b", "c")]);
        assert_eq!(twice.len(), 1);
        assert_eq!((twice[0].before.as_str(), twice[0].after.as_str()), ("a", "c"));
        assert_eq!(super::edit(&twice[0]).unwrap(), edit("a", "c"));
    }

    #[test]
    fn an_unknown_kind_of_a_newer_version_is_refused() {
        let change = v1::IdentityChange { kind: "zfs-guid".into(), ..change(&edit("a", "b")) };
        assert_eq!(super::edit(&change).unwrap_err().code(), ErrorCode::IdentityFailed);
    }

    #[test]
    fn only_the_file_views_of_attachments_count_as_foreign() {
        let lun = uuid::Uuid::from_u128(1);
        assert!(is_view(Path::new(&format!("/run/b/attach/{lun}/view/disk"))));
        assert!(!is_view(Path::new("/srv/attach/images/view/disk")));
        assert!(!is_view(Path::new("/srv/disk")));
    }
}
