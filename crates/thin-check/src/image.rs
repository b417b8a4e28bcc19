//! Where metadata blocks come from: a file, a device, or memory. The checker asks for nothing else.

use crate::layout::{BLOCK_BYTES, Block};
use std::{fmt, fs::File, io, os::unix::fs::FileExt, path::Path};
use umbra_base::{Error, ErrorCode, Result};

/// A metadata device as an array of blocks.
pub trait ReadBlock {
    /// How many whole blocks there are.
    fn blocks(&self) -> u64;
    /// Reads block `number`, which is below [`ReadBlock::blocks`].
    fn read_block(&self, number: u64, into: &mut Block) -> io::Result<()>;
}

impl fmt::Debug for dyn ReadBlock + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metadata of {} blocks", self.blocks())
    }
}

/// A metadata image in a file or on a block device, opened for reading only. It must not change meanwhile.
#[derive(Debug)]
pub struct FileImage {
    file: File,
    blocks: u64,
}

impl FileImage {
    /// Opens the image at `path`.
    pub fn open(path: &Path) -> Result<FileImage> {
        let opened = File::open(path);
        FileImage::over(opened.map_err(|source| Error::io(what(path), source))?, path)
    }

    /// The image in `file`, opened for reading before; `path` is for messages.
    pub fn over(file: File, path: &Path) -> Result<FileImage> {
        // The length in the inode is zero for a block device; seeking to the end works for both.
        let end = io::Seek::seek(&mut &file, io::SeekFrom::End(0));
        let bytes = end.map_err(|source| Error::io(what(path), source))?;
        if bytes < BLOCK_BYTES as u64 {
            let text = format!("{} is no metadata image: it has {bytes} bytes", path.display());
            return Err(
                Error::new(ErrorCode::InvalidArgument, text).hint("give the pool's metadata file or device")
            );
        }
        Ok(FileImage { file, blocks: bytes / BLOCK_BYTES as u64 })
    }
}

fn what(path: &Path) -> String {
    format!("open metadata image {}", path.display())
}

impl ReadBlock for FileImage {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read_block(&self, number: u64, into: &mut Block) -> io::Result<()> {
        self.file.read_exact_at(into, number * BLOCK_BYTES as u64)
    }
}

/// A metadata image in memory; a last piece of less than a block is ignored.
#[derive(Debug, Clone)]
pub struct MemoryImage(pub Vec<u8>);

impl ReadBlock for MemoryImage {
    fn blocks(&self) -> u64 {
        (self.0.len() / BLOCK_BYTES) as u64
    }

    fn read_block(&self, number: u64, into: &mut Block) -> io::Result<()> {
        let start = usize::try_from(number).ok().and_then(|n| n.checked_mul(BLOCK_BYTES));
        let bytes = start.and_then(|start| self.0.get(start..start + BLOCK_BYTES));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
