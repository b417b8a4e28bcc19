//! A store on real files, its model, and the rounds that both go through.

use super::{
    book::{BLOCK, BLOCKS, Change, Clock, Cut, PER_BLOCK, Round, SECTORS, Tokens, WORKERS},
    judged::{Verdicts, judged},
    worker::{Dice, SIZE, Worker, tokens},
};
use crate::{
    sim::{META, Sim},
    support::share,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use umbra_store::{
    Background, Extend, LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore, Volume, backing::Backing,
};

/// Devices that are written.
const ORIGINS: u32 = 3;
const STEPS: usize = 60;
const CUTS_IN_A_ROUND: usize = 3;
const COPIES_KEPT: usize = 6;

/// How several devices are cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cuts {
    AtOnce,
    /// One after the other, which is wrong.
    OneByOne,
}

pub struct World {
    dir: tempfile::TempDir,
    cuts_are: Cuts,
    verdicts: Arc<Verdicts>,
    store: Option<ThinPoolStore>,
    dice: Dice,
    clock: Clock,
    next_copy: u32,
    /// What every device holds, and which blocks of it are mapped.
    pub(super) holds: BTreeMap<u32, Tokens>,
    pub(super) mapped: BTreeMap<u32, Vec<bool>>,
    /// Cuts whose copies are there, and everything that ever happened to a block, for what changed between them.
    pub(super) cuts: Vec<Cut>,
    pub(super) touched: Vec<Change>,
    size: (u64, u64),
}

impl World {
    pub fn new(seed: u64, cuts_are: Cuts) -> World {
        let dir = tempfile::tempdir().unwrap();
        // So small that looking at every commit takes no time.
        let size = (400, 300);
        let made = Sim::with_pool(size.1, size.0, BLOCK as u64);
        std::fs::write(dir.path().join("pool.meta"), made.content(META).bytes()).unwrap();
        let data = std::fs::File::create(dir.path().join("pool.data")).unwrap();
        data.set_len(size.0 * BLOCK as u64).unwrap();
        let mut world = World {
            dir,
            cuts_are,
            verdicts: Arc::default(),
            store: None,
            dice: Dice::new(seed),
            clock: Clock::default(),
            next_copy: 100,
            holds: BTreeMap::new(),
            mapped: BTreeMap::new(),
            cuts: Vec::new(),
            touched: Vec::new(),
            size,
        };
        world.open();
        for id in 1..=ORIGINS {
            world.store().create(ThinId(id)).unwrap();
            world.holds.insert(id, vec![0; SECTORS]);
            world.mapped.insert(id, vec![false; BLOCKS]);
        }
        world
    }

    fn open(&mut self) {
        let background = Background::Every(Duration::from_millis(3));
        let params = PoolParams { background, devices: 8, ..PoolParams::new(1 << 20) };
        let backing = judged(Backing::in_dir(self.dir.path()).unwrap(), &self.verdicts);
        self.store = Some(ThinPoolStore::on(backing, params).unwrap());
    }

    pub(super) fn store(&self) -> &ThinPoolStore {
        self.store.as_ref().unwrap()
    }

    pub fn run(mut self, rounds: usize) {
        for _ in 0..rounds {
            self.round();
            self.check();
            self.share();
            self.end_process();
            self.check();
        }
        assert!(self.verdicts.commits.load(SeqCst) > rounds as u64, "no commit was looked at");
        self.store().close().unwrap();
        drop(self.store.take());
        crate::judge::check_closed(self.dir.path());
    }

    fn round(&mut self) {
        let volumes: BTreeMap<u32, Arc<dyn Volume>> =
            (1..=ORIGINS).map(|id| (id, self.store().open(ThinId(id), SIZE).unwrap())).collect();
        let data = self.store().data_file().unwrap();
        let seeds: Vec<_> = (0..WORKERS).map(|_| self.dice.below(1 << 40) as u64).collect();
        let (start, clock) = (self.holds.clone(), std::mem::take(&mut self.clock));
        let working = AtomicUsize::new(WORKERS);
        let (mut cuts, mut changes) = (Vec::new(), Vec::new());
        thread::scope(|scope| {
            let worker = |(number, seed): (usize, &u64)| {
                let worker = Worker {
                    number,
                    dice: Dice::new(*seed),
                    clock: &clock,
                    volumes: &volumes,
                    data: &data,
                    holds: start.clone(),
                    changes: Vec::new(),
                };
                let done = Done(&working);
                scope.spawn(move || {
                    let _done = done;
                    worker.work(STEPS)
                })
            };
            let workers: Vec<_> = seeds.iter().enumerate().map(worker).collect();
            self.meddle(&clock, &working, &mut cuts);
            changes = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        });
        self.clock = clock;
        self.settle(Round { start, changes }, cuts);
    }

