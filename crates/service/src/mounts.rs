//! What this service mounted: one small file for each mount in `RUNTIME/mounts`, checked against the kernel's table.
//!
//! What always holds: a record is written before its mount is made and removed after it is gone, so that none is
//! forgotten; a record whose mount is not there (any more) is not believed. The folder lies in the runtime folder: it
//! goes with a reboot, as mounts do.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use umbra_base::{CopyId, Error, Result, SetId};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// Names the record's file.
    pub id: uuid::Uuid,
    /// Where.
    pub path: PathBuf,
    /// Of which block device.
    pub device: PathBuf,
    /// The LUN under the device.
    pub lun_id: String,
    /// Whose copy it shows; none for a LUN of its own, and after a break.
    pub copy: Option<Copy>,
    /// Whether the folder was made for it.
    pub folder: Folder,
}

/// A copy and its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The copy.
    pub id: CopyId,
    /// Its set.
    pub set: SetId,
}

/// Whose the folder under a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Folder {
    /// We made it; it goes with the mount.
    Ours,
    /// It was there.
    Theirs,
}

/// The records.
#[derive(Debug)]
pub struct Mounts(PathBuf);

impl Mounts {
    /// The records in `runtime`; the folder is made.
    pub fn open(runtime: &Path) -> Result<Mounts> {
        let folder = runtime.join("mounts");
        std::fs::create_dir_all(&folder)
            .map_err(|source| Error::io(format!("make {}", folder.display()), source))?;
        Ok(Mounts(folder))
    }

    fn file(&self, id: uuid::Uuid) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// Writes a record, whole or not at all.
    pub fn put(&self, mounted: &Mounted) -> Result<()> {
        let path = self.file(mounted.id);
        let what = || format!("write {}", path.display());
        let bytes = serde_json::to_vec(mounted).map_err(|source| Error::io(what(), source))?;
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, bytes).map_err(|source| Error::io(what(), source))?;
        std::fs::rename(&fresh, &path).map_err(|source| Error::io(what(), source))
    }

    /// Removes a record.
    pub fn remove(&self, id: uuid::Uuid) -> Result<()> {
        let path = self.file(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", path.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Every record, also of mounts that are not there.
    pub fn records(&self) -> Result<Vec<Mounted>> {
        let what = || format!("read {}", self.0.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(|source| Error::io(what(), source))? {
            let path = entry.map_err(|source| Error::io(what(), source))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match std::fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(mounted)) => found.push(mounted),
                // Half a record cannot be (rename), so this is somebody else's file: it is left alone.
                Ok(Err(error)) => tracing::warn!(file = %path.display(), %error, "not a mount record"),
                // Removed since the folder was read.
                Err(_) => {}
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_strangers_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mounts = Mounts::open(folder.path()).unwrap();
        let mounted = Mounted {
            id: uuid::Uuid::from_u128(1),
            path: "/mnt".into(),
            device: "/dev/loop7".into(),
            lun_id: "l".into(),
            copy: None,
            folder: Folder::Ours,
        };
        mounts.put(&mounted).unwrap();
        std::fs::write(folder.path().join("mounts/other.json"), "not ours").unwrap();
        assert_eq!(mounts.records().unwrap(), std::slice::from_ref(&mounted));
        mounts.remove(mounted.id).unwrap();
        mounts.remove(mounted.id).unwrap();
        assert!(mounts.records().unwrap().is_empty());
        assert!(folder.path().join("mounts/other.json").exists());
    }
}
