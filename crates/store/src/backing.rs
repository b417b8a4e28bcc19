//! What a store stands on: three files behind a trait, so that tests can put a disk that forgets under it.
//!
//! What always holds: a [`BlockFile`] promises what a file does: what was written reads back, and survives the loss of
//! the machine once a later [`BlockFile::sync`] returned.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};
use umbra_base::{Error, ErrorCode, Result};

/// A file that is read and written at offsets.
pub trait BlockFile: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Sets its size; new bytes are zero. A device keeps its size, and its content: it only has to be large enough.
    fn set_size(&self, bytes: u64) -> io::Result<()>;
    /// Whether it is a device: never empty, never larger.
    fn is_device(&self) -> bool {
        false
    }
    /// Whether it holds nothing but zeroes.
    fn is_blank(&self) -> io::Result<bool> {
        let (size, mut at, mut part) = (self.size()?, 0, vec![0; 1 << 16]);
        while at < size {
            let part = &mut part[..(size - at).min(1 << 16) as usize];
            self.read_at(part, at)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += part.len() as u64;
        }
        Ok(true)
    }
    /// Fills `buf`; the end of the file before that is an error.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes everything written before the call survive the loss of the machine.
    fn sync(&self) -> io::Result<()>;
    /// Gives the range space, so that writing it cannot fail for want of it (A5). Keeps the content. `Unsupported`: the
    /// file system cannot; only what was written has space.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Gives the range's space back; it reads as zeroes afterwards.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
    /// The file itself, where others may do I/O on it.
    fn file(&self) -> Option<Arc<File>> {
        None
    }
}

/// [`BlockFile::allocate`] for what has to do without where the file system cannot.
pub(crate) fn allocate_if_possible(file: &dyn BlockFile, offset: u64, len: u64) -> io::Result<()> {
    match file.allocate(offset, len) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        result => result,
    }
}

/// The files of a store, and what identifies the place where they are.
#[derive(Clone)]
pub struct Backing {
    /// Metadata device.
    pub meta: Arc<dyn BlockFile>,
    /// Data device.
    pub data: Arc<dyn BlockFile>,
    /// Acknowledged-write log.
    pub log: Arc<dyn BlockFile>,
    /// Identity of the running kernel: what its page cache held is gone when this is another.
    pub boot: [u8; 16],
    /// Identity for a pool that is made here.
    pub identity: [u8; 16],
}

impl std::fmt::Debug for Backing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backing").finish_non_exhaustive()
    }
}

impl Backing {
    /// Opens or makes DIR/pool.meta, DIR/pool.data and DIR/pool.log, and locks them against a second opener.
    pub fn in_dir(dir: &Path) -> Result<Backing> {
        fs::create_dir_all(dir).map_err(|e| Error::io(format_args!("create folder {}", dir.display()), e))?;
        Self::at(&dir.join("pool.meta"), &dir.join("pool.data"), &dir.join("pool.log"))
    }

    /// The same with files anywhere; the metadata file carries the lock.
    pub fn at(meta: &Path, data: &Path, log: &Path) -> Result<Backing> {
        let meta_file = PlainFile::open(meta)?;
        meta_file.lock(meta)?;
        let (data_file, log_file) = (PlainFile::open(data)?, PlainFile::open(log)?);
        let identities = [&meta_file, &data_file, &log_file].map(PlainFile::identity);
        if identities[0] == identities[1] || identities[2] == identities[0] || identities[2] == identities[1]
        {
            let text =
                format!("{}, {} and {} are not three files", meta.display(), data.display(), log.display());
            return Err(Error::new(ErrorCode::InvalidArgument, text)
                .hint("metadata, data and log each need a file or device of their own"));
        }
        Ok(Backing {
            meta: Arc::new(meta_file),
            data: Arc::new(data_file),
            log: Arc::new(log_file),
            boot: kernel_uuid("boot_id")?,
            identity: kernel_uuid("uuid")?,
        })
    }
}

/// A uuid that the kernel offers: `boot_id` of this boot, or a new random one.
fn kernel_uuid(name: &str) -> Result<[u8; 16]> {
    let path = format!("/proc/sys/kernel/random/{name}");
    let text = fs::read_to_string(&path).map_err(|e| Error::io(format_args!("read {path}"), e))?;
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return Err(Error::new(ErrorCode::Io, format!("{path} holds {text:?}, not a uuid")));
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks(2)) {
        *byte = (pair[0] << 4 | pair[1]) as u8;
    }
    Ok(uuid)
}

/// An ordinary file or a block device, through the page cache.
#[derive(Debug)]
struct PlainFile {
    file: Arc<File>,
    is_device: bool,
}

impl PlainFile {
    /// Opens it, or makes a file where there is nothing. A device is opened for us alone: what the system has mounted or
    /// otherwise in use is refused.
    fn open(path: &Path) -> Result<Self> {
        let is_device = fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device());
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match is_device {
            true => options.custom_flags(rustix::fs::OFlags::EXCL.bits() as i32),
            false => options.create(true).truncate(false).mode(0o600),
        };
        let what = || format!("open {}", path.display());
        let file = options.open(path).map_err(|e| Error::io(what(), e))?;
        // Others have no offsets, or no end: a pipe would keep us waiting for ever.
        if !is_device && !file.metadata().map_err(|e| Error::io(what(), e))?.is_file() {
            return Err(Error::new(ErrorCode::InvalidArgument, what())
                .because("it is neither a file nor a block device"));
        }
        Ok(PlainFile { file: Arc::new(file), is_device })
    }

    /// What tells it from every other file; `None` if the system does not say.
    fn identity(&self) -> Option<(u64, u64, u64)> {
        let stat = rustix::fs::fstat(&self.file).ok()?;
        Some((stat.st_dev, stat.st_ino, if self.is_device { stat.st_rdev } else { 0 }))
    }

    fn lock(&self, path: &Path) -> Result<()> {
        use rustix::fs::{FlockOperation, flock};
        flock(&self.file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            Error::new(ErrorCode::VolumeInUse, format!("the pool of {} is open elsewhere", path.display()))
                .hint("an array serves this folder already; stop it first")
                .because(io::Error::from(errno))
        })
    }
}

impl Drop for PlainFile {
    /// A child of this process that was forked and has not called exec yet shares the open file, and its lock with it: so
    /// the lock is given up in so many words, or the next opener would find it taken for a moment.
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::flock(&self.file, rustix::fs::FlockOperation::Unlock) {
            tracing::debug!(%error, "unlock a file of the pool");
        }
    }
}

impl BlockFile for PlainFile {
    fn size(&self) -> io::Result<u64> {
        // The length in the inode is zero for a device; seeking to the end works for both.
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0)).map_err(io::Error::from)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        if !self.is_device {
            return self.file.set_len(bytes);
        }
        match self.size()? {
            size if size >= bytes => Ok(()),
            size => Err(io::Error::other(format!("a device of {size} bytes cannot be made larger"))),
        }
    }

    fn is_device(&self) -> bool {
        self.is_device
    }

    /// Without a byte of space: space that was taken and never written counts as data.
    fn is_blank(&self) -> io::Result<bool> {
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(0)) {
            Err(rustix::io::Errno::NXIO) => Ok(true),
            Ok(_) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        // A device has its space.
        if self.is_device {
            return Ok(());
        }
        Ok(fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, len)?)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        Ok(fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)?)
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(self.file.clone())
    }
}
