//! Mounts: the kernel's table, and mounting, unmounting, remounting of volumes.
//!
//! What always holds: an unmount is a real one, never lazy, and names who is in the way; what we mount has neither
//! set-user-id programs nor device files.

use crate::{
    dev::Dev,
    probe::{self, Content},
    procs,
};
use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};
use std::{
    ffi::{CString, OsString},
    fs, io,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, Result};

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// One line of the kernel's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub path: PathBuf,
    /// What, as the kernel names it.
    pub source: PathBuf,
    pub fs_type: String,
    /// The mount, or the file system under it, refuses writes.
    pub read_only: bool,
    /// The file system's device number.
    pub dev: Dev,
    /// The folder of the file system that is mounted.
    pub root: PathBuf,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Options of the file system.
    pub fs_options: Vec<String>,
}

/// All mounts of this process's mount namespace, in the kernel's order.
pub fn list() -> Result<Vec<Mount>> {
    let text =
        fs::read("/proc/self/mountinfo").map_err(|error| Error::io("read /proc/self/mountinfo", error))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

/// proc(5): `36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue`.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let options = |field: &[u8]| text(field).split(',').map(str::to_owned).collect::<Vec<_>>();
    let (mount_options, fs_options) = (options(fields.get(5)?), options(fields.get(dash + 3)?));
    Some(Mount {
        dev: text(fields.get(2)?).parse().ok()?,
        root: unescape(fields.get(3)?),
        path: unescape(fields.get(4)?),
        fs_type: text(fields.get(dash + 1)?),
        source: unescape(fields.get(dash + 2)?),
        read_only: [&mount_options, &fs_options].iter().any(|list| list.iter().any(|option| option == "ro")),
        options: mount_options,
        fs_options,
    })
}

/// Space, tab, newline and backslash stand as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        match digits {
            Some(digits) => {
                bytes.push(
                    digits.iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The mount at `path`, the topmost if there are several.
pub fn at(path: &Path) -> Result<Option<Mount>> {
    Ok(list()?.into_iter().rev().find(|mount| mount.path == path))
}

/// The mounts of a file system.
pub fn of(dev: Dev) -> Result<Vec<Mount>> {
    Ok(list()?.into_iter().filter(|mount| mount.dev == dev).collect())
}

/// Mounts the file system on `device` at `path`, nosuid and nodev. Read-only on a device that cannot be written, a
/// journal that would have to be replayed is passed over.
pub fn mount(device: &Path, path: &Path, access: Access) -> Result<()> {
    let Some(Content { fs_type, .. }) = probe::probe(device)? else {
        let text = format!("{} holds no file system that Umbra knows", device.display());
        return Err(Error::new(ErrorCode::VolumeNotSupported, text));
    };
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, access == Access::ReadOnly);
    let attempt = |options: &str| {
        let options = CString::new(options).unwrap_or_default();
        rustix::mount::mount(device, path, fs_type.as_str(), flags, Some(options.as_c_str()))
    };
    let without_journal = match fs_type.as_str() {
        "ext3" | "ext4" => "noload",
        "xfs" => "norecovery",
        _ => "",
    };
    let result = match attempt("") {
        Err(Errno::ROFS) if access == Access::ReadOnly && !without_journal.is_empty() => {
            attempt(without_journal)
        }
        result => result,
    };
    result.map_err(|errno| {
        let text = format!("mount {} ({fs_type}) at {}", device.display(), path.display());
        match errno {
            Errno::BUSY => Error::new(ErrorCode::VolumeInUse, text).because(io::Error::from(errno)),
            _ => Error::io(text, io::Error::from(errno)).hint("the kernel's log says why: dmesg"),
        }
    })
}

/// Unmounts what is mounted at `path`. Busy, it stays, and the error names who uses it.
///
/// Who cannot be named may have gone in the meantime (a child between `fork` and `exec` has all of its parent's files
/// open), so it is tried once more then.
pub fn unmount(path: &Path) -> Result<()> {
    match try_unmount(path) {
        Err(Errno::BUSY) => {}
        result => return result.map_err(|errno| not_unmounted(path, errno)),
    }
    if let Some(user) = user_of(path) {
        return Err(in_use(path, &user));
    }
    try_unmount(path).map_err(|errno| not_unmounted(path, errno))
}

fn try_unmount(path: &Path) -> rustix::io::Result<()> {
    rustix::mount::unmount(path, UnmountFlags::NOFOLLOW)
}

fn not_unmounted(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::BUSY => in_use(path, "another mount namespace, a loop device or a swap file may hold it"),
        Errno::INVAL => {
            Error::new(ErrorCode::ObjectNotFound, format!("nothing is mounted at {}", path.display()))
        }
        _ => Error::io(format!("unmount {}", path.display()), io::Error::from(errno)),
    }
}

fn in_use(path: &Path, why: &str) -> Error {
    Error::new(ErrorCode::VolumeInUse, format!("{} is in use: {why}", path.display()))
        .param("path", path.display())
}

/// What uses the file system at `path`, as far as it can be told.
fn user_of(path: &Path) -> Option<String> {
    let dev = fs::metadata(path).map(|meta| meta.dev()).ok();
    let holders = procs::open_files(|file| Some(file.dev()) == dev);
    let above = list()
        .unwrap_or_default()
        .into_iter()
        .find(|mount| mount.path != path && mount.path.starts_with(path));
    match (holders.first(), above) {
        (Some(holder), _) => {
            Some(format!("process {} ({}) has {} open", holder.pid, holder.command, holder.file.display()))
        }
        (None, Some(mount)) => Some(format!("{} is mounted below it", mount.path.display())),
        (None, None) => None,
    }
}

/// Makes a mounted file system writable, or no longer writable; its other options stay.
pub fn remount(path: &Path, access: Access) -> Result<()> {
    let Some(mount) = at(path)? else {
        return Err(Error::new(
            ErrorCode::ObjectNotFound,
            format!("nothing is mounted at {}", path.display()),
        ));
    };
    let mut flags = flags_of(&mount.options);
    flags.set(MountFlags::RDONLY, access == Access::ReadOnly);
    rustix::mount::mount_remount(path, flags, c"").map_err(|errno| {
        let text =
            format!("remount {} {}", path.display(), if access == Access::ReadOnly { "ro" } else { "rw" });
        let code = if errno == Errno::BUSY { ErrorCode::VolumeInUse } else { ErrorCode::Io };
        Error::new(code, text).because(io::Error::from(errno))
    })
}

fn flags_of(options: &[String]) -> MountFlags {
    let flag = |option: &String| match option.as_str() {
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        "sync" => MountFlags::SYNCHRONOUS,
        _ => MountFlags::empty(),
    };
    options.iter().map(flag).fold(MountFlags::empty(), MountFlags::union)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_optional_fields_and_escapes_are_read() {
        let line = br"36 35 98:0 /sub /mnt/a\040b rw,noatime shared:1 master:2 - ext4 /dev/loop0p1 ro,errors=continue";
        let mount = parse_line(line).unwrap();
        assert_eq!(mount.path, Path::new("/mnt/a b"));
        assert_eq!(mount.dev, Dev { major: 98, minor: 0 });
        assert_eq!((mount.fs_type.as_str(), mount.root.as_path()), ("ext4", Path::new("/sub")));
        assert!(mount.read_only);
        assert_eq!(flags_of(&mount.options), MountFlags::NOATIME);
        assert_eq!(parse_line(b"half a line"), None);
    }
}
