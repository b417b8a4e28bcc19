//! A random history: processes that open the store, work, and end in one of three ways; after each the next one finds
//! what it must.

use crate::{
    disk::{Dice, Flaw, Machine},
    judge::{self, Log},
    model::{Content, Model, UNIT, UNITS, bytes_of},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};
use umbra_base::{Error, ErrorCode};
use umbra_store::{Background, LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore, Thresholds, Volume};

const BLOCK: u64 = 64 << 10;
/// Small enough that histories fill the pool at times.
const POOL_BLOCKS: u64 = 110;
const ORIGINS: u64 = 4;
const COPIES: Range<u64> = 10..22;
const PROCESSES: usize = 4;
const STEPS: u64 = 60;

/// How the processes of a history end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Close,
    Death,
    PowerLoss,
}

pub struct History {
    ending: Ending,
    /// How the process before ended.
    before: Ending,
    dice: Dice,
    machine: Machine,
    model: Model,
    next_value: u64,
}

/// When a volume is looked at: what it may hold depends on it, and at work nothing is known to be durable by a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    AfterLoss,
    AfterStart,
    AtWork,
}

/// One process: an open store.
struct Process {
    store: ThinPoolStore,
    volumes: BTreeMap<u32, Arc<dyn Volume>>,
}

impl History {
    pub fn new(seed: u64, ending: Ending, flaw: Flaw) -> History {
        let (machine, model) = (Machine::new(flaw), Model::default());
        History { ending, before: Ending::Close, dice: Dice::new(seed), machine, model, next_value: 1 }
    }

    pub fn run(mut self) {
        for _ in 0..PROCESSES {
            if self.ending != Ending::Close {
                // Some die while they open, most at work.
                let longest = if self.dice.below(4) == 0 { 25 } else { 400 };
                self.machine.die_after(1 + self.dice.below(longest));
            }
            self.one_process();
        }
        self.ending = Ending::Close;
        self.one_process();
    }

    fn one_process(&mut self) {
        let Some(mut process) = self.open() else { return self.end(None) };
        self.find_what_must_be_there(&mut process);
        for _ in 0..STEPS {
            if self.machine.is_dead() {
                break;
            }
            self.step(&mut process);
        }
        self.end(Some(process));
    }

    fn open(&mut self) -> Option<Process> {
        // Nobody would make room while a write waits for it.
        let thresholds = Thresholds { full_wait: Duration::ZERO, ..Thresholds::default() };
        let pool = PoolParams::new(POOL_BLOCKS * BLOCK);
        let params = PoolParams { background: Background::Off, devices: 16, thresholds, ..pool };
        match ThinPoolStore::on(self.machine.backing(), params) {
            Ok(store) => Some(Process { store, volumes: BTreeMap::new() }),
            Err(error) => {
                assert!(self.machine.is_dead(), "the store does not open: {error:?}");
                None
            }
        }
    }

    fn end(&mut self, process: Option<Process>) {
        self.before = self.ending;
        match self.ending {
            Ending::Close => process.unwrap().store.close().unwrap(),
            Ending::Death => self.machine.restart(),
            Ending::PowerLoss => {
                self.machine.lose_power(&mut self.dice);
            }
        }
        let metadata = self.machine.metadata();
        let unformatted = metadata.len() < 4096 || metadata[..4096].iter().all(|byte| *byte == 0);
        if unformatted && self.ending != Ending::Close {
            return;
        }
        let log = if self.ending == Ending::Close { Log::MustNot } else { Log::May };
        judge::ours(&metadata, self.machine.data_bytes() / BLOCK, log);
        if self.dice.below(4) == 0 || self.ending == Ending::Close {
            judge::debians(&metadata);
        }
    }

