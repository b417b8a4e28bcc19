//! Loss of the process and of the machine at every write and flush of recorded runs, and again during recovery.
//!
//! A run writes tokens, each to a few sectors, and notes when it began and was acknowledged. After each loss the store
//! is opened again and must hold what A2 promises: after the loss of the process every acknowledged write, after that of
//! the machine every flushed one; a sector never holds anything that was not written to it; cuts exist whole or not at
//! all; the pool's metadata is clean. Negative controls: a lying flush of either file, and a log that forgets, must be
//! found out.

use crate::{
    judge::{Judges, check_image},
    sim::{DATA, Faults, LOG, Loss, META, SECTOR, Sim},
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use umbra_store::{Background, LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore, Volume};

const BLOCK: u64 = 64 << 10;
const SIZE: u64 = 6 * BLOCK;
const SECTORS: usize = SIZE as usize / SECTOR;
const INCOMPAT_LOG: u32 = 1 << 31;

fn open(sim: &Sim, boot: u8) -> ThinPoolStore {
    let params = PoolParams { background: Background::Off, devices: 8, ..PoolParams::new(40 * BLOCK) };
    ThinPoolStore::on(sim.backing(boot), params).unwrap()
}

/// A content of a sector, and when it was being written.
#[derive(Clone, Copy)]
struct Version {
    token: u64,
    begun: usize,
    acknowledged: usize,
}

#[derive(Clone)]
struct Device {
    sectors: Vec<Vec<Version>>,
    /// Flushes: begun, done.
    flushes: Vec<(usize, usize)>,
    /// Being made, being deleted: begun, done.
    made: (usize, usize),
    gone: Option<(usize, usize)>,
}

/// A run and what it did.
struct Run {
    sim: Sim,
    store: Option<ThinPoolStore>,
    devices: BTreeMap<u32, Device>,
    next_token: u64,
    random: u64,
    may_fail: bool,
}

impl Run {
    fn new(seed: u64, faults: Faults) -> Self {
        let sim = Sim::new();
        let store = Some(open(&sim, 1));
        sim.set_faults(faults);
        Run { sim, store, devices: BTreeMap::new(), next_token: 1, random: seed, may_fail: false }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    /// When an operation was acknowledged: never, if it failed, which only runs with injected errors may.
    fn done(&self, ok: bool) -> usize {
        assert!(ok || self.may_fail, "an operation failed");
        if ok { self.sim.moment() } else { usize::MAX }
    }

    fn store(&self) -> &ThinPoolStore {
        self.store.as_ref().unwrap()
    }

    fn volume(&self, id: u32) -> Arc<dyn Volume> {
        self.store().open(ThinId(id), SIZE).unwrap()
    }

    fn create(&mut self, id: u32) {
        let begun = self.sim.moment();
        let result = self.store().create(ThinId(id));
        let made = (begun, self.done(result.is_ok()));
        let zero = Version { token: 0, begun: made.0, acknowledged: made.0 };
        let sectors = vec![vec![zero]; SECTORS];
        self.devices.insert(id, Device { sectors, flushes: Vec::new(), made, gone: None });
    }

    fn change(&mut self, id: u32, first: usize, len: usize, token: u64) {
        let volume = self.volume(id);
        let begun = self.sim.moment();
        let (offset, bytes) = ((first * SECTOR) as u64, len * SECTOR);
        let result = match token {
            0 => volume.discard(offset, bytes as u64),
            _ => volume.write(offset, &token.to_le_bytes().repeat(bytes / 8)),
        };
        let version = Version { token, begun, acknowledged: self.done(result.is_ok()) };
        let device = self.devices.get_mut(&id).unwrap();
        device.sectors[first..first + len].iter_mut().for_each(|versions| versions.push(version));
    }

    fn flush(&mut self, id: u32) {
        let begun = self.sim.moment();
        let result = self.volume(id).flush();
        let done = self.done(result.is_ok());
        self.devices.get_mut(&id).unwrap().flushes.push((begun, done));
    }

    /// Cuts all `origins`, each into a pristine and a working copy.
    fn cut(&mut self, origins: &[u32], first_copy: u32) {
        let mut pairs = Vec::new();
        for (origin, copy) in origins.iter().zip((first_copy..).step_by(2)) {
            pairs.push(Snapshot { origin: ThinId(*origin), copy: ThinId(copy) });
            pairs.push(Snapshot { origin: ThinId(copy), copy: ThinId(copy + 1) });
        }
        let held: Vec<_> = origins.iter().map(|id| ThinId(*id)).collect();
        let Ok(hold) = self.store().hold(&held, Duration::from_secs(5)) else {
            return assert!(self.may_fail);
        };
        let begun = self.sim.moment();
        let result = self.store().cut(&hold, &pairs);
        drop(hold);
        let result = result.and_then(|cut| self.store().wait_durable(&cut));
        let made = (begun, self.done(result.is_ok()));
        for Snapshot { origin, copy } in pairs {
            let latest = |versions: &Vec<Version>| {
                vec![Version { token: versions.last().unwrap().token, begun: made.0, acknowledged: made.0 }]
            };
            let sectors = self.devices[&origin.0].sectors.iter().map(latest).collect();
            // The cut's commit makes its content durable, too.
            let device = Device { sectors, flushes: vec![made], made, gone: None };
            self.devices.insert(copy.0, device);
        }
    }

    fn delete(&mut self, id: u32) {
        let begun = self.sim.moment();
        let result = self.store().delete(ThinId(id));
        self.devices.get_mut(&id).unwrap().gone = Some((begun, self.done(result.is_ok())));
    }

    fn live(&self) -> Vec<u32> {
        self.devices.iter().filter(|(_, device)| device.gone.is_none()).map(|(id, _)| *id).collect()
    }

    fn step(&mut self, next_copy: &mut u32) {
        let live = self.live();
        let id = live[self.random(live.len() as u64) as usize];
        match self.random(20) {
            0..=9 => {
                let first = self.random(SECTORS as u64) as usize;
                let longest = [8, 40, 300][self.random(3) as usize].min(SECTORS - first);
                let len = 1 + self.random(longest as u64) as usize;
                let token = self.next_token;
                self.next_token += 1;
                self.change(id, first, len, token);
            }
            10..=11 => {
                let block = SECTORS / 6;
                let first = self.random(SECTORS as u64 - 1) as usize / 64 * 64;
                let len = (block + self.random(100) as usize).min(SECTORS - first);
                self.change(id, first, len, 0);
            }
            12..=15 => self.flush(id),
            16 if live.len() < 6 => {
                self.cut(&[1, 2], *next_copy);
                *next_copy += 4;
            }
            17 if id > 2 => self.delete(id),
            18 => {
                // The process dies and starts again.
                self.store = None;
                self.store = Some(open(&self.sim, 1));
            }
            _ => self.flush(1),
        }
    }

    fn play(seed: u64, steps: usize, faults: Faults) -> Self {
        let mut run = Run::new(seed, faults);
        run.create(1);
        run.create(2);
        let mut next_copy = 10;
        (0..steps).for_each(|_| run.step(&mut next_copy));
        run
    }

    /// Panics unless a store opened after the loss at `moment` holds what was promised. `moment` counts in the first
    /// run, also when the recovery was lost again.
    fn check(&self, after: &Sim, moment: usize, loss: Loss, judges: Judges) {
        let boot = if matches!(loss, Loss::Process) { 1 } else { 2 };
        let store = open(after, boot);
        check_image(after.content(META).bytes(), judges, INCOMPAT_LOG);
        let ids: Vec<_> = store.device_ids().unwrap().iter().map(|id| id.0).collect();
        for (id, device) in &self.devices {
            let must = device.made.1 <= moment && device.gone.is_none_or(|gone| moment <= gone.0);
            let must_not = moment <= device.made.0 || device.gone.is_some_and(|gone| gone.1 <= moment);
            let found = ids.contains(id);
            assert!(found || !must, "device {id} is lost");
            assert!(!found || !must_not, "device {id} is there");
            if found {
                self.check_device(&store, *id, moment, loss);
            }
        }
    }

    fn check_device(&self, store: &ThinPoolStore, id: u32, moment: usize, loss: Loss) {
        let device = &self.devices[&id];
        let promised = match loss {
            Loss::Process => moment,
            _ => device
                .flushes
                .iter()
                .filter(|(_, done)| *done <= moment)
                .map(|(begun, _)| *begun)
                .max()
                .unwrap_or(0),
        };
        let mut bytes = vec![0; SIZE as usize];
        store.open(ThinId(id), SIZE).unwrap().read(0, &mut bytes).unwrap();
        for (at, (sector, versions)) in bytes.chunks(SECTOR).zip(&device.sectors).enumerate() {
            let token = u64::from_le_bytes(sector[..8].try_into().unwrap());
            assert!(sector.chunks(8).all(|word| word == &sector[..8]), "device {id} sector {at} is torn");
            let first = versions.iter().rposition(|version| version.acknowledged <= promised).unwrap_or(0);
            let later = versions[first + 1..].iter().filter(|version| version.begun < moment);
            let allowed: Vec<_> = [&versions[first]].into_iter().chain(later).map(|v| v.token).collect();
            assert!(
                allowed.contains(&token),
                "device {id} sector {at} holds {token}, allowed are {allowed:?}"
            );
        }
    }

    fn sweep(&self, every: usize) {
        for moment in (self.first_moment()..=self.sim.moment()).step_by(every) {
            for loss in [Loss::Process, Loss::MachineNone, Loss::MachineSome(self.random)] {
                let after = self.sim.after(moment, loss);
                let judges = if moment % 16 == 0 { Judges::AlsoThinCheck } else { Judges::Ours };
                let what = || self.check(&after, moment, loss, judges);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(what)) {
                    eprintln!("after {loss:?} at moment {moment} of {}", self.sim.moment());
                    std::panic::resume_unwind(panic);
                }
                if moment % 64 == 0 {
                    self.sweep_recovery(&self.sim.after(moment, loss), moment, loss);
                }
            }
        }
    }

    /// Loses the process and the machine again while the first loss is being recovered from.
    fn sweep_recovery(&self, after: &Sim, moment: usize, first: Loss) {
        let before = after.moment();
        drop(open(after, if matches!(first, Loss::Process) { 1 } else { 2 }));
        for second in before..=after.moment() {
            for loss in [Loss::Process, Loss::MachineSome(self.random)] {
                let twice = after.after(second, loss);
                let worse = if matches!(first, Loss::Process) { loss } else { first };
                self.check(&twice, moment, worse, Judges::Ours);
            }
        }
    }

    /// The first moment at which there is a pool: making it is another test.
    fn first_moment(&self) -> usize {
        self.devices[&1].made.0
    }
}

#[test]
fn every_loss_of_process_and_machine_keeps_what_was_promised() {
    // UMBRA_SWEEP_SEEDS=20 for a long one.
    let seeds = std::env::var("UMBRA_SWEEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in 1..=seeds {
        Run::play(seed, 40, Faults::default()).sweep(1);
    }
}

#[test]
fn a_pool_that_was_being_made_is_made_anew() {
    let sim = Sim::new();
    drop(open(&sim, 1));
    for moment in 0..=sim.moment() {
        for loss in [Loss::Process, Loss::MachineNone, Loss::MachineSome(7)] {
            let after = sim.after(moment, loss);
            let store = open(&after, 2);
            store.create(ThinId(1)).unwrap();
            store.close().unwrap();
            check_image(after.content(META).bytes(), Judges::Ours, 0);
        }
    }
}

/// Negative controls: the sweep must notice each of these.
fn must_be_found_out(faults: Faults) {
    let run = catch_unwind(|| Run::play(1, 40, faults).sweep(1));
    assert!(run.is_err(), "the sweep did not notice");
}

#[test]
fn a_lying_flush_of_the_data_is_found_out() {
    must_be_found_out(Faults { lying_flush: Some(DATA), ..Faults::default() });
}

#[test]
fn a_lying_flush_of_the_metadata_is_found_out() {
    must_be_found_out(Faults { lying_flush: Some(META), ..Faults::default() });
}

#[test]
fn a_log_that_forgets_is_found_out() {
    must_be_found_out(Faults { lost_writes: Some(LOG), ..Faults::default() });
}

/// Writes and discards, and notes what was when: sector, version.
fn write_and_note(sim: &Sim, volume: &Arc<dyn Volume>, salt: u64) -> Vec<(usize, Version)> {
    let mut done = Vec::new();
    for i in 1..60 {
        let first = ((i * 37 + salt) % 6) as usize * 128 + (i % 5) as usize;
        let token = salt * 1000 + i;
        let begun = sim.moment();
        if i % 7 == 0 {
            volume.discard((first / 128) as u64 * BLOCK, BLOCK).unwrap();
            let version = Version { token: 0, begun, acknowledged: sim.moment() };
            done.extend((first / 128 * 128..first / 128 * 128 + 128).map(|at| (at, version)));
        } else {
            volume.write((first * SECTOR) as u64, &token.to_le_bytes().repeat(SECTOR / 8)).unwrap();
            done.push((first, Version { token, begun, acknowledged: sim.moment() }));
        }
    }
    done
}

/// Two writers, each with a device of its own, while a third thread commits: records are logged while a commit is being
/// written, so that both segments of the log are needed after a loss.
#[test]
fn losses_while_writers_and_commits_overlap_keep_what_was_promised() {
    let mut run = Run::new(3, Faults::default());
    run.create(1);
    run.create(2);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let store = run.store.take().unwrap();
    let volumes = [1, 2].map(|id| store.open(ThinId(id), SIZE).unwrap());
    let sim = run.sim.clone();
    let (store, stop) = (&store, &stop);
    let changes: Vec<Vec<(usize, Version)>> = std::thread::scope(|scope| {
        let committer = scope.spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                store.flush().unwrap();
            }
        });
        let writers = [0, 1]
            .map(|i| (i, sim.clone(), volumes[i].clone()))
            .map(|(i, sim, volume)| scope.spawn(move || write_and_note(&sim, &volume, 1 + i as u64)));
        let changes = writers.map(|writer| writer.join().unwrap());
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        committer.join().unwrap();
        changes.into()
    });
    for (id, changes) in [1, 2].into_iter().zip(changes) {
        let device = run.devices.get_mut(&id).unwrap();
        changes.into_iter().for_each(|(at, version)| device.sectors[at].push(version));
    }
    run.sweep(run.sim.moment() / 100 + 1);
}

