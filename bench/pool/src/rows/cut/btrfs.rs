//! Files of one btrfs subvolume, on a loop device; cut by a snapshot of the subvolume. They are written through the page
//! cache, and what is cached is written out when the snapshot is made.
//!
//! What always holds: the mount, and with it the loop device, is gone at the end, also after an error.

use super::{HOT, subject::Subject};
use crate::{
    command,
    door::{Called, Door},
    lab::Lab,
};
use anyhow::{Context, Result};
use rustix::{
    fs::syncfs,
    mount::{UnmountFlags, unmount},
};
use std::{
    fs::{self, File},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use umbra_ring::Workers;

const PACKAGE: &str = "btrfs-progs";
/// Bytes of the file system, most of them never touched.
const BYTES: u64 = 16 << 30;
/// Bytes of each file.
const GIB: u64 = 1 << 30;

/// The files of a subvolume.
pub struct Subvolume {
    files: Vec<Called>,
    mount: Mount,
    workers: Arc<Workers>,
}

impl Subvolume {
    /// So many files, to which `depth` requests are put at a time.
    pub fn new(lab: &Lab, count: usize, depth: usize) -> Result<Subvolume> {
        let mount = Mount::new(lab)?;
        mount.btrfs("create", &["origin"])?;
        let file = |i| {
            let path = mount.path(&format!("origin/{i}"));
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).open(path)?;
            file.set_len(GIB)?;
            let file = Called(Arc::new(file));
            file.write(0, &vec![0x5A; HOT as usize])?;
            anyhow::Ok(file)
        };
        let files = (0..count).map(file).collect::<Result<_>>().context("make files on btrfs")?;
        Ok(Subvolume { files, mount, workers: Arc::new(Workers::start(depth, 1024)?) })
    }
}

impl Subject for Subvolume {
    const CUTS: u32 = 4;
    type Door = Called;

    fn begin(&mut self, _lab: &Lab) -> Result<(Vec<Called>, Arc<Workers>)> {
        Ok((self.files.clone(), self.workers.clone()))
    }

    fn cut(&mut self, number: u32) -> Result<Option<Duration>> {
        self.mount.btrfs("snapshot", &["origin", &format!("copy{number}")])?;
        Ok(None)
    }

    fn flush(&mut self) -> Result<()> {
        self.files.first().map_or(Ok(()), |Called(file)| Ok(syncfs(file)?))
    }

    fn end(&mut self, cuts: u32) -> Result<()> {
        let copies: Vec<_> = (1..=cuts).map(|cut| format!("copy{cut}")).collect();
        let copies: Vec<_> = copies.iter().map(String::as_str).collect();
        self.mount.btrfs("delete", &copies)
    }
}

/// The file system.
struct Mount {
    folder: TempDir,
}

impl Mount {
    fn new(lab: &Lab) -> Result<Mount> {
        let folder = lab.folder("btrfs")?;
        let image = folder.path().join("image");
        File::create_new(&image)?.set_len(BYTES)?;
        command::run("mkfs.btrfs", PACKAGE, ["-q".as_ref(), image.as_os_str()])?;
        let at = folder.path().join("at");
        fs::create_dir(&at)?;
        // mount(8) has the loop device go with the mount.
        command::run("mount", "mount", ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()])?;
        Ok(Mount { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("at").join(name)
    }

    /// Does something to subvolumes.
    fn btrfs(&self, what: &str, names: &[&str]) -> Result<()> {
        let paths = names.iter().map(|name| self.path(name).into_os_string());
        let args = ["subvolume".into(), what.into()].into_iter().chain(paths);
        command::run("btrfs", PACKAGE, args).map(drop)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = unmount(self.path(""), UnmountFlags::DETACH) {
            crate::report::tell(&format!("unmount {}: {error}", self.path("").display()));
        }
    }
}