    /// Every device is there, nothing else is, and each holds what was promised. What was open is settled.
    fn find_what_must_be_there(&mut self, process: &mut Process) {
        let Ok(found) = process.store.device_ids() else { return };
        let mut unsure = std::mem::take(&mut self.model.unsure);
        for ThinId(id) in &found {
            if !self.model.volumes.contains_key(id) {
                let content = unsure.remove(id).unwrap_or_else(|| panic!("device {id} should not be there"));
                self.model.volumes.insert(*id, content);
            }
        }
        self.model.volumes.retain(|id, _| found.contains(&ThinId(*id)) || !unsure.contains_key(id));
        let loss = self.before == Ending::PowerLoss;
        for id in self.model.volumes.keys().copied().collect::<Vec<_>>() {
            assert!(found.contains(&ThinId(id)), "device {id} is gone");
            if !self.verify(process, id, if loss { Look::AfterLoss } else { Look::AfterStart }) {
                // It died while it was read; the next one looks again.
                self.model.unsure = unsure;
                return;
            }
        }
    }

    /// Reads a volume as a whole. False if the process died over it.
    fn verify(&mut self, process: &mut Process, id: u32, look: Look) -> bool {
        let mut bytes = vec![0; UNITS * UNIT as usize];
        let read = volume(process, id).and_then(|volume| volume.read(0, &mut bytes));
        if let Err(error) = read {
            assert!(self.machine.is_dead(), "device {id} cannot be read: {error:?}");
            return false;
        }
        let content = self.model.volumes.get_mut(&id).unwrap();
        for (unit, bytes) in bytes.chunks(UNIT as usize).enumerate() {
            // Sectors of a unit may differ where a write of it was cut off.
            let mut found = BTreeSet::new();
            for sector in bytes.chunks(512) {
                let value = u64::from_le_bytes(sector[..8].try_into().unwrap());
                found.insert(value);
                let whole = sector[8..] == sector[..504];
                assert!(whole, "device {id} unit {unit}: a sector is torn");
                let good = match look {
                    Look::AfterLoss => content.allows_after_loss(unit, value),
                    Look::AfterStart | Look::AtWork => content.allows(unit, value),
                };
                assert!(good, "device {id} unit {unit} holds {value}, expected {}", content.expected(unit));
            }
            if look != Look::AtWork {
                content.settle(unit, found);
            }
        }
        true
    }

    fn step(&mut self, process: &mut Process) {
        match self.dice.below(100) {
            0..45 => self.set(process, Set::Write),
            45..52 => self.set(process, Set::Discard),
            52..57 => self.set(process, Set::Zeroes),
            57..65 => self.flush(process),
            65..68 => self.flush_all(process),
            68..74 => self.create(process),
            74..86 => self.cut(process),
            86..93 => self.delete(process),
            _ => {
                if let Some(id) = self.pick() {
                    self.verify(process, id, Look::AtWork);
                }
            }
        }
    }

    fn pick(&mut self) -> Option<u32> {
        let sure: Vec<u32> =
            self.model.volumes.keys().copied().filter(|id| !self.model.unsure.contains_key(id)).collect();
        (!sure.is_empty()).then(|| sure[self.dice.below(sure.len() as u64) as usize])
    }

    /// Only death, or a full pool, may stop a call.
    fn tolerate(&self, what: &str, error: &Error) {
        let full = error.code() == ErrorCode::InsufficientStorage;
        assert!(full || self.machine.is_dead(), "{what}: {error:?}");
    }

    fn set(&mut self, process: &mut Process, how: Set) {
        let Some(id) = self.pick() else { return };
        let start = self.dice.below(UNITS as u64) as usize;
        let longest = if self.dice.below(4) == 0 { 16 * 6 } else { 8 };
        let len = (1 + self.dice.below(longest) as usize).min(UNITS - start);
        let value = if how == Set::Write { self.next_value } else { 0 };
        self.next_value += 1;
        let content = self.model.volumes.get_mut(&id).unwrap();
        content.begin(start..start + len, value);
        let (offset, bytes) = (start as u64 * UNIT, len as u64 * UNIT);
        let done = volume(process, id).and_then(|volume| match how {
            Set::Write => volume.write(offset, &bytes_of(value).repeat(len)),
            Set::Discard => volume.discard(offset, bytes),
            Set::Zeroes => volume.write_zeroes(offset, bytes),
        });
        match done {
            Ok(()) => self.model.volumes.get_mut(&id).unwrap().acknowledge(start..start + len, value),
            Err(error) => self.tolerate("change a volume", &error),
        }
    }

