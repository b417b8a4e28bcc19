//! Where measurements happen: a temporary folder, pools and plain files in it, how long and how often.
//!
//! What always holds: everything lies under one folder that is removed at the end, also after an error.

use crate::{
    door::{Door, Lun, Raw, Way},
    image::Image,
    places::Order,
    report::tell,
    run::Work,
    submit::{self, Limit, Load},
};
use anyhow::{Context, Result};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use umbra_ring::{Backend, Workers};
use umbra_store::{LunStore, PoolParams, Share, ThinId, ThinPoolStore};

/// Rounds that count, turns of a timed contender in each, and how long a turn is.
const ROUNDS: (usize, usize, Duration) = (9, 5, Duration::from_millis(30));
const QUICK: (usize, usize, Duration) = (3, 2, Duration::from_millis(20));

/// The folder and what all rows share.
pub struct Lab {
    folder: TempDir,
    /// Rounds that count.
    pub rounds: usize,
    /// Turns of a timed contender in a round.
    pub slices: usize,
    /// Time of a turn.
    pub time: Duration,
    /// Whether less is done, to see that it works.
    pub quick: bool,
    /// Threads for what may wait.
    pub workers: Arc<Workers>,
    huge: OnceLock<Image>,
}

impl Lab {
    /// A lab in a new folder of `dir`.
    pub fn new(dir: &Path, quick: bool) -> Result<Lab> {
        let folder = TempDir::with_prefix_in("umbra-bench-pool-", dir)
            .with_context(|| format!("make a folder in {}; choose another with --dir", dir.display()))?;
        let (rounds, slices, time) = if quick { QUICK } else { ROUNDS };
        Ok(Lab { folder, rounds, slices, time, quick, workers: submit::workers()?, huge: OnceLock::new() })
    }

    /// A new folder, removed when dropped.
    pub fn folder(&self, name: &str) -> Result<TempDir> {
        TempDir::with_prefix_in(format!("{name}-"), self.folder.path()).context("make a folder")
    }

    /// A place for a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of `bytes` bytes, all written.
    pub fn raw(&self, name: &str, bytes: u64) -> Result<Raw> {
        let path = self.path(name);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let raw = Raw { file: Arc::new(file.with_context(|| format!("make {}", path.display()))?), base: 0 };
        // It is reached through its descriptor alone, and its space is free once that is closed.
        std::fs::remove_file(&path).context("unlink the raw file")?;
        fill(&raw, bytes)?;
        Ok(raw)
    }

    /// A new pool with `luns` devices of `bytes` bytes each, all written; `spare` bytes more than that in the pool.
    pub fn stage(&self, luns: u32, bytes: u64, spare: u64) -> Result<Stage> {
        let folder = self.folder("pool")?;
        let params = PoolParams::new(u64::from(luns) * bytes + spare);
        let stage = Stage::open(folder, params, &[])?;
        let luns = (1..=luns).map(|id| {
            stage.store.create(ThinId(id))?;
            let lun = stage.lun(id, bytes)?;
            fill(&lun, bytes)?;
            anyhow::Ok(lun)
        });
        let luns = luns.collect::<Result<_>>()?;
        stage.store.flush()?;
        Ok(Stage { luns, ..stage })
    }

    /// The image of a pool with 1 TiB mapped in device 1 and 1 GiB in device 2; made when first asked for.
    pub fn huge(&self) -> Result<&Image> {
        if let Some(image) = self.huge.get() {
            return Ok(image);
        }
        let begun = Instant::now();
        let image = Image::new(self, &[1 << 40, 1 << 30])?;
        tell(&format!("1 TiB of mappings made in {:.0} s", begun.elapsed().as_secs_f64()));
        Ok(self.huge.get_or_init(|| image))
    }

    /// Requests for the usual time.
    pub fn timed(&self, backend: Backend, depth: usize, way: Way, len: u64, order: Order, span: u64) -> Work {
        let load = Load { backend, depth, way, len, limit: Limit::Time(self.time) };
        Work { load, order, span }
    }
}

/// A pool and its devices.
pub struct Stage {
    /// Its devices 1 to n.
    pub luns: Vec<Lun>,
    /// The store.
    pub store: ThinPoolStore,
    /// After the store, so that it goes last.
    _folder: TempDir,
}

impl Stage {
    /// Opens or makes the pool in `folder`; `luns` are opened with so many bytes.
    pub fn open(folder: TempDir, params: PoolParams, luns: &[(u32, u64)]) -> Result<Stage> {
        let store = ThinPoolStore::create_or_open(folder.path(), params)?;
        let mut stage = Stage { luns: Vec::new(), store, _folder: folder };
        stage.luns = luns.iter().map(|(id, bytes)| stage.lun(*id, *bytes)).collect::<Result<_>>()?;
        Ok(stage)
    }

    /// The pool's data file without the pool: what bounds it. Two files would differ by where their pages lie, which alone
    /// was seen to make a sixth.
    pub fn raw(&self) -> Result<Raw> {
        let file = self.store.data_file().context("the store has no data file of its own")?;
        Ok(Raw { file, base: 0 })
    }

    /// Opens a device.
    pub fn lun(&self, id: u32, bytes: u64) -> Result<Lun> {
        Lun::new(&self.store, self.store.open(ThinId(id), bytes)?)
    }
}

/// Writes all of a door.
pub fn fill(door: &impl Door, bytes: u64) -> Result<()> {
    let chunk = vec![0x5A; (1 << 20).min(bytes as usize)];
    for at in (0..bytes).step_by(chunk.len()) {
        door.write(at, &chunk[..chunk.len().min((bytes - at) as usize)])?;
    }
    Ok(())
}

/// Maps `span` bytes of a device without writing them: the first `bytes` of another, shared over and over.
pub fn repeat(store: &ThinPoolStore, from: ThinId, bytes: u64, to: ThinId, span: u64) -> Result<()> {
    let begun = Instant::now();
    for to_offset in (0..span).step_by(bytes as usize) {
        store.share(Share { from, from_offset: 0, to, to_offset, len: bytes })?;
    }
    tell(&format!("{} GiB shared in {:.0} s", span >> 30, begun.elapsed().as_secs_f64()));
    Ok(())
}
