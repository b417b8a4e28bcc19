//! A pool's metadata, opened for reading while nobody else has it.
//!
//! What always holds: as long as the image lives no array opens the pool (a shared lock against its exclusive one), and
//! a block device is not in use by the kernel.

use crate::{args::PoolFile, output::Output, progress::Bar};
use rustix::fs::OFlags;
use std::{
    cell::Cell,
    fs::{self, File, FileType, OpenOptions, TryLockError},
    io::{self, IsTerminal, Seek, SeekFrom},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use umbra_base::{Error, ErrorCode, Result};
use umbra_thin_check::{Block, FileImage, Listing, ReadBlock, Version};

/// Names of an array's files (design section 4).
const META: &str = "pool.meta";
const DATA: &str = "pool.data";

/// The metadata, and where it and the data are.
#[derive(Debug)]
pub struct PoolImage {
    pub meta: PathBuf,
    /// The data beside it, where an array keeps it.
    pub data: Option<PathBuf>,
    pub image: FileImage,
}

impl PoolImage {
    pub fn open(pool: &PoolFile) -> Result<PoolImage> {
        let folder = pool.path.is_dir();
        let meta = if folder { pool.path.join(META) } else { pool.path.clone() };
        let data = Some(pool.path.join(DATA)).filter(|data| folder && data.exists());
        let file = open_alone(&meta)?;
        let image = FileImage::over(file, &meta)?;
        Ok(PoolImage { meta, data, image })
    }

    /// Size of the data file or device in blocks of the pool; none if the pool does not say how large those are.
    pub fn data_blocks(&self, data: &Path) -> Result<Option<u64>> {
        const HINT: &str = "name the file or device that holds the pool's data with --data";
        let what =
            |source| Error::io(format!("look at the pool's data {}", data.display()), source).hint(HINT);
        check_kind(data, fs::metadata(data).map_err(what)?.file_type(), HINT)?;
        let bytes = File::open(data).and_then(|mut file| file.seek(SeekFrom::End(0))).map_err(what)?;
        let sectors =
            Listing::open(&self.image, Version::Live).map_or(0, |pool| pool.superblock.data_block_sectors);
        Ok(bytes.checked_div(u64::from(sectors) * 512))
    }
}

/// Refuses what has no offsets, and a pipe, which would keep us waiting, before it is opened.
fn check_kind(path: &Path, kind: FileType, hint: &'static str) -> Result<()> {
    if kind.is_file() || kind.is_block_device() {
        return Ok(());
    }
    let text = format!("{} is neither a file nor a block device", path.display());
    Err(Error::new(ErrorCode::InvalidArgument, text).hint(hint))
}

fn open_alone(path: &Path) -> Result<File> {
    const HINT: &str = "give the pool's metadata, or the folder of an array";
    let what = |source| Error::io(format!("open the pool's metadata {}", path.display()), source).hint(HINT);
    let kind = fs::metadata(path).map_err(what)?.file_type();
    check_kind(path, kind, HINT)?;
    // On a block device that flag asks for one that the kernel does not use.
    let alone = if kind.is_block_device() { OFlags::EXCL.bits() as i32 } else { 0 };
    let file = match OpenOptions::new().read(true).custom_flags(alone).open(path) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            return Err(in_use(path, "the kernel uses it"));
        }
        opened => opened.map_err(what)?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(path, "an array serves it")),
        Err(TryLockError::Error(source)) => {
            Err(Error::io(format!("lock the pool's metadata {}", path.display()), source))
        }
    }
}

/// `error` of a listing, with the pool that it is about.
pub fn about(meta: &Path, error: Error) -> Error {
    if !matches!(error.code(), ErrorCode::Corrupt | ErrorCode::ObjectNotFound) {
        return error;
    }
    let told =
        Error::new(error.code(), format!("read the pool's metadata {}: {}", meta.display(), error.chain()));
    match error.hint_text() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

fn in_use(path: &Path, why: &str) -> Error {
    let text = format!("read the pool's metadata {}: {why}, and it changes meanwhile", path.display());
    Error::new(ErrorCode::VolumeInUse, text).hint(
        "stop the array or deactivate the pool first; `umbra pool status` shows the pool of a running array",
    )
}

/// An image that shows on a bar how much of it was read.
#[derive(Debug)]
pub struct Watched<'a> {
    image: &'a FileImage,
    bar: Bar,
    reads: Cell<u64>,
    expected: u64,
}

impl<'a> Watched<'a> {
    pub fn new(image: &'a FileImage, output: Output, what: &str) -> Watched<'a> {
        let superblock = Listing::open(image, Version::Live).map(|pool| pool.superblock);
        let expected = superblock.map_or(0, |superblock| superblock.metadata_map.allocated);
        // A listing on the same terminal shows well enough that it goes on.
        let bar = if io::stdout().is_terminal() { Bar::hidden() } else { Bar::start(output, what) };
        Watched { image, bar, reads: Cell::new(0), expected }
    }
}

impl ReadBlock for Watched<'_> {
    fn blocks(&self) -> u64 {
        self.image.blocks()
    }

    fn read_block(&self, number: u64, into: &mut Block) -> io::Result<()> {
        let reads = self.reads.get() + 1;
        self.reads.set(reads);
        if reads.is_multiple_of(512) {
            self.bar.at(reads, self.expected);
        }
        self.image.read_block(number, into)
    }
}
