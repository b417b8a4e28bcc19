//! Pools with much mapped and little written: metadata made through the engine, data files that are all hole.
//!
//! An image is made once and copied for each use, holes left out. What always holds: device `n` of an image is mapped
//! from its first block to its last, data blocks in the same order.

use crate::{
    lab::{Lab, Stage},
    places::{BLOCK, Order, Places},
};
use anyhow::{Context, Result};
use rustix::fs::{SeekFrom, seek};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use umbra_store::{PoolParams, ThinId};
use umbra_thin::{Commit, Format, LogUse, MetaRead, Page, Plan, Pool, Snapshot, limits::SECTOR};

/// Data blocks beside the mapped ones: 64 GiB.
const SPARE_BLOCKS: u64 = 1 << 20;
/// Mappings between two commits of the making: bounds its memory.
const STEP: u64 = 1 << 18;
/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;
/// Identity of the pools.
const UUID: [u8; 16] = *b"umbra-bench-pool";

/// The files of a pool that nobody has open.
pub struct Image {
    folder: TempDir,
    /// Bytes of each device, from device 1 on.
    devices: Vec<u64>,
}

/// Metadata in a file.
#[derive(Debug)]
struct MetaFile(Arc<File>);

impl MetaRead for MetaFile {
    fn read(&self, block: u64) -> io::Result<Box<Page>> {
        let mut page = Box::new([0; 4096]);
        self.0.read_exact_at(&mut page[..], block * 4096)?;
        Ok(page)
    }
}

impl Image {
    /// A pool with a device of each size, all mapped, and one more that is empty.
    pub fn new(lab: &Lab, devices: &[u64]) -> Result<Image> {
        let image = Image { folder: lab.folder("image")?, devices: devices.to_vec() };
        let data_blocks = devices.iter().sum::<u64>() / BLOCK + SPARE_BLOCKS;
        // As the store sizes it: twice what full leaves need, and a quarter more for snapshots.
        let metadata_blocks = data_blocks / 252 * 5 / 2 + 4096;
        let meta = Arc::new(create(&image.path("pool.meta"), metadata_blocks * 4096)?);
        create(&image.path("pool.data"), data_blocks * BLOCK)?;
        create(&image.path("pool.log"), 0)?;
        let wish =
            Format { uuid: UUID, data_block_sectors: (BLOCK / SECTOR) as u32, data_blocks, metadata_blocks };
        write(&meta, &umbra_thin::format(&wish)?)?;
        let mut pool = Pool::open(MetaFile(meta.clone()))?;
        for (id, bytes) in (1..).zip(devices) {
            map_all(&mut pool, &meta, ThinId(id), bytes / BLOCK)?;
        }
        pool.create(image.empty())?;
        commit(&mut pool, &meta)?;
        Ok(image)
    }

    /// Snapshots device 1, then gives it new blocks (which nobody writes) for a share of one in `part`, in runs of `run`
    /// blocks by chance. Returns how many blocks were changed.
    pub fn change(&self, copy: ThinId, part: u64, run: u64) -> Result<u64> {
        let meta = File::options().read(true).write(true).open(self.path("pool.meta"));
        let meta = Arc::new(meta.context("open pool.meta")?);
        let mut pool = Pool::open(MetaFile(meta.clone()))?;
        let origin = ThinId(1);
        pool.snapshot(&[Snapshot { origin, copy }])?;
        let runs = self.devices[0] / BLOCK / run;
        let mut places = Places::new(Order::Random, self.devices[0], BLOCK, 7);
        let mut changed = 0;
        for _ in 0..runs / part {
            let first = places.below(runs) * run;
            for vblock in first..first + run {
                if let Plan::Copy { to, .. } = pool.plan_write(origin, vblock)? {
                    pool.finish_write(origin, vblock, to)?;
                    changed += 1;
                }
            }
        }
        commit(&mut pool, &meta)?;
        Ok(changed)
    }

    /// The device of which nothing is mapped.
    pub fn empty(&self) -> ThinId {
        ThinId(self.devices.len() as u32 + 1)
    }

    /// One of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An open copy, with the mapped devices as its LUNs.
    pub fn stage(&self, lab: &Lab) -> Result<Stage> {
        let copy = self.copy(lab)?;
        let luns: Vec<_> = (1..).zip(self.devices.iter().copied()).collect();
        Stage::open(copy.folder, PoolParams::new(BLOCK), &luns)
    }

    /// Another pool that is the same. Its data file is empty, so only an image without data can be copied.
    pub fn copy(&self, lab: &Lab) -> Result<Image> {
        let copy = Image { folder: lab.folder("copy")?, devices: self.devices.clone() };
        for name in ["pool.meta", "pool.log"] {
            copy_sparse(&self.path(name), &copy.path(name))?;
        }
        create(&copy.path("pool.data"), self.path("pool.data").metadata()?.len())?;
        Ok(copy)
    }

    /// Another one whose data file is this one's.
    pub fn copy_on_same_data(&self, lab: &Lab) -> Result<Image> {
        let copy = self.copy(lab)?;
        std::fs::remove_file(copy.path("pool.data"))?;
        std::fs::hard_link(self.path("pool.data"), copy.path("pool.data")).context("link pool.data")?;
        Ok(copy)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn map_all(pool: &mut Pool<MetaFile>, meta: &File, id: ThinId, blocks: u64) -> Result<()> {
    pool.create(id)?;
    for vblock in 0..blocks {
        if let Plan::Fresh { to } = pool.plan_write(id, vblock)? {
            pool.finish_write(id, vblock, to)?;
        }
        if vblock % STEP == STEP - 1 {
            commit(pool, meta)?;
        }
    }
    commit(pool, meta)
}

fn commit(pool: &mut Pool<MetaFile>, meta: &File) -> Result<()> {
    let commit = pool.begin_commit(LogUse::Empty)?;
    write(meta, &commit)?;
    pool.commit_durable(commit.transaction);
    Ok(())
}

fn write(meta: &File, commit: &Commit) -> Result<()> {
    for block in &commit.blocks {
        meta.write_all_at(&block.bytes(), block.number * 4096).context("write pool.meta")?;
    }
    meta.write_all_at(&commit.superblock[..], 0).context("write the superblock")
}

fn create(path: &Path, bytes: u64) -> Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path);
    let file = file.with_context(|| format!("make {}", path.display()))?;
    file.set_len(bytes).with_context(|| format!("size {} to {bytes} bytes", path.display()))?;
    Ok(file)
}

/// Copies what is not hole.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let from_file = File::open(from).with_context(|| format!("open {}", from.display()))?;
    let len = from_file.metadata()?.len();
    let to_file = create(to, len)?;
    let mut bytes = vec![0; CHUNK];
    let mut at = 0;
    while let Ok(start) = seek(&from_file, SeekFrom::Data(at)) {
        let end = seek(&from_file, SeekFrom::Hole(start)).unwrap_or(len);
        at = start;
        while at < end {
            let part = &mut bytes[..CHUNK.min((end - at) as usize)];
            from_file.read_exact_at(part, at).with_context(|| format!("read {}", from.display()))?;
            to_file.write_all_at(part, at).with_context(|| format!("write {}", to.display()))?;
            at += part.len() as u64;
        }
    }
    Ok(())
}