/// What is written while a commit is on its way stands in the log's next segment; after a loss of the process in
/// that time both segments are needed.
#[test]
fn writes_during_a_commit_survive_the_death_of_the_process() {
    let mut run = Run::new(5, Faults::default());
    run.create(1);
    run.create(2);
    let notes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (volume, sim, noted) = (run.volume(2), run.sim.clone(), notes.clone());
    run.sim.set_hook(Some(Arc::new(move |file| {
        if file == META {
            let mut noted = noted.lock().unwrap();
            let (first, token) = (noted.len() * 70, 500 + noted.len() as u64);
            let begun = sim.moment();
            volume.write((first * SECTOR) as u64, &token.to_le_bytes().repeat(SECTOR / 8)).unwrap();
            noted.push((first, Version { token, begun, acknowledged: sim.moment() }));
        }
    })));
    for round in 0..4 {
        run.change(1, round * 130, 20, 10 + round as u64);
        run.flush(1);
    }
    run.sim.set_hook(None);
    let device = run.devices.get_mut(&2).unwrap();
    notes.lock().unwrap().iter().for_each(|(at, version)| device.sectors[*at].push(*version));
    run.sweep(1);
    for moment in run.devices[&2].made.1..=run.sim.moment() {
        die_again_after_recovery(&run.sim.after(moment, Loss::Process), moment);
    }
}

