//! A driver without sockets: real pool, real catalogue, a target that only remembers, a clock that is moved by hand,
//! and a fuse that can cut the power at any step.

use crate::{
    audit::Audit,
    catalogue::{CatalogueStore, SqliteCatalogue},
    clock::Clock,
    driver::{Array, GiveUp, Parts, lock, present::thin_id},
    front::{Front, Session, Shown},
    model::{Access, Catalogue, Change, SnapshotSet, Thin, UnixNanos},
    rules::{begin::NewSet, fixture::id, lun::NewLun},
    secrets::Secrets,
    unit::Unit,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tempfile::TempDir;
use umbra_base::{ArrayId, Error, ErrorCode, HostId, Instant, LunId, Result, SetId};
use umbra_store::{
    Background, Cut, Hold, LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore, Thresholds, Usage, Volume,
};
use uuid::Uuid;

pub const HOST_A: &str = "iqn.2026-01.test:a";
pub const HOST_B: &str = "iqn.2026-01.test:b";

/// When the power goes: at which change of pool or catalogue, and whether that one still happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    Never,
    Before(usize),
    After(usize),
}

#[derive(Debug)]
pub struct Fuse {
    cut: PowerCut,
    steps: AtomicUsize,
    /// Cuts that are said to have been made before.
    pub cuts_taken: AtomicU32,
}

impl Fuse {
    fn step<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let step = self.steps.fetch_add(1, SeqCst);
        let dark = || Err(Error::new(ErrorCode::Io, "the power is cut"));
        match self.cut {
            PowerCut::Before(at) if step >= at => dark(),
            PowerCut::After(at) if step > at => dark(),
            PowerCut::After(at) if step == at => work().and_then(|_| dark()),
            _ => work(),
        }
    }

    pub fn steps(&self) -> usize {
        self.steps.load(SeqCst)
    }
}

struct FusedStore(ThinPoolStore, Arc<Fuse>);

impl LunStore for FusedStore {
    fn create(&self, id: ThinId) -> Result<()> {
        self.1.step(|| self.0.create(id))
    }
    fn open(&self, id: ThinId, size_bytes: u64) -> Result<Arc<dyn Volume>> {
        self.0.open(id, size_bytes)
    }
    fn hold(&self, ids: &[ThinId], lease: Duration) -> Result<Hold> {
        self.0.hold(ids, lease)
    }
    fn cut(&self, hold: &Hold, pairs: &[Snapshot]) -> Result<Cut> {
        self.1.step(|| self.0.cut(hold, pairs))
    }
    fn wait_durable(&self, cut: &Cut) -> Result<()> {
        self.1.step(|| self.0.wait_durable(cut))
    }
    fn delete(&self, id: ThinId) -> Result<()> {
        self.1.step(|| self.0.delete(id))
    }
    fn flush(&self) -> Result<()> {
        self.0.flush()
    }
    fn device_ids(&self) -> Result<Vec<ThinId>> {
        self.0.device_ids()
    }
    fn usage(&self) -> Usage {
        self.0.usage()
    }
    fn mapped_blocks(&self, id: ThinId) -> Result<u64> {
        self.0.mapped_blocks(id)
    }
    fn share(&self, wish: umbra_store::Share) -> Result<()> {
        self.1.step(|| self.0.share(wish))
    }
    fn changed(&self, old: ThinId, new: ThinId, from: u64) -> Result<umbra_store::Difference> {
        self.0.changed(old, new, from)
    }
    fn allocated(&self, id: ThinId, from: u64) -> Result<umbra_store::Difference> {
        self.0.allocated(id, from)
    }
    fn allow(&self, id: ThinId, allowance: umbra_store::Allowance) -> Result<()> {
        self.0.allow(id, allowance)
    }
    fn set_policy(&self, policy: Arc<dyn umbra_store::SpacePolicy>) {
        self.0.set_policy(policy);
    }
    fn extend(&self, to: umbra_store::Extend) -> Result<()> {
        self.1.step(|| self.0.extend(to))
    }
    fn cuts_left(&self) -> u32 {
        self.0.cuts_left() - self.1.cuts_taken.load(SeqCst)
    }
    fn end_waiting(&self) {
        self.0.end_waiting();
    }
    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }
    fn damage(&self) -> Vec<String> {
        self.0.damage()
    }
    fn data_file(&self) -> Option<Arc<fs::File>> {
        self.0.data_file()
    }
    fn close(&self) -> Result<()> {
        self.0.close()
    }
}

struct FusedCatalogue(SqliteCatalogue, Arc<Fuse>);

impl CatalogueStore for FusedCatalogue {
    fn read(&self) -> Arc<Catalogue> {
        self.0.read()
    }
    fn commit(&self, expected: u64, change: &Change) -> Result<Arc<Catalogue>> {
        self.1.step(|| self.0.commit(expected, change))
    }
}

