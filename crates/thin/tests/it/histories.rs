//! Generated histories of a pool against a simple model: what each device maps, with crashes that keep the last
//! commit, and the outside judge after each commit.
//!
//! The model gives each write a token; a data block holds the token of its last write. What must hold: a device reads
//! the tokens that were written to it or that it inherited; no data block is handed out while the committed state or
//! the current one has it; the last committed state is never changed by what comes after it (R6).

use crate::{changes::check_changed, disk::Disk};
use proptest::prelude::*;
use std::collections::BTreeMap;
use umbra_thin::{BlockTime, Format, Plan, Pool, Snapshot, ThinError, ThinId, format};

const DATA_BLOCKS: u64 = 600;
const SPAN: u64 = 700;

#[derive(Debug, Clone)]
enum Op {
    Create,
    Write { device: usize, vblock: u64, len: u64 },
    Scatter { device: usize, seed: u64 },
    Discard { device: usize, vblock: u64, len: u64 },
    Group { devices: usize },
    Delete { device: usize },
    Redirect { device: usize, vblock: u64 },
    Share { devices: (usize, usize), from: u64, to: u64, len: u64 },
    BeginDelete { device: usize },
    DeleteStep { budget: u64 },
    Compare { devices: (usize, usize) },
    Hold,
    Release,
    WriteCounts,
    Commit,
    Crash,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let device = any::<usize>();
    let op = prop_oneof![
        2 => Just(Op::Create),
        8 => (device, 0..SPAN, 1..60u64).prop_map(|(device, vblock, len)| Op::Write { device, vblock, len }),
        4 => (device, any::<u64>()).prop_map(|(device, seed)| Op::Scatter { device, seed }),
        4 => (device, 0..SPAN, 1..300u64).prop_map(|(device, vblock, len)| Op::Discard { device, vblock, len }),
        3 => (1..4usize).prop_map(|devices| Op::Group { devices }),
        2 => device.prop_map(|device| Op::Delete { device }),
        2 => (any::<usize>(), 0..SPAN).prop_map(|(device, vblock)| Op::Redirect { device, vblock }),
        3 => (any::<(usize, usize)>(), 0..SPAN, 0..SPAN, 1..200u64)
            .prop_map(|(devices, from, to, len)| Op::Share { devices, from, to, len }),
        2 => any::<usize>().prop_map(|device| Op::BeginDelete { device }),
        3 => (1..4u64).prop_map(|budget| Op::DeleteStep { budget }),
        2 => any::<(usize, usize)>().prop_map(|devices| Op::Compare { devices }),
        1 => Just(Op::Hold),
        1 => Just(Op::Release),
        2 => Just(Op::WriteCounts),
        4 => Just(Op::Commit),
        1 => Just(Op::Crash),
    ];
    prop::collection::vec(op, 1..70)
}

type Contents = BTreeMap<u32, BTreeMap<u64, u64>>;

struct World {
    disk: Disk,
    pool: Pool<Disk>,
    now: Contents,
    committed: Contents,
    /// What each data block holds.
    data: BTreeMap<u64, u64>,
    /// Who wrote each token, and where.
    writes: BTreeMap<u64, (u32, u64)>,
    next_token: u64,
    next_id: u32,
    /// What the metadata snapshot has to say of each device.
    held: Option<BTreeMap<u32, Vec<(u64, BlockTime)>>>,
}

impl World {
    fn new() -> Self {
        let disk = Disk::new(512);
        let wish =
            Format { uuid: [1; 16], data_block_sectors: 128, data_blocks: DATA_BLOCKS, metadata_blocks: 512 };
        disk.write(&format(&wish).unwrap());
        let pool = Pool::open(disk.clone()).unwrap();
        World {
            disk,
            pool,
            now: Contents::new(),
            committed: Contents::new(),
            data: BTreeMap::new(),
            writes: BTreeMap::new(),
            next_token: 1,
            next_id: 0,
            held: None,
        }
    }