/// Segments that a recovery entered must not stand in the way of the next one.
fn die_again_after_recovery(sim: &Sim, moment: usize) {
    let last = SIZE - SECTOR as u64;
    for round in 1..3u8 {
        let store = open(sim, 1);
        let volume = store.open(ThinId(2), SIZE).unwrap();
        volume.discard(last / BLOCK * BLOCK, BLOCK).unwrap();
        volume.write(last, &[round; SECTOR]).unwrap();
        drop((volume, store));
        let mut sector = [0; SECTOR];
        let store = open(sim, 1);
        store.open(ThinId(2), SIZE).unwrap().read(last, &mut sector).unwrap();
        assert_eq!(sector, [round; SECTOR], "after the loss at moment {moment}");
    }
}

/// A short run that meets every kind of operation.
fn short_run(run: &mut Run) {
    run.create(1);
    run.create(2);
    if run.devices.values().any(|device| device.made.1 == usize::MAX) {
        return;
    }
    run.change(1, 5, 300, 11);
    run.change(2, 128, 128, 12);
    run.flush(1);
    run.cut(&[1, 2], 10);
    run.change(1, 0, 10, 13);
    run.change(1, 128, 140, 0);
    run.change(2, 130, 1, 14);
    run.flush(2);
    run.change(2, 131, 1, 15);
    if run.devices.get(&10).is_some_and(|device| device.made.1 != usize::MAX) {
        run.delete(10);
    }
    run.change(1, 500, 100, 16);
    run.flush(1);
}

