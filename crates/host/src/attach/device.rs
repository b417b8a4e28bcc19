//! Loop devices over the file view: made, found, made read-only, taken down.
//!
//! What always holds: this process keeps no descriptor of the loop device open (at its death the kernel would write the
//! device's cache back through a file view that nobody serves any more); the device is opened read-write and made
//! read-only by BLKROSET, because a read-only loop could never become writable.

use crate::{mounts, partitions::Partition};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, makedev, mknodat};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use umbra_base::{Error, ErrorCode, Result};
use umbra_sys::loopdev;

/// Times that another process may snatch the free device before we get one.
const RACES: usize = 64;
const LOOP_MAJOR: u32 = 7;
const BLOCK_SIZE: u32 = 512;
/// How long somebody who may only be looking at a device is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Whether the kernel looks for partitions on a new device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    Partitions,
    Nothing,
}

/// A configured loop device whose block device is locked (flock), so that udev leaves it alone.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    pub(crate) path: PathBuf,
    backing: PathBuf,
    file: File,
}

/// Binds a free loop device to `backing`. Dropping the result closes it; the device stays.
pub(crate) fn create(backing: &Path, scan: Scan) -> Result<LoopDevice> {
    let what = |error: io::Error| Error::io(format!("make a loop device over {}", backing.display()), error);
    // Older kernels take the size that they have cached: ask for it first.
    fs::metadata(backing).map_err(what)?;
    let file = OpenOptions::new().read(true).write(true).open(backing).map_err(what)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control").map_err(|error| {
        what(error)
            .hint("the attachment needs loop devices: modprobe loop, or give the container /dev/loop-control")
    })?;
    for _ in 0..RACES {
        let number = loopdev::free_number(&control).map_err(what)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open_node(&path, number).map_err(what)?;
        if flock(&device, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        match configure(&device, &file, backing, scan) {
            Ok(()) => {
                // The mark of BLKROSET outlives the binding that it was meant for.
                loopdev::set_read_only(&device, false).map_err(what)?;
                return Ok(LoopDevice { path, backing: backing.to_owned(), file: device });
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {}
            Err(error) => return Err(what(error)),
        }
    }
    Err(Error::new(ErrorCode::VolumeInUse, "no free loop device: each was taken by another process first"))
}

fn open_node(path: &Path, number: u32) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).write(true).open(path);
    match open() {
        // In a container without devtmpfs the node may be missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mode = Mode::RUSR | Mode::WUSR;
            let kind = rustix::fs::FileType::BlockDevice;
            mknodat(rustix::fs::CWD, path, kind, mode, makedev(LOOP_MAJOR, number))?;
            open()
        }
        result => result,
    }
}

fn configure(device: &File, file: &File, backing: &Path, scan: Scan) -> io::Result<()> {
    let scan = if scan == Scan::Partitions { loopdev::PARTSCAN } else { 0 };
    let name = backing.as_os_str().as_encoded_bytes();
    match loopdev::configure(device, file, name, scan | loopdev::DIRECT_IO, BLOCK_SIZE) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            loopdev::configure(device, file, name, scan, BLOCK_SIZE)
        }
        result => result,
    }
}

impl LoopDevice {
    /// Unbinds the device and waits until it is gone.
    pub(crate) fn clear(self) -> Result<()> {
        loopdev::clear(&self.file)
            .map_err(|error| Error::io(format!("take down {}", self.path.display()), error))?;
        let LoopDevice { path, backing, file } = self;
        drop(file);
        wait_gone(&path, &backing)
    }
}

/// Takes the loop device over `backing` down. In use, it is left as it is and its holders are named. A device that is
/// bound to something else by now is somebody else's: ours is gone already.
pub(crate) fn remove(path: &Path, backing: &Path) -> Result<()> {
    if !is_bound(path, backing) {
        return Ok(());
    }
    check_unused(path)?;
    let device = open_exclusively(path)?;
    // While we have it open nobody can bind it anew: what it is bound to now is what would be unbound.
    if !is_bound(path, backing) {
        return Ok(());
    }
    loopdev::clear(&device).map_err(|error| Error::io(format!("take down {}", path.display()), error))?;
    drop(device);
    wait_gone(path, backing)
}

fn is_bound(path: &Path, backing: &Path) -> bool {
    let real = || fs::canonicalize(backing).ok();
    backing_file(path).is_some_and(|bound| bound == backing || Some(bound) == real())
}

fn open_exclusively(path: &Path) -> Result<File> {
    let flags = OFlags::EXCL.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
            in_use(path, "it is mounted, or part of another device")
        }
        _ => Error::io(format!("open {}", path.display()), error),
    })
}

fn in_use(path: &Path, why: &str) -> Error {
    Error::new(ErrorCode::VolumeInUse, format!("{} is in use: {why}", path.display()))
        .hint("unmount it and end the programs that have it open")
        .param("device", path.display())
}

