//! Runs that are recorded: what was done to a store on a disk that forgets, and when each thing began and was
//! acknowledged, counted in the disk's operations.
//!
//! Each write writes a token of its own to whole sectors, so that what is found later says which write it is of.

mod promise;
mod steps;

pub use promise::{After, Promise, density};

use crate::{
    sim::{Faults, SECTOR, Sim},
    support::share,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use umbra_base::{ErrorCode, Result};
use umbra_store::{
    Background, Extend, LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore, Thresholds, Volume,
    backing::BlockFile,
};

pub const BLOCK: u64 = 64 << 10;
pub const SIZE: u64 = 6 * BLOCK;
pub const SECTORS: usize = SIZE as usize / SECTOR;
/// Sectors of a block.
pub const PER_BLOCK: usize = BLOCK as usize / SECTOR;
pub const INCOMPAT_LOG: u32 = 1 << 31;
/// Of what never happened.
pub const NEVER: usize = usize::MAX;

/// The store on that disk, or why it does not open.
pub fn try_open(sim: &Sim, boot: u8) -> Result<ThinPoolStore> {
    try_open_with(sim, boot, false)
}

/// The same, also where the log is lost.
pub fn try_open_with(sim: &Sim, boot: u8, accept_lost_log: bool) -> Result<ThinPoolStore> {
    let thresholds = Thresholds { full_wait: Duration::ZERO, ..Thresholds::default() };
    let params =
        PoolParams { background: Background::Off, devices: 8, thresholds, ..PoolParams::new(40 * BLOCK) };
    let params = PoolParams { accept_lost_log, ..params };
    ThinPoolStore::on(sim.backing(boot), params)
}

pub fn open(sim: &Sim, boot: u8) -> ThinPoolStore {
    try_open(sim, boot).unwrap()
}

/// A content of a sector, and when it was being written.
#[derive(Clone, Copy)]
pub struct Version {
    pub token: u64,
    pub begun: usize,
    pub acknowledged: usize,
}

/// A time in the run: begun, done.
pub type Span = (usize, usize);

#[derive(Clone)]
pub struct Device {
    /// Sectors that it has as a LUN; the others hold zeroes.
    pub size: usize,
    pub sectors: Vec<Vec<Version>>,
    pub flushes: Vec<Span>,
    pub made: Span,
    pub gone: Option<Span>,
    /// Ranges of sectors that were written all or not at all, and by which version of each.
    pub atomic: Vec<Vec<(usize, usize)>>,
}

/// Sizes that the pool got: when, and how many blocks of data and metadata.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub span: Span,
    pub blocks: (u64, u64),
}

/// What operations of a run may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    Succeed,
    /// Where the pool has no room.
    BeRefused,
    Fail,
}

/// A run and what it did.
pub struct Run {
    pub sim: Sim,
    pub store: Option<ThinPoolStore>,
    pub devices: BTreeMap<u32, Device>,
    pub sizes: Vec<Sizes>,
    pub may: May,
    pub failures: usize,
    next_token: u64,
    random: u64,
}

/// By the direct door where that opens, as a shard does; if that fails, by the other.
fn write(volume: &dyn Volume, data: &dyn BlockFile, offset: u64, bytes: &[u8]) -> Result<()> {
    let mut extents = Vec::new();
    if let Some(ticket) = volume.direct_write(offset, bytes.len() as u64, &mut extents) {
        let mut rest = bytes;
        let written = extents.iter().try_for_each(|extent| {
            let (part, left) = rest.split_at(extent.len as usize);
            rest = left;
            data.write_at(part, extent.at.unwrap())
        });
        if volume.finish(ticket, written.is_ok()).is_ok() && written.is_ok() {
            return Ok(());
        }
    }
    volume.write(offset, bytes)
}

impl Run {
    /// On a new pool of so many blocks of metadata and data.
    pub fn on(blocks: (u64, u64), seed: u64, faults: Faults) -> Self {
        let sim = Sim::with_pool(blocks.0, blocks.1, BLOCK);
        let store = Some(open(&sim, 1));
        sim.set_faults(faults);
        let sizes = vec![Sizes { span: (0, 0), blocks: (blocks.1, blocks.0) }];
        let (devices, may) = (BTreeMap::new(), May::Succeed);
        Run { sim, store, devices, sizes, may, failures: 0, next_token: 1, random: seed }
    }

