//! Which of our own files lie on a file system that is about to stand still (S7), however deep: a file on a file
//! system, on a loop device, over a file on a file system that is in the set.

use crate::{
    dev::{self, Dev},
    limits::STACK_DEPTH,
    mounts::{self, Mount},
    procs,
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use umbra_base::Result;

/// A file that would stand still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offender {
    /// The file.
    pub path: PathBuf,
    /// The process that has it open; none for a path that was asked about.
    pub pid: Option<u32>,
    pub command: String,
    /// The file system of the set under it.
    pub file_system: Dev,
}

/// The files that lie on, or above, one of `file_systems`: what the processes `pids` have open (their working directories
/// too), and `paths`. A path that does not exist yet counts as its parent folder.
pub fn offenders(file_systems: &[Dev], pids: &[u32], paths: &[PathBuf]) -> Result<Vec<Offender>> {
    let stack = Stack { mounts: mounts::list()? };
    let hit =
        |dev: Dev, path: &Path| stack.below(dev, path).into_iter().find(|dev| file_systems.contains(dev));
    let mut found = Vec::new();
    for holder in pids.iter().flat_map(|pid| procs::open_files_of(*pid, &|_| true)) {
        let dev = fs::metadata(&holder.link).map(|meta| Dev::from_raw(meta.dev()));
        let Ok(dev) = dev else { continue };
        if let Some(file_system) = hit(dev, &holder.file) {
            found.push(Offender {
                path: holder.file,
                pid: Some(holder.pid),
                command: holder.command,
                file_system,
            });
        }
    }
    for path in paths {
        let Some((existing, dev)) = nearest(path) else { continue };
        if let Some(file_system) = hit(dev, &existing) {
            found.push(Offender { path: path.clone(), pid: None, command: String::new(), file_system });
        }
    }
    Ok(found)
}

/// The path, links resolved, or the nearest folder above it that exists.
fn nearest(path: &Path) -> Option<(PathBuf, Dev)> {
    path.ancestors().find_map(|path| {
        let path = fs::canonicalize(path).ok()?;
        let dev = Dev::from_raw(fs::metadata(&path).ok()?.dev());
        Some((path, dev))
    })
}

struct Stack {
    mounts: Vec<Mount>,
}

impl Stack {
    /// The file system of a file and everything under it.
    fn below(&self, dev: Dev, path: &Path) -> BTreeSet<Dev> {
        let mut found = BTreeSet::new();
        self.walk_file(dev, path, &mut found, STACK_DEPTH);
        found
    }

    fn walk_file(&self, dev: Dev, path: &Path, found: &mut BTreeSet<Dev>, depth: usize) {
        if depth == 0 || !found.insert(dev) {
            return;
        }
        if let Some(sysfs) = dev.sysfs() {
            return self.walk_device(&sysfs, found, depth);
        }
        // A number of the file system's own: the table says what is under it.
        let mount = self.mounts.iter().rev().find(|mount| mount.dev == dev).or_else(|| self.mount_of(path));
        let Some(mount) = mount else { return };
        found.insert(mount.dev);
        if let Ok(meta) = fs::metadata(&mount.source)
            && let Some(sysfs) = Dev::from_raw(meta.rdev()).sysfs()
        {
            found.insert(Dev::from_raw(meta.rdev()));
            self.walk_device(&sysfs, found, depth - 1);
        }
        for folder in overlay_folders(mount) {
            if let Some((path, dev)) = nearest(&folder) {
                self.walk_file(dev, &path, found, depth - 1);
            }
        }
    }

    /// The mount that a path lies on, by its longest prefix.
    fn mount_of(&self, path: &Path) -> Option<&Mount> {
        let holding = self.mounts.iter().filter(|mount| path.starts_with(&mount.path));
        holding.max_by_key(|mount| mount.path.as_os_str().len())
    }

    fn walk_device(&self, sysfs: &Path, found: &mut BTreeSet<Dev>, depth: usize) {
        if depth == 0 {
            return;
        }
        let disk = if sysfs.join("partition").exists() { sysfs.parent().unwrap_or(sysfs) } else { sysfs };
        if let Some((path, dev)) =
            dev::read_path(&disk.join("loop/backing_file")).and_then(|path| nearest(&path))
        {
            self.walk_file(dev, &path, found, depth - 1);
        }
        let slaves = fs::read_dir(sysfs.join("slaves")).into_iter().flatten().flatten();
        for slave in slaves.filter_map(|entry| fs::canonicalize(entry.path()).ok()) {
            found.extend(Dev::read(&slave.join("dev")));
            self.walk_device(&slave, found, depth - 1);
        }
    }
}

/// The folders under an overlay.
fn overlay_folders(mount: &Mount) -> Vec<PathBuf> {
    if mount.fs_type != "overlay" {
        return Vec::new();
    }
    let values = mount.fs_options.iter().filter_map(|option| option.split_once('='));
    let folders = values.filter(|(key, _)| matches!(*key, "lowerdir" | "upperdir" | "workdir"));
    folders.flat_map(|(_, value)| value.split(':')).map(PathBuf::from).collect()
}