    /// What else goes on while the workers work.
    fn meddle(&mut self, clock: &Clock, working: &AtomicUsize, cuts: &mut Vec<Cut>) {
        while working.load(SeqCst) > 0 {
            match self.dice.below(12) {
                0..3 if cuts.len() < CUTS_IN_A_ROUND => {
                    let cut = self.cut(clock);
                    cuts.push(cut);
                }
                3 if self.cuts.len() > COPIES_KEPT => self.delete_oldest(),
                4 => self.store().flush().unwrap(),
                5 if self.size.0 < 600 => self.extend(),
                _ => thread::yield_now(),
            }
        }
    }

    fn cut(&mut self, clock: &Clock) -> Cut {
        let first = 1 + self.dice.below(2) as u32;
        let mut pairs = Vec::new();
        for origin in first..=ORIGINS {
            pairs.push((origin, self.next_copy));
            self.next_copy += 1;
        }
        let begun = clock.tick();
        match self.cuts_are {
            Cuts::AtOnce => self.cut_at_once(&pairs),
            Cuts::OneByOne => pairs.chunks(1).for_each(|pair| {
                self.cut_at_once(pair);
                thread::yield_now();
            }),
        }
        Cut { span: (begun, clock.tick()), pairs }
    }

    fn cut_at_once(&self, pairs: &[(u32, u32)]) {
        let held: Vec<_> = pairs.iter().map(|(origin, _)| ThinId(*origin)).collect();
        let pairs: Vec<_> =
            pairs.iter().map(|(o, c)| Snapshot { origin: ThinId(*o), copy: ThinId(*c) }).collect();
        let hold = self.store().hold(&held, Duration::from_secs(10)).unwrap();
        self.store().cut(&hold, &pairs).unwrap();
    }

    /// Deletes the copies of the oldest cut.
    fn delete_oldest(&mut self) {
        for (_, copy) in self.cuts.remove(0).pairs {
            self.store().delete(ThinId(copy)).unwrap();
            self.holds.remove(&copy);
            self.mapped.remove(&copy);
        }
    }

    fn extend(&mut self) {
        self.size =
            (self.size.0 + 1 + self.dice.below(9) as u64, self.size.1 + 1 + self.dice.below(5) as u64);
        let (data_bytes, metadata_bytes) = (Some(self.size.0 * BLOCK as u64), Some(self.size.1 * 4096));
        self.store().extend(Extend { data_bytes, metadata_bytes }).unwrap();
        assert_eq!((self.store().usage().data_total, self.store().usage().metadata_total), self.size);
    }

    /// The round is over: looks at its cuts, and takes over what it did.
    fn settle(&mut self, round: Round, cuts: Vec<Cut>) {
        for cut in &cuts {
            let found = cut.pairs.iter().map(|(origin, copy)| (*origin, self.read(*copy))).collect();
            assert!(round.is_one_instant(cut, &found), "the copies {:?} are of no one instant", cut.pairs);
            for ((_, copy), tokens) in cut.pairs.iter().zip(found.into_values()) {
                self.holds.insert(*copy, tokens);
            }
        }
        for (id, tokens) in round.end() {
            if self.holds.contains_key(&id) {
                self.holds.insert(id, tokens);
            }
        }
        for change in round.changes.iter().flatten() {
            let mapped = self.mapped.get_mut(&change.device).unwrap();
            let whole = change.sectors.len() == PER_BLOCK;
            match change.token {
                0 if whole => mapped[change.blocks()].fill(false),
                0 => {}
                _ => mapped[change.blocks()].fill(true),
            }
        }
        self.touched.extend(round.changes.into_iter().flatten());
        self.cuts.extend(cuts);
    }

    pub(super) fn check_verdicts(&self) {
        assert!(!self.verdicts.unclean.load(SeqCst), "a commit was not clean");
    }

    pub(super) fn read(&self, id: u32) -> Tokens {
        let mut bytes = vec![0xEE; SIZE as usize];
        self.store().open(ThinId(id), SIZE).unwrap().read(0, &mut bytes).unwrap();
        tokens(&bytes)
    }

    /// Some blocks of one origin become another's.
    fn share(&mut self) {
        let (from, to) = (1 + self.dice.below(2) as u32, 3);
        let (first, at) = (self.dice.below(BLOCKS - 2), self.dice.below(BLOCKS - 2));
        let blocks = 1 + self.dice.below(2);
        let span_begun = self.clock.tick();
        self.store().share(share((from, first), (to, at), blocks)).unwrap();
        let sectors = |block: usize| block * PER_BLOCK..(block + blocks) * PER_BLOCK;
        let tokens = self.holds[&from][sectors(first)].to_vec();
        self.holds.get_mut(&to).unwrap()[sectors(at)].copy_from_slice(&tokens);
        let mapped = self.mapped[&from][first..first + blocks].to_vec();
        self.mapped.get_mut(&to).unwrap()[at..at + blocks].copy_from_slice(&mapped);
        let span = (span_begun, self.clock.tick());
        self.touched.push(Change { span, device: to, sectors: sectors(at), token: 0 });
    }

    /// The process dies, or stops and starts, or goes on.
    fn end_process(&mut self) {
        match self.dice.below(3) {
            0 => return,
            1 => self.store().close().unwrap(),
            _ => {}
        }
        drop(self.store.take());
        self.open();
    }
}

/// Counts a worker out, also one that panics.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
