//! The sandbox's view of the host, built in its own mount namespace.
//!
//! Order: everything that shall be seen elsewhere or stay writable is taken as a detached mount first; what would only be
//! kept alive in here is let go; then every mount becomes read-only; then private folders are laid over, and last the
//! detached mounts are put in their places.

use super::spec::Sandbox;
use crate::mounts;
use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
        move_mount, open_tree, unmount,
    },
};
use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};
use umbra_base::{Error, Result};
use umbra_sys::isolate::mount_read_only_recursively;

/// Seen empty and private, writable.
const PRIVATE: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/dev/shm"];
/// The devices that do no harm: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Loop devices (Documentation/admin-guide/devices.txt): what attached LUNs are.
const LOOP_MAJOR: u32 = 7;
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// This program's file, which a private folder may hide.
#[derive(Debug)]
pub(super) struct Program {
    file: File,
}

impl Program {
    /// A path that reaches it as long as this lives.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }
}

pub(super) fn open_program() -> Result<Program> {
    let file = File::open("/proc/self/exe").map_err(|error| Error::io("open this program", error))?;
    Ok(Program { file })
}

/// A mount that is waiting for its place.
struct Taken {
    tree: OwnedFd,
    target: PathBuf,
}

fn what(path: &Path) -> impl Fn(io::Error) -> Error {
    let text = format!("build the sandbox's view of {}", path.display());
    move |error| Error::io(text.clone(), error)
}

pub(super) fn build(sandbox: &Sandbox) -> Result<()> {
    let root = Path::new("/");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(root, private).map_err(|errno| what(root)(errno.into()))?;
    let mut taken = Vec::new();
    for bind in &sandbox.binds {
        taken.push(take(&bind.source, &bind.target)?);
    }
    for path in &sandbox.writable {
        taken.push(take(path, path)?);
    }
    let_go(sandbox)?;
    mount_read_only_recursively(root).map_err(what(root))?;
    private_proc()?;
    private_devices()?;
    for path in PRIVATE.iter().map(Path::new).filter(|path| path.is_dir()) {
        lay_over(path, "mode=1777")?;
    }
    for path in sandbox.hidden.iter().filter(|path| path.is_dir()) {
        lay_over(path, "mode=0755,size=4k")?;
    }
    taken.iter().try_for_each(put)?;
    std::env::set_current_dir(root).map_err(what(root))
}

/// Unmounts, in this view only, other attached LUNs and whatever lies below the folders that are laid over. A namespace
/// that goes on holding a mount keeps its file system alive after the host has unmounted it: it would not be quiet, and
/// its device would stay busy.
fn let_go(sandbox: &Sandbox) -> Result<()> {
    let hidden = |path: &Path| {
        let over = PRIVATE.iter().map(Path::new).chain(sandbox.hidden.iter().map(PathBuf::as_path));
        over.into_iter().any(|folder| path != folder && path.starts_with(folder))
    };
    for mount in mounts::list()?.iter().rev() {
        let image = ["squashfs", "erofs", "iso9660"].contains(&mount.fs_type.as_str());
        let device = mount.fs_type.starts_with("fuse") || mount.dev.major == LOOP_MAJOR && !image;
        if mount.path != Path::new("/") && (device || hidden(&mount.path)) {
            // One that is gone or that cannot be reached any more is let go already.
            let _ = unmount(&mount.path, UnmountFlags::DETACH);
        }
    }
    Ok(())
}

fn take(source: &Path, target: &Path) -> Result<Taken> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, flags).map_err(|errno| what(source)(errno.into()))?;
    Ok(Taken { tree, target: target.to_owned() })
}

fn put(taken: &Taken) -> Result<()> {
    let target = &taken.target;
    // Below a private folder the way there has to be made anew; elsewhere it is the original's and exists.
    fs::create_dir_all(target).map_err(what(target))?;
    move_mount(&taken.tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| what(target)(errno.into()))
}

fn lay_over(path: &Path, options: &str) -> Result<()> {
    let options = std::ffi::CString::new(options).unwrap_or_default();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", path, "tmpfs", flags, Some(options.as_c_str())).map_err(|errno| what(path)(errno.into()))
}

/// The processes of this namespace; nothing in it can be written, or kernel settings could be.
fn private_proc() -> Result<()> {
    let path = Path::new("/proc");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", path, "proc", flags, None).map_err(|errno| what(path)(errno.into()))?;
    mount_read_only_recursively(path).map_err(what(path))
}

fn private_devices() -> Result<()> {
    let folder = Path::new("/dev");
    let options = std::ffi::CString::new("mode=0755").unwrap_or_default();
    mount("tmpfs", folder, "tmpfs", MountFlags::NOSUID, Some(options.as_c_str()))
        .map_err(|errno| what(folder)(errno.into()))?;
    for (name, major, minor) in DEVICES {
        let path = folder.join(name);
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))
            .map_err(|errno| what(&path)(errno.into()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map_err(what(&path))?;
    }
    for (link, target) in DEVICE_LINKS {
        symlink(target, link).map_err(what(Path::new(link)))?;
    }
    fs::create_dir("/dev/shm").map_err(what(Path::new("/dev/shm")))
}
