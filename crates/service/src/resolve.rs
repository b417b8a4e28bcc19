//! Volumes of this host: what a mount point or device lies on, which volumes share its LUNs, and which are refused.
//!
//! What always holds: a volume is taken only if the whole of it lies on LUNs of the array; a set never freezes a file
//! system on which a file of Umbra's own is open or about to be written (S7).

use crate::{
    create::GUARD,
    node::{Node, blocking},
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use umbra_api::v1;
use umbra_base::{Error, ErrorCode, Result};
use umbra_host::{
    attach,
    dev::Dev,
    stacked::{self, Offender},
    volumes::{self as host, Volume},
};

/// A volume that can be copied.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// As the requester named it.
    pub name: String,
    /// Its block device.
    pub device: PathBuf,
    /// Its device number.
    pub dev: u64,
    /// Its file system, "" if none was recognised.
    pub fs_type: String,
    /// Its UUID.
    pub fs_uuid: String,
    /// Where it is mounted.
    pub mount_points: Vec<PathBuf>,
    /// Where it lies on LUNs.
    pub extents: Vec<v1::Extent>,
}

/// The volumes of an order.
#[derive(Debug)]
pub struct Found {
    /// In the order of the order.
    pub volumes: Vec<Resolved>,
    /// Other volumes on the same LUNs.
    pub extra: Vec<String>,
}

/// What the names of an order stand for.
pub async fn volumes(node: &Node, names: &[String]) -> Result<Found> {
    let (runtime, names) = (node.config.runtime.clone(), names.to_vec());
    blocking(move || {
        let found = names.iter().map(|name| on_luns(&runtime, name)).collect::<Result<Vec<_>>>()?;
        let extra = host::extra(&runtime, &found)?;
        let volumes = names.iter().zip(&found).map(|(name, volume)| resolved(name, volume)).collect();
        Ok(Found { volumes, extra: extra.iter().map(called).collect() })
    })
    .await
}

fn on_luns(runtime: &Path, name: &str) -> Result<Volume> {
    let volume = host::resolve(runtime, Path::new(name))?;
    if volume.extents.is_empty() {
        let text = format!("volume {name:?}, {}, does not lie on LUNs of the array", volume.device.display());
        return Err(Error::new(ErrorCode::VolumeNotSupported, text)
            .hint("`umbra volumes` shows which do")
            .param("volume", name));
    }
    Ok(volume)
}

fn resolved(name: &str, volume: &Volume) -> Resolved {
    let content = volume.content.clone();
    Resolved {
        name: name.to_owned(),
        device: volume.device.clone(),
        dev: volume.dev.to_raw(),
        fs_type: content.as_ref().map(|content| content.fs_type.clone()).unwrap_or_default(),
        fs_uuid: content.map(|content| content.uuid).unwrap_or_default(),
        mount_points: volume.mount_points.clone(),
        extents: extents(volume),
    }
}

fn extents(volume: &Volume) -> Vec<v1::Extent> {
    let shape = |extent: &host::Extent| v1::Extent {
        lun_id: extent.lun.to_string(),
        offset_bytes: extent.offset,
        length_bytes: extent.len,
    };
    volume.extents.iter().map(shape).collect()
}

/// A volume in a sentence: its device, and where it is mounted.
fn called(volume: &Volume) -> String {
    match volume.mount_points.first() {
        Some(path) => format!("{} at {}", volume.device.display(), path.display()),
        None => volume.device.display().to_string(),
    }
}

/// Refuses volumes under Umbra's own files: whoever writes there would stand still with them (S7).
pub async fn refuse_under_umbra(node: &Node, volumes: &[Resolved]) -> Result<()> {
    let status = node.array.status().await?;
    let config = &node.config;
    let mut paths = vec![config.runtime.clone(), config.state.clone(), config.socket.clone()];
    paths.extend(
        [&status.directory, &status.iscsi_socket]
            .into_iter()
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
    );
    let frozen: Vec<_> = volumes.iter().map(|volume| Dev::from_raw(volume.dev)).collect();
    let (runtime, array) = (config.runtime.clone(), status.pid);
    let offenders = blocking(move || {
        let mut pids = own_processes();
        pids.push(array);
        pids.extend(attach::list(&runtime)?.iter().map(|attachment| attachment.state().pid));
        pids.sort_unstable();
        pids.dedup();
        stacked::offenders(&frozen, &pids, &paths)
    })
    .await?;
    match offenders.first() {
        Some(offender) => Err(under_umbra(offender, volumes)),
        None => Ok(()),
    }
}

/// Every process of this program, whoever started it: services, arrays, attachments. Not guards: they have the file
/// systems that they guard open, and write nothing.
fn own_processes() -> Vec<u32> {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let Ok(own) = fs::metadata("/proc/self/exe").map(identity) else { return Vec::new() };
    let ours = |pid: &u32| fs::metadata(format!("/proc/{pid}/exe")).map(identity).is_ok_and(|exe| exe == own);
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| ours(pid) && !is_guard(*pid)).collect()
}

fn is_guard(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(GUARD.as_bytes())
}

fn under_umbra(offender: &Offender, volumes: &[Resolved]) -> Error {
    let volume = volumes.iter().find(|volume| volume.dev == offender.file_system.to_raw());
    let name = volume.map_or("?", |volume| volume.name.as_str());
    let path = offender.path.display();
    let whose = match offender.pid {
        Some(pid) => format!("{path}, which process {pid} ({}) has open", offender.command),
        None => format!("{path}, which Umbra writes to"),
    };
    Error::new(ErrorCode::VolumeUnderUmbra, format!("volume {name:?} lies under {whose}"))
        .hint("move Umbra's folders and logs to a file system that is in no set")
        .param("volume", name)
        .param("path", path)
}

/// Every volume of this host.
pub async fn list(node: &Node) -> Result<Vec<v1::Volume>> {
    let runtime = node.config.runtime.clone();
    let volumes = blocking(move || host::list(&runtime)).await?;
    Ok(volumes.iter().map(|volume| shape(volume, &volumes)).collect())
}

fn shape(volume: &Volume, all: &[Volume]) -> v1::Volume {
    let shares = |other: &&Volume| {
        let lun = |extent: &host::Extent| volume.extents.iter().any(|own| own.lun == extent.lun);
        other.dev != volume.dev && other.extents.iter().any(lun)
    };
    let content = volume.content.as_ref();
    v1::Volume {
        device: volume.device.display().to_string(),
        size_bytes: volume.size_bytes,
        fs_type: content.map(|content| content.fs_type.clone()).unwrap_or_default(),
        fs_uuid: content.map(|content| content.uuid.clone()).unwrap_or_default(),
        fs_label: content.map(|content| content.label.clone()).unwrap_or_default(),
        mount_points: volume.mount_points.iter().map(|path| path.display().to_string()).collect(),
        extents: extents(volume),
        provider: if volume.extents.is_empty() { String::new() } else { "array".to_owned() },
        extra_volumes: all.iter().filter(shares).map(called).collect(),
    }
}

/// Every mounted volume of this host, by its first mount point.
pub async fn mounted(node: &Node) -> Result<Vec<Resolved>> {
    let runtime = node.config.runtime.clone();
    let volumes = blocking(move || host::list(&runtime)).await?;
    let named = volumes.iter().filter_map(|volume| Some((volume.mount_points.first()?, volume)));
    Ok(named.map(|(path, volume)| resolved(&path.display().to_string(), volume)).collect())
}