    fn flush(&mut self, process: &mut Process) {
        let Some(id) = self.pick() else { return };
        match volume(process, id).and_then(|volume| volume.flush()) {
            Ok(()) => self.model.volumes.get_mut(&id).unwrap().flushed(),
            Err(error) => self.tolerate("flush a volume", &error),
        }
    }

    fn flush_all(&mut self, process: &mut Process) {
        match process.store.flush() {
            Ok(()) => self.model.volumes.values_mut().for_each(Content::flushed),
            Err(error) => self.tolerate("flush the store", &error),
        }
    }

    fn create(&mut self, process: &mut Process) {
        let id = self.dice.below(ORIGINS) as u32;
        if self.model.volumes.contains_key(&id) || self.model.unsure.contains_key(&id) {
            return;
        }
        match process.store.create(ThinId(id)) {
            Ok(()) => drop(self.model.volumes.insert(id, Content::default())),
            Err(error) => {
                self.tolerate("create", &error);
                if self.machine.is_dead() {
                    self.model.unsure.insert(id, Content::default());
                }
            }
        }
    }

    /// A group of pairs, some of them copies of a copy made in the same cut.
    fn cut(&mut self, process: &mut Process) {
        let mut pairs: Vec<Snapshot> = Vec::new();
        let mut made = BTreeMap::new();
        for _ in 0..1 + self.dice.below(3) {
            let copy = (COPIES.start + self.dice.below(COPIES.end - COPIES.start)) as u32;
            let Some(origin) = self.pick() else { return };
            let origin = match pairs.last() {
                Some(last) if self.dice.below(2) == 0 => last.copy,
                _ => ThinId(origin),
            };
            let taken = self.model.volumes.contains_key(&copy) || self.model.unsure.contains_key(&copy);
            if taken || made.contains_key(&copy) {
                continue;
            }
            let content = made.get(&origin.0).unwrap_or_else(|| &self.model.volumes[&origin.0]).clone();
            made.insert(copy, content);
            pairs.push(Snapshot { origin, copy: ThinId(copy) });
        }
        if pairs.is_empty() {
            return;
        }
        match cut(process, &pairs, &made) {
            Ok(()) => {
                // What is in a durable cut is durable, in the copy and in the origin as well.
                for (id, mut content) in made {
                    content.flushed();
                    self.model.volumes.insert(id, content);
                }
            }
            Err(error) => {
                self.tolerate("cut", &error);
                if self.machine.is_dead() {
                    made.iter_mut().for_each(|(_, content)| content.flushed());
                    self.model.unsure.extend(made);
                }
            }
        }
    }

    fn delete(&mut self, process: &mut Process) {
        let Some(id) = self.pick() else { return };
        process.volumes.remove(&id);
        match process.store.delete(ThinId(id)) {
            Ok(()) => drop(self.model.volumes.remove(&id)),
            Err(error) => {
                self.tolerate("delete", &error);
                if self.machine.is_dead() {
                    let content = self.model.volumes[&id].clone();
                    self.model.unsure.insert(id, content);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Write,
    Discard,
    Zeroes,
}

fn volume(process: &mut Process, id: u32) -> Result<Arc<dyn Volume>, Error> {
    if let Some(volume) = process.volumes.get(&id) {
        return Ok(volume.clone());
    }
    let volume = process.store.open(ThinId(id), UNITS as u64 * UNIT)?;
    process.volumes.insert(id, volume.clone());
    Ok(volume)
}

fn cut(process: &Process, pairs: &[Snapshot], made: &BTreeMap<u32, Content>) -> Result<(), Error> {
    let held: Vec<ThinId> =
        pairs.iter().map(|pair| pair.origin).filter(|origin| !made.contains_key(&origin.0)).collect();
    let hold = process.store.hold(&held, Duration::from_secs(10))?;
    let cut = process.store.cut(&hold, pairs)?;
    drop(hold);
    process.store.wait_durable(&cut)
}