    fn pick(&self, device: usize) -> Option<u32> {
        let ids: Vec<_> = self.now.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[device % ids.len()])
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Create => {
                self.pool.create(ThinId(self.next_id)).unwrap();
                self.now.insert(self.next_id, BTreeMap::new());
                self.next_id += 1;
            }
            Op::Write { device, vblock, len } => {
                let Some(id) = self.pick(device) else { return };
                (vblock..vblock + len).for_each(|vblock| self.write(id, vblock));
            }
            Op::Scatter { device, seed } => {
                let Some(id) = self.pick(device) else { return };
                (1..40).for_each(|i| self.write(id, seed.wrapping_mul(i * 2 + 1) % SPAN));
            }
            Op::Discard { device, vblock, len } => {
                let Some(id) = self.pick(device) else { return };
                let map = self.now.get_mut(&id).unwrap();
                let before = map.len();
                map.retain(|at, _| !(vblock..vblock + len).contains(at));
                let removed = (before - map.len()) as u64;
                assert_eq!(self.pool.discard(ThinId(id), vblock..vblock + len).unwrap(), removed);
            }
            Op::Group { devices } => self.group(devices),
            Op::Delete { device } => {
                let Some(id) = self.pick(device) else { return };
                let mapped = self.now.remove(&id).unwrap().len() as u64;
                assert_eq!(self.pool.delete(ThinId(id)).unwrap(), mapped);
            }
            Op::Redirect { device, vblock } => {
                let Some(id) = self.pick(device) else { return };
                let plan = self.pool.plan_redirect(ThinId(id), vblock);
                assert!(!matches!(plan, Ok(Plan::InPlace(_))));
                self.carry_out(id, vblock, plan);
            }
            Op::Share { devices, from, to, len } => self.share(devices, from, to, len),
            Op::BeginDelete { device } => {
                let Some(id) = self.pick(device) else { return };
                match self.pool.begin_delete(ThinId(id)) {
                    Err(error) if error.is_full() => {}
                    done => {
                        done.unwrap();
                        self.now.remove(&id);
                    }
                }
            }
            Op::DeleteStep { budget } => {
                let step = self.pool.delete_step(budget).unwrap();
                assert_eq!(step.left, self.pool.has_doomed());
            }
            Op::Compare { devices } => {
                let (Some(left), Some(right)) = (self.pick(devices.0), self.pick(devices.1)) else { return };
                check_changed(&mut self.pool, left, right);
            }
            Op::Hold => self.hold(),
            Op::Release => {
                if self.held.take().is_some() {
                    self.pool.release_metadata_snapshot().unwrap();
                    self.apply(&Op::Commit);
                }
            }
            Op::WriteCounts => drop(self.pool.write_counts().unwrap()),
            Op::Commit => {
                self.disk.commit(&mut self.pool);
                self.committed = self.now.clone();
                self.check_disk();
            }
            Op::Crash => {
                // A commit of which only the superblock is missing: the worst that may be on the disk.
                let commit =
                    self.pool.begin_commit(umbra_thin::LogUse::MayHoldWrites { boot: [1; 16] }).unwrap();
                commit.blocks.iter().for_each(|block| self.disk.put(block.number, &block.bytes()));
                self.pool = Pool::open(self.disk.clone()).unwrap();
                self.now = self.committed.clone();
                self.adopt_writes_in_place();
                self.check_disk();
            }
        }
    }

    fn write(&mut self, id: u32, vblock: u64) {
        let plan = self.pool.plan_write(ThinId(id), vblock);
        self.carry_out(id, vblock, plan);
    }

    fn share(&mut self, (src, dst): (usize, usize), from: u64, to: u64, len: u64) {
        let (Some(src), Some(dst)) = (self.pick(src), self.pick(dst)) else { return };
        if src == dst && from < to + len && to < from + len {
            return;
        }
        match self.pool.share(ThinId(src), from, ThinId(dst), to, len) {
            Err(error) if error.is_full() => return,
            done => done.unwrap(),
        }
        let given: Vec<_> =
            self.now[&src].range(from..from + len).map(|(at, token)| (at - from + to, *token)).collect();
        let map = self.now.get_mut(&dst).unwrap();
        map.retain(|at, _| !(to..to + len).contains(at));
        map.extend(given);
    }

    fn hold(&mut self) {
        if self.held.is_some() {
            return;
        }
        self.apply(&Op::Commit);
        if self.pool.reserve_metadata_snapshot().is_err_and(|error| error.is_full()) {
            return;
        }
        self.apply(&Op::Commit);
        let all = |id: &u32| (*id, self.pool.mappings(ThinId(*id), 0..SPAN * 2).unwrap());
        self.held = Some(self.now.keys().map(all).collect());
    }

    fn carry_out(&mut self, id: u32, vblock: u64, plan: Result<Plan, ThinError>) {
        let token = self.next_token;
        self.next_token += 1;
        let plan = match plan {
            Err(error) if error.is_full() => return,
            plan => plan.unwrap(),
        };
        match plan {
            Plan::InPlace(block) => drop(self.data.insert(block, token)),
            Plan::Fresh { to } | Plan::Copy { to, .. } => {
                self.data.insert(to, token);
                match self.pool.finish_write(ThinId(id), vblock, to) {
                    Err(error) if error.is_full() => return self.pool.abort_write(plan),
                    done => done.unwrap(),
                }
            }
        }
        self.now.get_mut(&id).unwrap().insert(vblock, token);
        self.writes.insert(token, (id, vblock));
    }

    /// After a crash a committed block may hold a later write, but only one of the one device that maps it, to the
    /// same place (R6).
    fn adopt_writes_in_place(&mut self) {
        let mut users: BTreeMap<u64, u32> = BTreeMap::new();
        for id in self.now.keys() {
            for (_, to) in self.pool.mappings(ThinId(*id), 0..SPAN * 2).unwrap() {
                *users.entry(to.block).or_default() += 1;
            }
        }
        for (id, map) in &mut self.now {
            for (vblock, to) in self.pool.mappings(ThinId(*id), 0..SPAN * 2).unwrap() {
                let found = self.data[&to.block];
                let expected = map.get_mut(&vblock).unwrap();
                if found != *expected {
                    assert_eq!(
                        self.writes[&found],
                        (*id, vblock),
                        "device {id} block {vblock} holds a foreign write"
                    );
                    assert_eq!(users[&to.block], 1, "a shared block was written in place");
                    *expected = found;
                }
            }
        }
    }

    fn group(&mut self, devices: usize) {
        let origins: Vec<_> = self.now.keys().copied().rev().take(devices).collect();
        let mut pairs = Vec::new();
        for origin in origins {
            if self.now.len() + pairs.len() < 14 {
                // C1: a pristine copy, and a working one of it, in the same cut.
                let (pristine, working) = (ThinId(self.next_id), ThinId(self.next_id + 1));
                pairs.push(Snapshot { origin: ThinId(origin), copy: pristine });
                pairs.push(Snapshot { origin: pristine, copy: working });
                self.next_id += 2;
            }
        }
        if pairs.is_empty() || self.pool.snapshot(&pairs).is_err_and(|error| error.is_full()) {
            return;
        }
        for Snapshot { origin, copy } in pairs {
            let content = self.now[&origin.0].clone();
            self.now.insert(copy.0, content);
        }
    }

    /// Everything that each device maps holds the token that the model says.
    fn check(&mut self) {
        let ids: Vec<_> = self.pool.device_ids().map(|id| id.0).collect();
        assert_eq!(ids, self.now.keys().copied().collect::<Vec<_>>());
        for (id, map) in &self.now {
            let mappings = self.pool.mappings(ThinId(*id), 0..SPAN * 2).unwrap();
            assert_eq!(
                self.pool.details(ThinId(*id)).unwrap().mapped_blocks,
                map.len() as u64,
                "device {id}"
            );
            let found: BTreeMap<_, _> = mappings.iter().map(|(at, to)| (*at, self.data[&to.block])).collect();
            assert_eq!(&found, map, "device {id}");
        }
    }

    fn check_disk(&mut self) {
        self.disk.check();
        for (id, mappings) in self.held.iter().flatten() {
            assert_eq!(
                self.pool.held_mappings(ThinId(*id), 0..SPAN * 2).unwrap(),
                *mappings,
                "held device {id}"
            );
        }
        let mut reopened = Pool::open(self.disk.clone()).unwrap();
        for id in reopened.device_ids().collect::<Vec<_>>() {
            assert_eq!(
                reopened.mappings(id, 0..SPAN * 2).unwrap(),
                self.pool.mappings(id, 0..SPAN * 2).unwrap()
            );
        }
        assert_eq!(reopened.data_fill(), self.pool.data_fill());
        assert_eq!(reopened.metadata_fill(), self.pool.metadata_fill());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_contents_counts_and_a_clean_pool(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
            world.check();
        }
        world.apply(&Op::Commit);
        world.disk.check_twice();
    }
}