/// A target that remembers what it was told, in order: `INITIATOR:NUMBER,NUMBER`, an `r` behind what is read-only.
#[derive(Debug, Default)]
pub struct Memory {
    told: Mutex<Vec<String>>,
    pub now: Mutex<BTreeMap<String, Vec<u16>>>,
    /// Held by a test: a command of a host is under way, and every fence waits for it.
    pub command: Mutex<()>,
    /// Fences that were begun.
    pub fences: AtomicUsize,
    /// What tokens keep.
    pub tokens: Mutex<Vec<Arc<Unit>>>,
}

impl Memory {
    /// What was told since the last look.
    pub fn log(&self) -> Vec<String> {
        mem::take(&mut self.told.lock().unwrap())
    }
}

impl Front for Memory {
    fn show(&self, initiator: &str, luns: Vec<Shown>) {
        self.fences.fetch_add(1, SeqCst);
        drop(lock(&self.command));
        let text =
            |lun: &Shown| format!("{}{}", lun.number, if lun.access == Access::ReadOnly { "r" } else { "" });
        let numbers: Vec<_> = luns.iter().map(text).collect();
        self.told.lock().unwrap().push(format!("{initiator}:{}", numbers.join(",")));
        self.now.lock().unwrap().insert(initiator.into(), luns.iter().map(|lun| lun.number).collect());
    }
    fn has_forgotten(&self, _: &str, _: u16) -> bool {
        true
    }
    fn drop_sessions(&self, _: &str) {}
    fn give_up_tokens(&self) -> bool {
        !mem::take(&mut *lock(&self.tokens)).is_empty()
    }
    fn sessions(&self) -> Vec<Session> {
        Vec::new()
    }
}

#[derive(Debug, Default)]
pub struct HandClock(AtomicU64);

impl HandClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(SeqCst))
    }
    fn unix(&self) -> UnixNanos {
        1_800_000_000_000_000_000 + self.0.load(SeqCst)
    }
}

pub struct Bench {
    pub dir: TempDir,
    pub array: Arc<Array>,
    pub front: Arc<Memory>,
    pub clock: Arc<HandClock>,
    pub fuse: Arc<Fuse>,
}

pub fn set_id(n: u128) -> String {
    id(n).to_string()
}

impl Bench {
    /// With hosts `a` and `b`.
    pub fn new() -> Bench {
        let bench = Bench::in_dir(tempfile::tempdir().unwrap(), PowerCut::Never).unwrap();
        bench.array.add_host(HostId(id(0xa)), "a".into(), HOST_A.into()).unwrap();
        bench.array.add_host(HostId(id(0xb)), "b".into(), HOST_B.into()).unwrap();
        bench
    }

    pub fn in_dir(dir: TempDir, cut: PowerCut) -> Result<Bench> {
        let fuse = Arc::new(Fuse { cut, steps: AtomicUsize::new(0), cuts_taken: AtomicU32::new(0) });
        let (front, clock) = (Arc::new(Memory::default()), Arc::new(HandClock::default()));
        let array = start(&dir, &fuse, &front, &clock)?;
        Ok(Bench { dir, array, front, clock, fuse })
    }

    /// The process dies here; what its files hold stays.
    pub fn die(self) -> TempDir {
        self.dir
    }

    /// The same, with the bench kept. Only [`Bench::try_start`] and the catalogue's file make sense from here.
    pub fn end(&mut self) {
        let elsewhere = Bench::in_dir(tempfile::tempdir().unwrap(), PowerCut::Never).unwrap();
        let Bench { array, .. } = elsewhere;
        self.array = array;
    }

    pub fn try_start(&mut self) -> Result<()> {
        self.array = start(&self.dir, &self.fuse, &self.front, &self.clock)?;
        Ok(())
    }

    fn catalogue_files(&self) -> [PathBuf; 3] {
        ["", "-wal", "-shm"].map(|suffix| self.dir.path().join(format!("catalogue.sqlite{suffix}")))
    }

    pub fn copy_catalogue(&self) -> Vec<Option<Vec<u8>>> {
        self.catalogue_files().iter().map(|path| fs::read(path).ok()).collect()
    }

    /// Puts other files there; what was there comes back.
    pub fn replace_catalogue(&self, files: Option<&[Option<Vec<u8>>]>) -> Vec<Option<Vec<u8>>> {
        let before = self.copy_catalogue();
        for (index, path) in self.catalogue_files().iter().enumerate() {
            let _missing = fs::remove_file(path);
            if let Some(Some(bytes)) = files.and_then(|files| files.get(index)) {
                fs::write(path, bytes).unwrap();
            }
        }
        before
    }

    pub fn new_lun(&self, n: u128, name: &str, size_bytes: u64) -> NewLun {
        NewLun {
            id: LunId(id(n)),
            name: name.into(),
            size_bytes,
            labels: Default::default(),
            expires_at: 0,
            reserve: Default::default(),
            quota_bytes: None,
        }
    }

    pub fn lun(&self, n: u128, name: &str) {
        self.array.create_lun(self.new_lun(n, name, 1 << 20)).unwrap();
    }

