//! What a store must hold after a loss (A2): after that of the process every acknowledged write, after that of the
//! machine every flushed one; a sector never holds anything that was not written to it; what is atomic is there as a
//! whole or not at all; devices exist whole or not at all; the pool has one of the sizes that it may have; its
//! metadata is clean.

use super::{Device, INCOMPAT_LOG, NEVER, Run, SIZE, Version, try_open_with};
use crate::{
    judge::{Judges, check_image},
    sim::{Loss, META, Replay, SECTOR, Sim},
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use umbra_store::{LunStore, ThinId, ThinPoolStore};

/// At one of so many moments the recovery is lost again as well, unless more are asked for.
const RECOVERIES: usize = 64;
/// At one of so many moments `thin_check` is asked, too.
const JUDGED: usize = 32;

/// How many times as many moments are looked at, where not all of them are.
pub fn density() -> usize {
    std::env::var("UMBRA_SWEEP_DENSITY").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// How much must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Every acknowledged write.
    Acknowledged,
    /// Every flushed one.
    Flushed,
}

/// After what a store is opened.
#[derive(Debug, Clone, Copy)]
pub struct After {
    /// When it was lost; counted in the first run, also when the recovery was lost again.
    pub moment: usize,
    /// Identity of the kernel that it is opened under.
    pub boot: u8,
    pub promise: Promise,
}

impl After {
    /// The store as it is found then. Where only the process was lost, its log must be there.
    pub fn open(&self, disk: &Sim) -> ThinPoolStore {
        try_open_with(disk, self.boot, self.promise == Promise::Flushed).unwrap()
    }

    pub fn loss(moment: usize, loss: Loss) -> Self {
        match loss {
            Loss::Process => After { moment, boot: 1, promise: Promise::Acknowledged },
            Loss::Cache => After { moment, boot: 1, promise: Promise::Flushed },
            Loss::MachineNone | Loss::MachineSome(_) => After { moment, boot: 2, promise: Promise::Flushed },
        }
    }

    /// The same when there was another loss during recovery.
    fn and(self, loss: Loss) -> Self {
        match loss {
            Loss::Process => self,
            _ => After { boot: self.boot + 1, promise: Promise::Flushed, ..self },
        }
    }
}

impl Run {
    /// Panics unless a store opened on `disk` holds what was promised.
    pub fn check(&self, disk: &Sim, after: After, judges: Judges) {
        let store = after.open(disk);
        let moment = after.moment;
        check_image(disk.content(META).bytes(), judges, INCOMPAT_LOG);
        self.check_sizes(&store, moment);
        let ids: Vec<_> = store.device_ids().unwrap().iter().map(|id| id.0).collect();
        for (id, device) in &self.devices {
            let must = device.made.1 <= moment && device.gone.is_none_or(|gone| moment <= gone.0);
            let not_yet = moment <= device.made.0 && moment < device.made.1;
            let must_not = not_yet || device.gone.is_some_and(|gone| gone.1 <= moment);
            let found = ids.contains(id);
            assert!(found || !must, "device {id} is lost");
            assert!(!found || !must_not, "device {id} is there");
            if found {
                self.check_device(&store, *id, after);
            }
        }
        if moment.is_multiple_of(8) {
            empty_out(&store);
        }
    }

    fn check_sizes(&self, store: &ThinPoolStore, moment: usize) {
        let usage = store.usage();
        let done = self.sizes.iter().rposition(|sizes| sizes.span.1 <= moment).unwrap_or(0);
        let begun = self.sizes.iter().rposition(|sizes| sizes.span.0 < moment).unwrap_or(0).max(done);
        let (least, most) = (self.sizes[done].blocks, self.sizes[begun].blocks);
        assert!((least.0..=most.0).contains(&usage.data_total), "{usage:?}: {least:?} to {most:?}");
        assert!((least.1..=most.1).contains(&usage.metadata_total), "{usage:?}: {least:?} to {most:?}");
    }

    pub fn check_device(&self, store: &ThinPoolStore, id: u32, after: After) {
        let device = &self.devices[&id];
        let promised = match after.promise {
            Promise::Acknowledged => after.moment,
            Promise::Flushed => device.flushed_by(after.moment),
        };
        let mut bytes = vec![0; SIZE as usize];
        store.open(ThinId(id), SIZE).unwrap().read(0, &mut bytes).unwrap();
        device.check(id, &bytes, (promised, after.moment));
    }

    /// Both losses at every moment from `first` on, and again during recovery; at one of `every` moments.
    pub fn sweep_from(&self, first: usize, every: usize) {
        let mut replay = Replay::of(&self.sim);
        let recoveries = (RECOVERIES / density()).max(1);
        for moment in (first..=self.sim.moment()).step_by(every) {
            replay.advance(moment);
            for loss in [Loss::Process, Loss::MachineNone, Loss::MachineSome(self.random)] {
                let judges = if moment % JUDGED == 0 { Judges::AlsoThinCheck } else { Judges::Ours };
                let what = || {
                    let after = After::loss(moment, loss);
                    self.check(&replay.image(loss), after, judges);
                    if moment % recoveries == 0 {
                        self.sweep_recovery(&replay.image(loss), after);
                    }
                };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(what)) {
                    eprintln!("after {loss:?} at moment {moment} of {}", self.sim.moment());
                    resume_unwind(panic);
                }
            }
        }
    }

    /// From the moment on at which there is a device.
    pub fn sweep(&self, every: usize) {
        self.sweep_from(self.devices[&1].made.0, every);
    }

    /// Loses the process and the machine again while the first loss is being recovered from.
    pub fn sweep_recovery(&self, disk: &Sim, after: After) {
        let before = disk.moment();
        drop(after.open(disk));
        let mut replay = Replay::of(disk);
        for moment in before..=disk.moment() {
            replay.advance(moment);
            for loss in [Loss::Process, Loss::MachineNone, Loss::MachineSome(self.random)] {
                self.check(&replay.image(loss), after.and(loss), Judges::Ours);
            }
        }
    }
}

