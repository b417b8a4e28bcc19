//! Volumes of this host and where they lie: an ordered list of extents over one or more LUNs (design section 1).
//!
//! ```text
//!   mount point -> block device -> [partition: start, length] -> loop device -> RUNTIME/attach/<lun>/view/disk -> LUN
//! ```
//! What always holds: a volume whose way down is not understood completely has no extents, so that nobody takes it for
//! one that can be copied.

use crate::{
    attach::{self, Attachment},
    dev::{self, Dev},
    mounts,
    probe::{self, Content},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, LunId, Result};

const SECTOR: u64 = 512;

/// A part of a LUN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Extent {
    pub lun: LunId,
    pub offset: u64,
    pub len: u64,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its block device.
    pub device: PathBuf,
    pub dev: Dev,
    pub size_bytes: u64,
    /// What lies on it, where that is recognised.
    pub content: Option<Content>,
    /// Where it is mounted.
    pub mount_points: Vec<PathBuf>,
    /// Where it lies; empty when that is not on LUNs attached here.
    pub extents: Vec<Extent>,
}

/// The volume that `name`, a mount point or a block device, stands for.
pub fn resolve(runtime: &Path, name: &Path) -> Result<Volume> {
    let path = fs::canonicalize(name).map_err(|error| {
        let text = format!("no volume {}", name.display());
        Error::new(ErrorCode::ObjectNotFound, text).because(error).param("volume", name.display())
    })?;
    let meta =
        fs::metadata(&path).map_err(|error| Error::io(format!("look at {}", path.display()), error))?;
    let dev = if meta.file_type().is_block_device() {
        Dev::from_raw(meta.rdev())
    } else {
        mounted_at(&path, &meta)?
    };
    let luns = attach::list(runtime)?;
    volume(dev, &luns)?.ok_or_else(|| {
        let text = format!("{} is not on a block device", name.display());
        Error::new(ErrorCode::VolumeNotSupported, text).param("volume", name.display())
    })
}

/// The block device of what is mounted at `path`.
fn mounted_at(path: &Path, meta: &fs::Metadata) -> Result<Dev> {
    let table = mounts::list()?;
    let Some(mount) = table.iter().rev().find(|mount| mount.path == path) else {
        let above = table
            .iter()
            .filter(|mount| path.starts_with(&mount.path))
            .max_by_key(|mount| mount.path.as_os_str().len());
        let error = Error::new(ErrorCode::InvalidArgument, format!("{} is no mount point", path.display()));
        return Err(match above {
            Some(mount) => error.hint(format!("its volume is mounted at {}", mount.path.display())),
            None => error,
        });
    };
    // btrfs has device numbers of its own for its files; its source is the block device.
    if mount.dev.sysfs().is_some() {
        return Ok(mount.dev);
    }
    let source = fs::metadata(&mount.source).ok().filter(|meta| meta.file_type().is_block_device());
    Ok(source.map_or(Dev::from_raw(meta.dev()), |meta| Dev::from_raw(meta.rdev())))
}

/// Every volume of this host: disks without partitions, and partitions; empty drives are passed over.
pub fn list(runtime: &Path) -> Result<Vec<Volume>> {
    let luns = attach::list(runtime)?;
    let devices = dev::all().into_iter().filter(|path| dev::partitions(path).is_empty());
    let mut found = Vec::new();
    for path in devices {
        if dev::read_number(&path.join("size")).unwrap_or(0) > 0
            && let Some(dev) = Dev::read(&path.join("dev"))
        {
            found.extend(volume(dev, &luns)?);
        }
    }
    Ok(found)
}

/// The volumes on an attached LUN; none while it has no block device.
pub fn on_lun(runtime: &Path, lun: LunId) -> Result<Vec<Volume>> {
    let all = list(runtime)?;
    Ok(all.into_iter().filter(|volume| volume.extents.iter().any(|extent| extent.lun == lun)).collect())
}

/// Volumes that share a LUN with `wanted` and are not among them.
pub fn extra(runtime: &Path, wanted: &[Volume]) -> Result<Vec<Volume>> {
    let luns: Vec<LunId> =
        wanted.iter().flat_map(|volume| &volume.extents).map(|extent| extent.lun).collect();
    let mut found = list(runtime)?;
    found.retain(|volume| {
        volume.extents.iter().any(|extent| luns.contains(&extent.lun))
            && !wanted.iter().any(|other| other.dev == volume.dev)
    });
    Ok(found)
}

fn volume(dev: Dev, luns: &[Attachment]) -> Result<Option<Volume>> {
    let Some(sysfs) = dev.sysfs() else { return Ok(None) };
    let Some(device) = dev.path() else { return Ok(None) };
    // A device that cannot be read (no medium, dead) has no content to speak of.
    let content = probe::probe(&device).unwrap_or_default();
    let mounted = mounts::list()?.into_iter().filter(|mount| mount.dev == dev || mount.source == device);
    let mut mount_points: Vec<PathBuf> = mounted.map(|mount| mount.path).collect();
    mount_points.dedup();
    Ok(Some(Volume {
        size_bytes: dev::read_number(&sysfs.join("size")).unwrap_or(0) * SECTOR,
        extents: extents(&sysfs, luns),
        device,
        dev,
        content,
        mount_points,
    }))
}

/// Where the device lies on attached LUNs.
fn extents(sysfs: &Path, luns: &[Attachment]) -> Vec<Extent> {
    let size = dev::read_number(&sysfs.join("size")).unwrap_or(0);
    let (disk, start) = match dev::read_number(&sysfs.join("start")) {
        Some(start) if sysfs.join("partition").exists() => (sysfs.parent().unwrap_or(sysfs), start),
        _ => (sysfs, 0),
    };
    let Some(lun) = lun_of(disk, luns) else { return Vec::new() };
    match (start.checked_mul(SECTOR), size.checked_mul(SECTOR)) {
        (Some(offset), Some(len)) if len > 0 => vec![Extent { lun, offset, len }],
        _ => Vec::new(),
    }
}

/// The LUN under a whole disk, by the file under the loop device.
fn lun_of(disk: &Path, luns: &[Attachment]) -> Option<LunId> {
    let backing = dev::read_path(&disk.join("loop/backing_file"))?;
    luns.iter()
        .find(|attachment| same_file(attachment.disk(), &backing))
        .map(|attachment| attachment.state().lun)
}

/// The kernel names the file by its resolved path.
fn same_file(path: &Path, backing: &Path) -> bool {
    path == backing || fs::canonicalize(path).is_ok_and(|path| path == backing)
}

/// The identities that are visible on this host's block devices, other than those of `except`: UUIDs of file systems
/// and partition tables, in lower case.
pub fn visible_identities(except: &[Dev]) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for sysfs in dev::all() {
        let Some(dev) = Dev::read(&sysfs.join("dev")).filter(|dev| !except.contains(dev)) else { continue };
        let size = dev::read_number(&sysfs.join("size")).unwrap_or(0) * SECTOR;
        let Some(path) = dev.path().filter(|_| size > 0) else { continue };
        if let Ok(Some(content)) = probe::probe(&path) {
            found.push(content.uuid.to_lowercase());
        }
        if !sysfs.join("partition").exists() {
            found.extend(crate::identity::table_guids(&path));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}