    pub fn new_set(&self, n: u128, luns: &[&str]) -> NewSet {
        NewSet {
            id: SetId(id(n)),
            origins: luns.iter().map(|lun| (*lun).to_owned()).collect(),
            copies: vec![],
            labels: Default::default(),
            expires_at: 0,
            transportable: true,
            volatile: false,
            extra_volumes: vec![],
        }
    }

    pub fn try_begin(&self, n: u128, luns: &[&str], lease: Duration) -> Result<Arc<SnapshotSet>> {
        self.array.begin_set("a", self.new_set(n, luns), lease).map(|(_, set)| set)
    }

    pub fn begin(&self, n: u128, luns: &[&str], lease: Duration) {
        self.try_begin(n, luns, lease).unwrap();
    }

    pub fn set(&self, n: u128, luns: &[&str]) {
        self.set_that(self.new_set(n, luns));
    }

    pub fn set_that(&self, new: NewSet) {
        let n = new.id.0.as_u128() & 0xffff_ffff;
        self.array.begin_set("a", new, Duration::ZERO).unwrap();
        self.array.cut_set(&set_id(n), Duration::from_secs(1)).unwrap();
        self.array.commit_set(&set_id(n)).unwrap();
    }

    pub fn host_name(&self, initiator: &str) -> String {
        self.array.host(initiator).unwrap().name.clone()
    }

    /// Lets the array decide what goes when the pool is full.
    pub fn give_up_what_is_expendable(&self) {
        let audit = Audit::open(&self.dir.path().join("audit.log"), self.clock.clone()).unwrap();
        self.array.store().set_policy(Arc::new(GiveUp::new(&self.array, Arc::new(audit))));
    }

    /// A LUN as the target has it.
    pub fn unit(&self, key: &str) -> Unit {
        let lun = self.array.lun(key).unwrap();
        let me = Arc::downgrade(&self.array);
        Unit::open(self.array.store(), thin_id(lun.thin), lun.size_bytes, me).unwrap()
    }

    pub fn volume(&self, key: &str) -> Arc<dyn Volume> {
        let lun = self.array.lun(key).unwrap();
        self.array.store().open(thin_id(lun.thin), lun.size_bytes).unwrap()
    }

    pub fn write(&self, key: &str, byte: u8) {
        self.volume(key).write(0, &[byte; 4096]).unwrap();
    }

    pub fn fill(&self, key: &str, bytes: u64) {
        self.try_fill(key, 0..bytes).unwrap();
    }

    /// Writes a range, a MiB at a time.
    pub fn try_fill(&self, key: &str, range: Range<u64>) -> Result<()> {
        let volume = self.volume(key);
        range.step_by(1 << 20).try_for_each(|offset| volume.write(offset, &vec![1; 1 << 20]))
    }

    pub fn read(&self, key: &str) -> u8 {
        self.read_thin(self.array.lun(key).unwrap().thin)
    }

    pub fn read_thin(&self, thin: Thin) -> u8 {
        let mut bytes = [0; 512];
        self.array.store().open(thin_id(thin), 1 << 20).unwrap().read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        bytes[0]
    }

    /// Does what the reaper would do with what it was given.
    pub fn bury(&self) {
        while let Some(thin) = self.array.reaper.take() {
            self.array.bury_thin(thin).unwrap();
            self.array.reaper.done();
        }
    }

    /// Does what the reaper would do.
    pub fn reap(&self) {
        let doomed: Vec<_> = self.array.catalogue().doomed.iter().copied().collect();
        doomed.into_iter().for_each(|thin| self.array.bury_thin(thin).unwrap());
    }

    pub fn pool(&self) -> BTreeSet<Thin> {
        self.array.store().device_ids().unwrap().into_iter().map(|id| Thin(id.0)).collect()
    }

    pub fn needed(&self) -> BTreeSet<Thin> {
        self.array.catalogue().needed_thins()
    }
}

fn start(dir: &TempDir, fuse: &Arc<Fuse>, front: &Arc<Memory>, clock: &Arc<HandClock>) -> Result<Arc<Array>> {
    let path = dir.path();
    // Nobody waits for room that only another thread could make.
    let thresholds = Thresholds { full_wait: Duration::ZERO, ..Thresholds::default() };
    let params = PoolParams { background: Background::Off, thresholds, ..PoolParams::new(64 << 20) };
    let store = FusedStore(ThinPoolStore::create_or_open(path, params)?, fuse.clone());
    let array = ArrayId(Uuid::from_u128(0x1234 << 100));
    let (catalogue, opened) = SqliteCatalogue::open(&path.join("catalogue.sqlite"), array, 1)?;
    let parts = Parts {
        catalogue: Arc::new(FusedCatalogue(catalogue, fuse.clone())),
        store: Arc::new(store),
        front: front.clone(),
        secrets: Arc::new(Secrets::open(&path.join("secrets"))?),
        clock: clock.clone(),
        thresholds,
    };
    Array::start(parts, opened)
}
