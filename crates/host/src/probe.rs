//! What lies on a block device or in a file view, by its first sectors: kind, UUID and label of file systems.
//!
//! Only what Umbra has to know by name is known here; everything else is "unrecognised", and left alone.

use serde::{Deserialize, Serialize};
use std::{fs::File, io, os::unix::fs::FileExt, path::Path};
use umbra_base::{Error, Result};

/// A recognised content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// As `mount -t` has it; `swap`, `LVM2_member` for what is not mounted.
    pub fs_type: String,
    /// In the form in which the content's own tools print it.
    pub uuid: String,
    pub label: String,
}

/// Features of an ext file system that identity renewal has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExtFeatures {
    pub(crate) needs_recovery: bool,
    pub(crate) metadata_csum: bool,
    pub(crate) csum_seed: bool,
}

/// What lies on the device or in the file at `path`; `None` where it is not recognised.
pub fn probe(path: &Path) -> Result<Option<Content>> {
    let what = |error: io::Error| Error::io(format!("look at the content of {}", path.display()), error);
    let file = File::open(path).map_err(what)?;
    probe_file(&file).map_err(what)
}

fn probe_file(file: &File) -> io::Result<Option<Content>> {
    for probe in [ext, xfs, btrfs, swap, lvm] {
        if let Some(content) = probe(file)? {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

/// Bytes at `offset`; `None` where the device ends before them.
fn bytes<const N: usize>(file: &File, offset: u64) -> io::Result<Option<[u8; N]>> {
    let mut buffer = [0; N];
    match file.read_exact_at(&mut buffer, offset) {
        Ok(()) => Ok(Some(buffer)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

const EXT_SUPERBLOCK: u64 = 1024;
const EXT_MAGIC: [u8; 2] = [0x53, 0xef];

fn word(block: &[u8], at: usize) -> u32 {
    block.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn ext(file: &File) -> io::Result<Option<Content>> {
    let Some(block) = bytes::<512>(file, EXT_SUPERBLOCK)? else { return Ok(None) };
    if block[56..58] != EXT_MAGIC {
        return Ok(None);
    }
    let (compatible, incompatible) = (word(&block, 92), word(&block, 96));
    // Extents, 64-bit and flexible groups are ext4's; a journal is ext3's.
    let fs_type = match (incompatible & 0x2c0 != 0, compatible & 0x4 != 0) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    };
    Ok(Some(content(fs_type, &block[104..120], &block[120..136])))
}

/// The features of the ext file system at `path`.
pub(crate) fn ext_features(path: &Path) -> Result<ExtFeatures> {
    let what = |error: io::Error| Error::io(format!("read the superblock of {}", path.display()), error);
    let file = File::open(path).map_err(what)?;
    let block = bytes::<512>(&file, EXT_SUPERBLOCK).map_err(what)?.unwrap_or([0; 512]);
    let (incompatible, read_only) = (word(&block, 96), word(&block, 100));
    Ok(ExtFeatures {
        needs_recovery: incompatible & 0x4 != 0,
        metadata_csum: read_only & 0x400 != 0,
        csum_seed: incompatible & 0x2000 != 0,
    })
}

fn xfs(file: &File) -> io::Result<Option<Content>> {
    let Some(block) = bytes::<512>(file, 0)? else { return Ok(None) };
    Ok((block[..4] == *b"XFSB").then(|| content("xfs", &block[32..48], &block[108..120])))
}

fn btrfs(file: &File) -> io::Result<Option<Content>> {
    let Some(block) = bytes::<1024>(file, 0x10000)? else { return Ok(None) };
    Ok((block[0x40..0x48] == *b"_BHRfS_M")
        .then(|| content("btrfs", &block[0x20..0x30], &block[0x12b..0x22b])))
}

fn swap(file: &File) -> io::Result<Option<Content>> {
    let Some(block) = bytes::<4096>(file, 0)? else { return Ok(None) };
    Ok((block[4086..] == *b"SWAPSPACE2").then(|| content("swap", &block[1036..1052], &block[1052..1068])))
}

fn lvm(file: &File) -> io::Result<Option<Content>> {
    let Some(sectors) = bytes::<2048>(file, 0)? else { return Ok(None) };
    let label = sectors.chunks_exact(512).find(|sector| sector.starts_with(b"LABELONE"));
    let Some(label) = label.filter(|label| label[24..32] == *b"LVM2 001") else { return Ok(None) };
    let uuid = String::from_utf8_lossy(&label[32..64]).into_owned();
    Ok(Some(Content { fs_type: "LVM2_member".to_owned(), uuid, label: String::new() }))
}

fn content(fs_type: &str, uuid: &[u8], label: &[u8]) -> Content {
    let uuid = uuid::Uuid::from_slice(uuid).unwrap_or_default().to_string();
    let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
    Content { fs_type: fs_type.to_owned(), uuid, label: String::from_utf8_lossy(label).into_owned() }
}
