//! Which file systems the given paths lie on. Everything is opened and looked up here, before the window (S7).
//!
//! A file system is one super block, known by its device numbers in mountinfo. Those of stat would not do: btrfs gives
//! each subvolume numbers of its own, and freezing the second subvolume would look like a foreign freeze.

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, open, statx};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, Result};

/// A file system to be guarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// `major:minor` of its super block.
    pub device: String,
    /// The first of the given paths on it.
    pub path: PathBuf,
    /// The id of the mount that the path lies on.
    pub mount_id: u64,
}

/// A file system and an open directory of it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub file_system: FileSystem,
    pub fd: OwnedFd,
}

/// Opens the file systems of `paths`, each once, in the order of the paths.
pub(crate) fn open_all(paths: &[PathBuf]) -> Result<Vec<Opened>> {
    let table = Table::read()?;
    let mut opened: Vec<Opened> = Vec::new();
    for path in paths {
        let new = open_one(path, &table)?;
        if !opened.iter().any(|known| known.file_system.device == new.file_system.device) {
            opened.push(new);
        }
    }
    Ok(opened)
}

pub(crate) fn open_one(path: &Path, table: &Table) -> Result<Opened> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let fd = open(path, flags, Mode::empty())
        .map_err(|source| Error::io(format!("open {}", path.display()), source))?;
    let mount_id =
        mount_id(&fd).map_err(|source| Error::io(format!("find the mount of {}", path.display()), source))?;
    let device = table.device(mount_id).ok_or_else(|| {
        let text = format!("the mount of {} is not visible in this mount namespace", path.display());
        Error::new(ErrorCode::VolumeNotSupported, text)
    })?;
    let file_system = FileSystem { device: device.to_owned(), path: path.to_owned(), mount_id };
    Ok(Opened { file_system, fd })
}

fn mount_id(fd: impl AsFd) -> rustix::io::Result<u64> {
    Ok(statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// `/proc/self/mountinfo`: mount id to device and mount point.
#[derive(Debug)]
pub(crate) struct Table(BTreeMap<u64, (String, PathBuf)>);

impl Table {
    pub(crate) fn read() -> Result<Table> {
        let text = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(|source| Error::io("read /proc/self/mountinfo", source))?;
        Ok(Table(text.lines().filter_map(parse_line).collect()))
    }

    pub(crate) fn device(&self, mount_id: u64) -> Option<&str> {
        self.0.get(&mount_id).map(|(device, _)| device.as_str())
    }

    /// Any mount point of the file system `device`.
    pub(crate) fn place_of(&self, device: &str) -> Option<&Path> {
        self.0.values().find(|(known, _)| known == device).map(|(_, place)| place.as_path())
    }
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime ...` (proc(5)).
fn parse_line(line: &str) -> Option<(u64, (String, PathBuf))> {
    let mut fields = line.split(' ');
    let id = fields.next()?.parse().ok()?;
    let device = fields.nth(1)?;
    let place = fields.nth(1)?;
    Some((id, (device.to_owned(), PathBuf::from(unescape(place)))))
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let known = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    known.iter().fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(parse_line(line), Some((36, ("98:0".to_owned(), PathBuf::from("/mnt 2")))));
        assert_eq!(parse_line("36 35"), None);
    }

    #[test]
    fn two_paths_on_one_file_system_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned(), folder.path().join("..")];
        let opened = open_all(&paths).unwrap();
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].file_system.path, folder.path());
    }
}
