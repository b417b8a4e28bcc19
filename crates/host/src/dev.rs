//! Device numbers, and what sysfs says of block devices.

use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    fmt, fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A device number: of a block device, or of a file system (`st_dev`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dev {
    pub major: u32,
    pub minor: u32,
}

impl Dev {
    /// As `stat` has it.
    pub fn from_raw(raw: u64) -> Dev {
        Dev { major: rustix::fs::major(raw), minor: rustix::fs::minor(raw) }
    }

    /// As `stat` has it.
    pub fn to_raw(self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }

    /// The folder of a block device in sysfs, links resolved; `None` for anonymous numbers (FUSE, btrfs, tmpfs).
    pub(crate) fn sysfs(self) -> Option<PathBuf> {
        fs::canonicalize(format!("/sys/dev/block/{self}")).ok()
    }

    /// The device file of a block device.
    pub fn path(self) -> Option<PathBuf> {
        Some(Path::new("/dev").join(self.sysfs()?.file_name()?))
    }

    /// The number in a sysfs file such as `/sys/block/sda/dev`.
    pub(crate) fn read(file: &Path) -> Option<Dev> {
        fs::read_to_string(file).ok()?.trim_end().parse().ok()
    }
}

impl fmt::Display for Dev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for Dev {
    type Err = umbra_base::Error;
    fn from_str(text: &str) -> Result<Dev, Self::Err> {
        let parts = text
            .split_once(':')
            .and_then(|(a, b)| Some(Dev { major: a.parse().ok()?, minor: b.parse().ok()? }));
        parts.ok_or_else(|| {
            let code = umbra_base::ErrorCode::InvalidArgument;
            umbra_base::Error::new(code, format!("{text:?} is not a device number such as 8:1"))
        })
    }
}

/// A number in a sysfs file.
pub(crate) fn read_number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim_end().parse().ok()
}

/// A path in a sysfs file.
pub(crate) fn read_path(file: &Path) -> Option<PathBuf> {
    let text = fs::read(file).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(text.strip_suffix(b"\n").unwrap_or(&text))))
}

/// Every block device that there is, in sysfs, disks and partitions.
pub(crate) fn all() -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
    found.sort();
    found
}

/// The partitions of a disk, in sysfs.
pub(crate) fn partitions(disk: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(disk).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.join("partition").exists()).collect();
    found.sort();
    found
}
