//! Clearing away what killed attachments left: a file view that nobody serves, loop devices over it, files.

use super::{device, state::Folder};
use rustix::mount::{UnmountFlags, unmount};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use umbra_base::{Error, LunId, Result};
use umbra_sys::loopdev;

/// What was cleared away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    pub lun: LunId,
    /// Devices that are still mounted or open; the kernel drops them when that ends. Reads and writes fail.
    pub still_in_use: Vec<PathBuf>,
}

/// Clears away what dead attachments left under `runtime`. Living ones are not touched.
pub fn sweep(runtime: &Path) -> Result<Vec<Swept>> {
    let all = Folder::all(runtime);
    let entries = match fs::read_dir(&all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("read {}", all.display()), error)),
    };
    let luns = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<LunId>().ok());
    let mut swept = Vec::new();
    for lun in luns {
        let folder = Folder::of(runtime, lun);
        if !folder.is_alive() {
            swept.push(Swept { lun, still_in_use: clear_dead(&folder)? });
        }
    }
    Ok(swept)
}

/// Clears one folder of a dead attachment, if it is there and nobody is starting in it.
pub(super) fn clear_dead(folder: &Folder) -> Result<Vec<PathBuf>> {
    let Some(_reserved) = folder.reserve()? else { return Ok(Vec::new()) };
    if folder.is_alive() {
        return Ok(Vec::new());
    }
    let still_in_use = clear_devices_and_view(folder)?;
    folder.remove()?;
    Ok(still_in_use)
}

/// What is left when the process is gone, the files apart. The folder has to be reserved.
pub(super) fn clear_devices_and_view(folder: &Folder) -> Result<Vec<PathBuf>> {
    let still_in_use = clear_devices(folder)?;
    clear_view(&folder.view())?;
    Ok(still_in_use)
}

fn clear_devices(folder: &Folder) -> Result<Vec<PathBuf>> {
    let mut still_in_use = Vec::new();
    for path in device::bound_below(&folder.view()) {
        let device =
            File::open(&path).map_err(|error| Error::io(format!("open {}", path.display()), error))?;
        // Where it is in use the kernel marks it, and drops it at the last close.
        match loopdev::clear(&device) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                return Err(Error::io(format!("take down {}", path.display()), error));
            }
            _ => drop(device),
        }
        if device::backing_file(&path).is_some() {
            still_in_use.push(path);
        }
    }
    Ok(still_in_use)
}

/// A dead view holds no data: where a device still refers to it, it may go lazily.
fn clear_view(view: &Path) -> Result<()> {
    match unmount(view, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // Not mounted, or not there.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io(format!("unmount {}", view.display()), io::Error::from(error))),
    }
}