/// The kernel unbinds the device when the last one closes it; udev may still be looking at it.
fn wait_gone(path: &Path, backing: &Path) -> Result<()> {
    let mut left = PATIENCE;
    while is_bound(path, backing) && !left.is_zero() {
        std::thread::sleep(PAUSE);
        left = left.saturating_sub(PAUSE);
    }
    if !is_bound(path, backing) {
        return Ok(());
    }
    Err(in_use(path, "somebody still has it open; it goes away when they close it"))
}

/// What sysfs says that a loop device is bound to.
pub(crate) fn backing_file(device: &Path) -> Option<PathBuf> {
    let name = device.file_name()?;
    let text = fs::read(Path::new("/sys/block").join(name).join("loop/backing_file")).ok()?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    Some(PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(text)))
}

/// All loop devices that are bound to a file below `folder`.
pub(crate) fn bound_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    let devices = names
        .filter(|name| name.as_encoded_bytes().starts_with(b"loop"))
        .map(|name| Path::new("/dev").join(name));
    devices.filter(|device| backing_file(device).is_some_and(|file| file.starts_with(folder))).collect()
}

/// Fails, naming who uses the device or one of its partitions. Somebody who only looks at it (a scan of all block
/// devices) is waited for.
pub(crate) fn check_unused(path: &Path) -> Result<()> {
    let numbers = numbers_of(path);
    let table = mounts::list()?;
    if let Some(mount) = table.iter().find(|mount| numbers.contains(&mount.dev.to_raw())) {
        return Err(in_use(path, &format!("it is mounted at {}", mount.path.display())));
    }
    let mut left = PATIENCE;
    loop {
        match check_now(path, &numbers) {
            Err(error) if error.code() == ErrorCode::VolumeInUse && !left.is_zero() => {
                std::thread::sleep(PAUSE);
                left = left.saturating_sub(PAUSE);
            }
            result => return result,
        }
    }
}

fn check_now(path: &Path, numbers: &[u64]) -> Result<()> {
    drop(open_exclusively(path)?);
    let holders =
        crate::procs::open_files(|file| file.file_type().is_block_device() && numbers.contains(&file.rdev()));
    match holders.first() {
        Some(holder) => {
            Err(in_use(path, &format!("process {} ({}) has it open", holder.pid, holder.command)))
        }
        None => Ok(()),
    }
}

/// Device numbers of a disk and its partitions.
fn numbers_of(path: &Path) -> Vec<u64> {
    let Some(name) = path.file_name() else { return Vec::new() };
    let own = fs::metadata(path).map(|meta| meta.rdev()).ok();
    let folder = Path::new("/sys/block").join(name);
    let parts = fs::read_dir(folder).into_iter().flatten().flatten();
    let parts = parts.filter_map(|entry| crate::dev::Dev::read(&entry.path().join("dev")));
    own.into_iter().chain(parts.map(|dev| dev.to_raw())).collect()
}

/// Sets or lifts the read-only mark (BLKROSET). The array's write protection is the real barrier.
pub(crate) fn set_read_only(path: &Path, read_only: bool) -> Result<()> {
    let what = |error: io::Error| Error::io(format!("set the read-only mark of {}", path.display()), error);
    let device = File::open(path).map_err(what)?;
    if read_only {
        rustix::fs::fsync(&device).map_err(|error| what(error.into()))?;
    }
    loopdev::set_read_only(&device, read_only).map_err(what)
}

/// Makes the device take over a new size, and its partitions be read again where none is in use.
pub(crate) fn resize(path: &Path, backing: &Path) -> Result<()> {
    let what = |error: io::Error| Error::io(format!("resize {}", path.display()), error);
    fs::metadata(backing).map_err(what)?;
    let device = File::open(path).map_err(what)?;
    loopdev::set_capacity(&device).map_err(what)?;
    // With a partition in use the kernel keeps its old table, as with every disk.
    let _ = loopdev::reread_partitions(&device);
    Ok(())
}

/// Tells the kernel of the partitions that it has not found by itself: some kernels know no GPT.
pub(crate) fn add_partitions(path: &Path, partitions: &[Partition]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for partition in partitions {
        let device = path.with_file_name(format!("{name}p{}", partition.number));
        if Path::new("/sys/class/block").join(device.file_name().unwrap_or_default()).exists() {
            continue;
        }
        let disk = File::open(path).map_err(|error| Error::io(format!("open {}", path.display()), error))?;
        match loopdev::add_partition(&disk, partition.number, partition.start, partition.len) {
            // Found by the kernel in the meantime.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {}
            result => {
                result.map_err(|error| Error::io(format!("add partition {}", device.display()), error))?
            }
        }
    }
    Ok(())
}