    /// On one that is never full.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::on((160, 60), seed, faults)
    }

    /// Another run on what this one left, which was closed; the store is there if it could be opened.
    pub fn going_on(&self, faults: Faults) -> Self {
        let sim = self.sim.copy();
        sim.set_faults(faults);
        let devices = self.devices.iter().map(|(id, device)| (*id, device.copied((0, 0)))).collect();
        let sizes = vec![Sizes { span: (0, 0), ..*self.sizes.last().unwrap() }];
        let store = try_open(&sim, 1).ok();
        let (next_token, random) = (self.next_token, self.random);
        Run { sim, store, devices, sizes, may: self.may, failures: 0, next_token, random }
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    pub fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// When an operation was acknowledged: never, if it failed, where it may.
    fn done<T>(&mut self, result: &Result<T>) -> usize {
        let Err(error) = result else { return self.sim.moment() };
        let full = error.code() == ErrorCode::InsufficientStorage;
        assert!(self.may == May::Fail || self.may == May::BeRefused && full, "{}", error.chain());
        self.failures += 1;
        NEVER
    }

    pub fn store(&self) -> &ThinPoolStore {
        self.store.as_ref().unwrap()
    }

    pub fn volume(&self, id: u32) -> Result<Arc<dyn Volume>> {
        let size = self.devices.get(&id).map_or(SECTORS, |device| device.size);
        self.store().open(ThinId(id), (size * SECTOR) as u64)
    }

    /// What the device may hold is what this says of each of its sectors.
    pub fn device(&mut self, id: u32) -> &mut Device {
        self.devices.get_mut(&id).unwrap()
    }

    /// Runs an operation and says when it ran.
    fn timed(&mut self, what: impl FnOnce(&ThinPoolStore) -> Result<()>) -> Span {
        let begun = self.sim.moment();
        let result = what(self.store());
        (begun, self.done(&result))
    }

    pub fn create(&mut self, id: u32) {
        let made = self.timed(|store| store.create(ThinId(id)));
        let zero = Version { token: 0, begun: made.0, acknowledged: made.0 };
        let sectors = vec![vec![zero]; SECTORS];
        let (size, flushes, atomic) = (SECTORS, Vec::new(), Vec::new());
        self.devices.insert(id, Device { size, sectors, flushes, made, gone: None, atomic });
    }

    /// Writes a token to sectors; token 0 discards them.
    pub fn change(&mut self, id: u32, first: usize, len: usize, token: u64) {
        let (offset, bytes) = ((first * SECTOR) as u64, len * SECTOR);
        let (volume, data) = (self.volume(id), self.sim.backing(1).data);
        let span = self.timed(|_| match token {
            0 => volume?.discard(offset, bytes as u64),
            _ => write(&*volume?, &*data, offset, &token.to_le_bytes().repeat(bytes / 8)),
        });
        self.note(id, first, &vec![token; len], span);
    }

    /// Makes zeroes of sectors by the call that says so, which is to do what a discard does.
    pub fn write_zeroes(&mut self, id: u32, first: usize, len: usize) {
        let volume = self.volume(id);
        let span = self.timed(|_| volume?.write_zeroes((first * SECTOR) as u64, (len * SECTOR) as u64));
        self.note(id, first, &vec![0; len], span);
    }

    /// Closes the store; then everything is durable. Says whether it could be closed.
    pub fn close(&mut self) -> bool {
        let span = self.timed(|store| store.close());
        self.live().into_iter().for_each(|id| self.device(id).flushes.push(span));
        span.1 != NEVER
    }

    /// Writes a token to all of the sectors, or to none.
    pub fn write_atomic(&mut self, id: u32, first: usize, len: usize, token: u64) {
        let volume = self.volume(id);
        let bytes = token.to_le_bytes().repeat(len * SECTOR / 8);
        let span = self.timed(|_| volume?.write_atomic((first * SECTOR) as u64, &bytes));
        self.note_atomic(id, first, &vec![token; len], span);
        if span.1 == NEVER {
            self.look_at(id);
        }
    }

    fn note(&mut self, id: u32, first: usize, tokens: &[u64], (begun, acknowledged): Span) {
        for (at, token) in (first..).zip(tokens) {
            self.device(id).sectors[at].push(Version { token: *token, begun, acknowledged });
        }
    }

    fn note_atomic(&mut self, id: u32, first: usize, tokens: &[u64], span: Span) {
        self.note(id, first, tokens, span);
        let device = self.device(id);
        let together = (first..first + tokens.len()).map(|at| (at, device.sectors[at].len() - 1)).collect();
        device.atomic.push(together);
    }

    /// Gives `to` the blocks of `from`: device, first block; unless nobody knows what those hold.
    pub fn share(&mut self, from: (u32, usize), to: (u32, usize), blocks: usize) {
        let first = from.1 * PER_BLOCK;
        let held = &self.devices[&from.0].sectors[first..first + blocks * PER_BLOCK];
        if held.iter().any(|versions| versions.last().unwrap().acknowledged == NEVER) {
            return;
        }
        let tokens: Vec<_> = held.iter().map(|versions| versions.last().unwrap().token).collect();
        let span = self.timed(|store| store.share(share(from, to, blocks)));
        self.note_atomic(to.0, to.1 * PER_BLOCK, &tokens, span);
        // Durable on return, and with it everything before.
        self.device(to.0).flushes.push((span.1, span.1));
    }

    pub fn flush(&mut self, id: u32) {
        let volume = self.volume(id);
        let span = self.timed(|_| volume?.flush());
        self.device(id).flushes.push(span);
    }

    /// Cuts all `origins`, each into a pristine and a working copy.
    pub fn cut(&mut self, origins: &[u32], first_copy: u32) {
        let mut pairs = Vec::new();
        for (origin, copy) in origins.iter().zip((first_copy..).step_by(2)) {
            pairs.push(Snapshot { origin: ThinId(*origin), copy: ThinId(copy) });
            pairs.push(Snapshot { origin: ThinId(copy), copy: ThinId(copy + 1) });
        }
        let held: Vec<_> = origins.iter().map(|id| ThinId(*id)).collect();
        let made = self.timed(|store| {
            let hold = store.hold(&held, Duration::from_secs(5))?;
            let cut = store.cut(&hold, &pairs)?;
            drop(hold);
            store.wait_durable(&cut)
        });
        for Snapshot { origin, copy } in pairs {
            let device = self.devices[&origin.0].copied(made);
            self.devices.insert(copy.0, device);
        }
    }

    pub fn delete(&mut self, id: u32) {
        let gone = self.timed(|store| store.delete(ThinId(id)));
        self.device(id).gone = Some(gone);
    }

    /// Grows the pool by so many blocks of data and metadata.
    pub fn extend(&mut self, data: u64, metadata: u64) {
        let (had_data, had_metadata) = self.sizes.last().unwrap().blocks;
        let blocks = (had_data + data, had_metadata + metadata);
        let to = Extend { data_bytes: Some(blocks.0 * BLOCK), metadata_bytes: Some(blocks.1 * 4096) };
        let span = self.timed(|store| store.extend(to));
        self.sizes.push(Sizes { span, blocks });
    }

    /// The same, while a token is written to sectors (device, first, how many) from the disk's operation number `at` on.
    pub fn extend_beside_a_write(
        &mut self,
        blocks: (u64, u64),
        at: usize,
        (id, first, len): (u32, usize, usize),
    ) {
        let (token, volume, sim) = (self.token(), self.volume(id), self.sim.clone());
        let beside = move || {
            let (begun, data) = (sim.moment(), sim.backing(1).data);
            let (offset, bytes) = ((first * SECTOR) as u64, token.to_le_bytes().repeat(len * SECTOR / 8));
            let written = volume.and_then(|volume| write(&*volume, &*data, offset, &bytes));
            (written, (begun, sim.moment()))
        };
        let ((), (written, (begun, end))) =
            self.sim.clone().beside(at, beside, || self.extend(blocks.0, blocks.1));
        let acknowledged = if self.done(&written) == NEVER { NEVER } else { end };
        self.note(id, first, &vec![token; len], (begun, acknowledged));
    }

    /// Gives a LUN more sectors.
    pub fn grow(&mut self, id: u32, sectors: usize) {
        let device = self.device(id);
        device.size = (device.size + sectors).min(SECTORS);
    }

    /// Reads a device while everything goes on: right, or an error where errors may be.
    pub fn look_at(&mut self, id: u32) {
        let mut bytes = vec![0; SIZE as usize];
        let result = self.store().open(ThinId(id), SIZE).and_then(|volume| volume.read(0, &mut bytes));
        if self.done(&result) != NEVER {
            self.devices[&id].check(id, &bytes, (NEVER - 1, NEVER - 1));
        }
    }

    /// The process dies and starts again.
    pub fn die(&mut self) {
        self.store = None;
        self.store = Some(open(&self.sim, 1));
    }

    pub fn live(&self) -> Vec<u32> {
        let lives = |device: &Device| device.gone.is_none() && device.made.1 != NEVER;
        self.devices.iter().filter(|(_, device)| lives(device)).map(|(id, _)| *id).collect()
    }
}

impl Device {
    /// A copy of what it holds by now. The cut's commit makes that durable, too.
    fn copied(&self, made: Span) -> Device {
        let latest = |versions: &Vec<Version>| {
            let first = versions.iter().rposition(|version| version.acknowledged != NEVER).unwrap_or(0);
            let unsure = versions[first + 1..].iter().map(|later| (later.token, NEVER));
            [(versions[first].token, made.0)]
                .into_iter()
                .chain(unsure)
                .map(|(token, acknowledged)| Version { token, begun: made.0, acknowledged })
                .collect()
        };
        let sectors = self.sectors.iter().map(latest).collect();
        Device { size: self.size, sectors, flushes: vec![made], made, gone: None, atomic: Vec::new() }
    }
}