#[test]
fn an_error_at_any_operation_leaves_right_data_and_a_clean_pool() {
    for at in 0.. {
        let mut run = Run::new(4, Faults { fail_at: Some(at), ..Faults::default() });
        run.may_fail = true;
        short_run(&mut run);
        let mut failed = run.devices.values().any(|device| device.made.1 == usize::MAX);
        let store = run.store.take().unwrap();
        for (id, device) in &run.devices {
            failed |= device.sectors.iter().flatten().any(|version| version.acknowledged == usize::MAX);
            failed |= device.flushes.iter().any(|flush| flush.1 == usize::MAX);
            if store.device_ids().unwrap().contains(&ThinId(*id)) {
                run.check_device(&store, *id, usize::MAX - 1, Loss::Process);
            }
        }
        drop(store);
        run.sim.set_faults(Faults::default());
        // What was acknowledged but not flushed may be gone: its flush failed.
        let moment = run.sim.moment();
        let after = run.sim.after(moment, Loss::Process);
        let store = open(&after, 1);
        check_image(after.content(META).bytes(), Judges::Ours, INCOMPAT_LOG);
        for (id, device) in run.devices.iter().filter(|(_, device)| device.made.1 != usize::MAX) {
            if device.gone.is_none() {
                run.check_device(&store, *id, moment, Loss::MachineNone);
            }
        }
        if !failed && run.devices.values().all(|device| device.gone.is_none_or(|gone| gone.1 != usize::MAX)) {
            assert!(at > 40, "the run ended before the error came: {at}");
            return;
        }
    }
}
