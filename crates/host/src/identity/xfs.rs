//! XFS: only the kernel replays its log, so the file system is mounted once, at no place in any namespace, over a loop
//! device that is locked against udev; then xfs_admin sets the UUID. xfs_admin answers 0 also when it has done nothing:
//! only what is read back counts.

use super::{Edit, Kind, fresh_uuid, has_uuid, read_back};
use crate::{
    attach::device::{self, Scan},
    probe::Content,
    tools,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};
use std::{ffi::OsStr, io, path::Path};
use umbra_base::{Error, ErrorCode, Result};

pub(super) fn plan(place: &str, content: &Content) -> Vec<Edit> {
    vec![Edit {
        place: place.to_owned(),
        kind: Kind::XfsUuid,
        before: content.uuid.clone(),
        after: fresh_uuid(),
    }]
}

pub(super) fn set_uuid(path: &Path, uuid: &str) -> Result<()> {
    if has_uuid(path, uuid)? {
        return Ok(());
    }
    replay_log(path)?;
    let args = ["-f", "-U", uuid].map(OsStr::new);
    let args: Vec<&OsStr> = args.into_iter().chain([path.as_os_str()]).collect();
    let ended = tools::run("xfs_admin", "xfsprogs", &args)?;
    match read_back(path, uuid) {
        Ok(()) if ended.code == Some(0) => Ok(()),
        _ => Err(ended.error(format!("xfs_admin on {}", path.display()))),
    }
}

/// Mounts and unmounts the file system in the file `path`, without a mount point.
fn replay_log(path: &Path) -> Result<()> {
    let device = device::create(path, Scan::Nothing)?;
    let mounted = mount_nowhere(&device.path).map_err(|errno| {
        let text = format!("replay the log of the XFS in {}", path.display());
        Error::new(ErrorCode::IdentityFailed, text).because(io::Error::from(errno))
    });
    let cleared = device.clear();
    mounted.and(cleared)
}

fn mount_nowhere(device: &Path) -> rustix::io::Result<()> {
    let context = fsopen("xfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", device)?;
    fsconfig_set_flag(&context, "nouuid")?;
    fsconfig_create(&context)?;
    // The log is replayed by now; closing both unmounts.
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    drop(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?);
    Ok(())
}
