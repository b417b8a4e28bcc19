//! Loop devices: the ioctls of `/dev/loop-control` and `/dev/loopN`, and the few of every block device that an
//! attachment needs (size, read-only flag, partition scan).
//!
//! What always holds: the layouts are those of `linux/loop.h`, which never change; a file handed to
//! [`configure`] is referenced by the kernel from then on, its descriptor may be closed.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
};

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4C05;
const LOOP_SET_CAPACITY: libc::c_ulong = 0x4C07;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const BLKROSET: libc::c_ulong = 0x125D;
const BLKROGET: libc::c_ulong = 0x125E;
const BLKRRPART: libc::c_ulong = 0x125F;
const BLKFLSBUF: libc::c_ulong = 0x1261;
const BLKPG: libc::c_ulong = 0x1269;
const BLKPG_ADD_PARTITION: libc::c_int = 1;
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;

/// `LO_FLAGS_READ_ONLY`.
pub const READ_ONLY: u32 = 1;
/// `LO_FLAGS_PARTSCAN`: look for partitions on the device.
pub const PARTSCAN: u32 = 8;
/// `LO_FLAGS_DIRECT_IO`: the backing file is read and written past the page cache.
pub const DIRECT_IO: u32 = 16;

const NAME_BYTES: usize = 64;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; NAME_BYTES],
    crypt_name: [u8; NAME_BYTES],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

impl LoopInfo64 {
    fn zeroed() -> Self {
        LoopInfo64 {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            sizelimit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; NAME_BYTES],
            crypt_name: [0; NAME_BYTES],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// What the kernel says of a configured loop device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopStatus {
    /// Device number of the file system that holds the backing file, as `st_dev` has it.
    pub device: u64,
    /// Inode of the backing file.
    pub inode: u64,
    /// `LO_FLAGS_*`.
    pub flags: u32,
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Number of a loop device that nobody uses; another process may take it before the caller does.
pub fn free_number(control: &File) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and touches no memory of ours.
    let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
    u32::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Binds `device` (`/dev/loopN`) to `backing`. `flags` are `LO_FLAGS_*`; EBUSY when somebody was faster.
pub fn configure(
    device: &File,
    backing: impl AsFd,
    name: &[u8],
    flags: u32,
    block_size: u32,
) -> io::Result<()> {
    let mut info = LoopInfo64::zeroed();
    info.flags = flags;
    let kept = name.len().min(NAME_BYTES - 1);
    info.file_name[..kept].copy_from_slice(&name[..kept]);
    let fd = u32::try_from(backing.as_fd().as_raw_fd())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let config = LoopConfig { fd, block_size, info, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE reads one loop_config, which `config` is and outlives the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, std::ptr::from_ref(&config)) })?;
    Ok(())
}

/// Unbinds `device`. While others have it open the kernel only marks it: it is unbound at the last close.
pub fn clear(device: &File) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) })?;
    Ok(())
}

/// The backing of `device`; `None` if it is not configured.
pub fn status(device: &File) -> io::Result<Option<LoopStatus>> {
    let mut info = LoopInfo64::zeroed();
    // SAFETY: LOOP_GET_STATUS64 writes one loop_info64, which `info` is.
    match check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, std::ptr::from_mut(&mut info)) })
    {
        Ok(_) => Ok(Some(LoopStatus { device: info.device, inode: info.inode, flags: info.flags })),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the device take over a changed size of its backing file.
pub fn set_capacity(device: &File) -> io::Result<()> {
    // SAFETY: LOOP_SET_CAPACITY takes no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_CAPACITY) })?;
    Ok(())
}

/// Size of a block device in bytes.
pub fn size_bytes(device: impl AsFd) -> io::Result<u64> {
    let mut size = 0u64;
    // SAFETY: BLKGETSIZE64 writes one u64, which `size` is.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKGETSIZE64, std::ptr::from_mut(&mut size)) })?;
    Ok(size)
}

/// Sets or lifts the kernel's read-only mark of a block device.
pub fn set_read_only(device: impl AsFd, read_only: bool) -> io::Result<()> {
    let value = libc::c_int::from(read_only);
    // SAFETY: BLKROSET reads one int, which `value` is.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKROSET, std::ptr::from_ref(&value)) })?;
    Ok(())
}

/// Whether the kernel refuses writes to a block device.
pub fn is_read_only(device: impl AsFd) -> io::Result<bool> {
    let mut value: libc::c_int = 0;
    // SAFETY: BLKROGET writes one int, which `value` is.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKROGET, std::ptr::from_mut(&mut value)) })?;
    Ok(value != 0)
}

/// Reads the partition table again; EBUSY while a partition is in use.
pub fn reread_partitions(device: impl AsFd) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKRRPART, 0) })?;
    Ok(())
}

/// `struct blkpg_partition`.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgArg {
    op: libc::c_int,
    flags: libc::c_int,
    len: libc::c_int,
    data: *const BlkpgPartition,
}

/// Tells the kernel of a partition that it has not found by itself (it may know no partition tables at all). EBUSY where
/// there is one already.
pub fn add_partition(disk: impl AsFd, number: u32, start: u64, len: u64) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let partition = BlkpgPartition {
        start: i64::try_from(start).map_err(invalid)?,
        length: i64::try_from(len).map_err(invalid)?,
        number: libc::c_int::try_from(number).map_err(invalid)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let len = size_of::<BlkpgPartition>() as libc::c_int;
    let arg = BlkpgArg { op: BLKPG_ADD_PARTITION, flags: 0, len, data: &partition };
    // SAFETY: BLKPG reads one blkpg_ioctl_arg and the blkpg_partition that it points at; both outlive the call.
    check(unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKPG, std::ptr::from_ref(&arg)) })?;
    Ok(())
}

/// Writes the device's page cache back and drops it.
pub fn flush_buffers(device: impl AsFd) -> io::Result<()> {
    // SAFETY: BLKFLSBUF takes no argument.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKFLSBUF, 0) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_are_those_of_the_kernel() {
        assert_eq!(size_of::<LoopInfo64>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