/// When every device is deleted nothing is in use any more: no loss costs space.
fn empty_out(store: &ThinPoolStore) {
    store.device_ids().unwrap().into_iter().for_each(|id| store.delete(id).unwrap());
    // Another deletion finishes those that were cut short.
    store.create(ThinId(9_999)).unwrap();
    store.delete(ThinId(9_999)).unwrap();
    assert_eq!(store.usage().data_used, 0, "blocks are lost");
}

impl Device {
    /// The moment up to which its writes were flushed at `moment`.
    fn flushed_by(&self, moment: usize) -> usize {
        let done = self.flushes.iter().filter(|(_, done)| *done <= moment);
        done.map(|(begun, _)| *begun).max().unwrap_or(0)
    }

    /// Panics unless `bytes` are what is allowed when everything acknowledged by `promised` must be there and nothing
    /// begun at `moment` or later can be.
    pub fn check(&self, id: u32, bytes: &[u8], (promised, moment): (usize, usize)) {
        let mut held = Vec::with_capacity(self.sectors.len());
        for (at, (sector, versions)) in bytes.chunks(SECTOR).zip(&self.sectors).enumerate() {
            let token = u64::from_le_bytes(sector[..8].try_into().unwrap());
            assert!(sector.chunks(8).all(|word| word == &sector[..8]), "device {id} sector {at} is torn");
            let allowed = allowed(versions, promised, moment);
            let found: Vec<_> =
                allowed.iter().copied().filter(|version| versions[*version].token == token).collect();
            assert!(
                !found.is_empty(),
                "device {id} sector {at} holds {token}, allowed are {:?}",
                allowed.iter().map(|version| versions[*version].token).collect::<Vec<_>>()
            );
            held.push(found);
        }
        self.atomic.iter().for_each(|together| check_atomic(id, together, &held));
    }
}

/// Which versions of a sector it may hold.
fn allowed(versions: &[Version], promised: usize, moment: usize) -> Vec<usize> {
    let sure = |version: &Version| version.acknowledged != NEVER && version.acknowledged <= promised;
    let first = versions.iter().rposition(sure).unwrap_or(0);
    let later = (first + 1..versions.len()).filter(|version| versions[*version].begun < moment);
    [first].into_iter().chain(later).collect()
}

/// Either every sector may hold the atomic version or a later one, or every one may hold another: a later one says
/// nothing of what was there before.
fn check_atomic(id: u32, together: &[(usize, usize)], held: &[Vec<usize>]) {
    let all_new = together.iter().all(|(at, version)| held[*at].iter().any(|held| held >= version));
    let all_old = together.iter().all(|(at, version)| held[*at].iter().any(|held| held != version));
    let (first, last) = (together[0].0, together[together.len() - 1].0);
    assert!(all_new || all_old, "device {id} sectors {first} to {last} are written in part");
}
