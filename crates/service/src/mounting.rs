//! Mounting and unmounting of LUNs and copies, with the record of each mount kept in step.
//!
//! What always holds: a folder that we made goes with its mount; an unmount is a real one, never lazy, and names who is in
//! the way; a record whose mount is gone is dropped when somebody looks.

use crate::{
    array::Access,
    limits::PATH_BYTES,
    mounts::{Copy, Folder, Mounted},
    node::{Node, blocking},
};
use std::{
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, Result};
use umbra_host::mounts as host;

/// What is to be mounted.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The block device.
    pub device: PathBuf,
    /// Where.
    pub path: PathBuf,
    /// The LUN under it.
    pub lun_id: String,
    /// The copy that it shows.
    pub copy: Option<Copy>,
    /// How.
    pub access: Access,
}

/// A mount point from a request, checked.
pub fn mount_point(text: &str) -> Result<PathBuf> {
    let path: PathBuf = Path::new(text).components().collect();
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || text.len() > PATH_BYTES || path == Path::new("/") {
        let text = format!("{text:?} is not a place to mount at");
        return Err(Error::new(ErrorCode::InvalidArgument, text).hint("write the absolute path of a folder"));
    }
    Ok(path)
}

/// The mounts that we made and that are there.
pub async fn alive(node: &Node) -> Result<Vec<Mounted>> {
    let records = node.mounts.records()?;
    if records.is_empty() {
        return Ok(records);
    }
    let table = blocking(host::list).await?;
    Ok(records.into_iter().filter(|record| is_there(record, &table)).collect())
}

fn is_there(record: &Mounted, table: &[host::Mount]) -> bool {
    table.iter().any(|mount| mount.path == record.path && mount.source == record.device)
}

/// Mounts, and makes the folder if it is missing.
pub async fn mount(node: &Node, wish: Wish) -> Result<Mounted> {
    drop_stale(node, &wish.path).await?;
    let folder = blocking({
        let path = wish.path.clone();
        move || make_folder(&path)
    })
    .await?;
    let mounted = Mounted {
        id: uuid::Uuid::new_v4(),
        path: wish.path.clone(),
        device: wish.device.clone(),
        lun_id: wish.lun_id,
        copy: wish.copy,
        folder,
    };
    let made = match node.mounts.put(&mounted) {
        Ok(()) => blocking(move || host::mount(&wish.device, &wish.path, on_host(wish.access))).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(()) => Ok(mounted),
        Err(error) => {
            remove_traces(node, &mounted).await?;
            Err(error)
        }
    }
}

fn on_host(access: Access) -> host::Access {
    match access {
        Access::ReadOnly => host::Access::ReadOnly,
        Access::ReadWrite => host::Access::ReadWrite,
    }
}

/// Records of mounts at this path that somebody else took away.
async fn drop_stale(node: &Node, path: &Path) -> Result<()> {
    let alive = alive(node).await?;
    for record in node.mounts.records()?.iter().filter(|record| record.path == path) {
        if !alive.contains(record) {
            node.mounts.remove(record.id)?;
        }
    }
    Ok(())
}

/// An empty folder at `path`: hiding what lies in another would surprise its owner.
fn make_folder(path: &Path) -> Result<Folder> {
    match std::fs::create_dir(path) {
        Ok(()) => return Ok(Folder::Ours),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io(format!("make the folder {}", path.display()), error)),
    }
    let mut entries = std::fs::read_dir(path).map_err(|source| {
        Error::new(ErrorCode::InvalidArgument, format!("mount at {}", path.display())).because(source)
    })?;
    if entries.next().is_some() {
        let text = format!("{} is not empty", path.display());
        return Err(Error::new(ErrorCode::ObjectAlreadyExists, text)
            .hint("name an empty folder, or one that is not there"));
    }
    Ok(Folder::Theirs)
}

/// Unmounts, really: refused while files on it are open.
pub async fn unmount(node: &Node, mounted: &Mounted) -> Result<()> {
    let path = mounted.path.clone();
    blocking(move || host::unmount(&path)).await?;
    remove_traces(node, mounted).await
}

/// The folder if we made it, then the record.
async fn remove_traces(node: &Node, mounted: &Mounted) -> Result<()> {
    if mounted.folder == Folder::Ours {
        let path = mounted.path.clone();
        blocking(move || {
            remove_folder(&path);
            Ok(())
        })
        .await?;
    }
    node.mounts.remove(mounted.id)
}

fn remove_folder(path: &Path) {
    if let Err(error) = std::fs::remove_dir(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "folder stays");
    }
}

/// What is mounted at a path that we did not mount is left to whoever did.
pub async fn unmount_other(path: &Path) -> Result<v1::MountReply> {
    let table = blocking(host::list).await?;
    match table.iter().find(|mount| mount.path == path) {
        Some(mount) => {
            let text = format!(
                "{} was not mounted by this service, but from {}",
                path.display(),
                mount.source.display()
            );
            Err(Error::new(ErrorCode::BadState, text).hint(format!("umount {}", path.display())))
        }
        None => Ok(v1::MountReply {
            outcome: v1::Outcome::Unchanged.into(),
            path: path.display().to_string(),
            ..Default::default()
        }),
    }
}

/// Makes a mount writable.
pub async fn remount(mounted: &Mounted, access: Access) -> Result<()> {
    let path = mounted.path.clone();
    blocking(move || host::remount(&path, on_host(access))).await
}

/// File system and access of what is mounted at `path`.
pub async fn facts(path: &Path) -> Result<(String, Access)> {
    let table = blocking(host::list).await?;
    let mount = table.into_iter().rev().find(|mount| mount.path == path);
    let facts = mount.map(|mount| {
        let access = if mount.read_only { Access::ReadOnly } else { Access::ReadWrite };
        (mount.fs_type, access)
    });
    facts.ok_or_else(|| {
        Error::new(ErrorCode::ObjectNotFound, format!("nothing is mounted at {}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_paths_are_mount_points() {
        assert_eq!(mount_point("/mnt//a/").unwrap(), Path::new("/mnt/a"));
        for text in ["", "mnt", "/", "/mnt/../etc"] {
            assert_eq!(mount_point(text).unwrap_err().code(), ErrorCode::InvalidArgument, "{text}");
        }
    }

    #[test]
    fn a_folder_with_files_is_not_hidden_under_a_mount() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(make_folder(folder.path()).unwrap(), Folder::Theirs);
        assert_eq!(make_folder(&folder.path().join("new")).unwrap(), Folder::Ours);
        assert_eq!(make_folder(folder.path()).unwrap_err().code(), ErrorCode::ObjectAlreadyExists);
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_folder(&folder.path().join("file")).is_err());
    }
}
