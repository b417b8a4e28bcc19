//! Generated operations on a store against the simplest model of one: a map from device to bytes.

use crate::{
    judge::{Judges, check_image},
    sim::{META, Sim},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use umbra_base::ErrorCode;
use umbra_store::{Background, LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore, Volume};

const BLOCK: usize = 64 << 10;
/// The last block is cut short.
const SIZE: usize = 4 * BLOCK + 3 * 512;
const SECTORS: usize = SIZE / 512;

#[derive(Debug, Clone)]
enum Op {
    Create,
    Write { device: usize, at: usize, len: usize, byte: u8 },
    Discard { device: usize, at: usize, len: usize },
    Cut { first: usize, count: usize },
    Delete { device: usize },
    Flush { device: usize },
    Close,
    Drop,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let device = any::<usize>();
    let at = 0..SECTORS;
    let len = prop_oneof![1..20usize, 1..SECTORS, Just(BLOCK / 512)];
    let op = prop_oneof![
        2 => Just(Op::Create),
        12 => (device, at.clone(), len.clone(), 1..255u8)
            .prop_map(|(device, at, len, byte)| Op::Write { device, at, len, byte }),
        4 => (device, at, len).prop_map(|(device, at, len)| Op::Discard { device, at, len }),
        4 => (device, 1..3usize).prop_map(|(first, count)| Op::Cut { first, count }),
        2 => device.prop_map(|device| Op::Delete { device }),
        2 => device.prop_map(|device| Op::Flush { device }),
        1 => Just(Op::Close),
        2 => Just(Op::Drop),
    ];
    prop::collection::vec(op, 1..50)
}

struct Device {
    bytes: Vec<u8>,
    mapped: [bool; 5],
}

struct World {
    sim: Sim,
    store: ThinPoolStore,
    devices: BTreeMap<u32, Device>,
    next_id: u32,
}

fn open(sim: &Sim) -> ThinPoolStore {
    let params = PoolParams { background: Background::Off, devices: 8, ..PoolParams::new(30 * BLOCK as u64) };
    ThinPoolStore::on(sim.backing(1), params).unwrap()
}

impl World {
    fn new() -> Self {
        let sim = Sim::new();
        World { store: open(&sim), sim, devices: BTreeMap::new(), next_id: 0 }
    }

    fn pick(&self, n: usize) -> Option<u32> {
        self.devices.keys().nth(n.checked_rem(self.devices.len())?).copied()
    }

    fn volume(&self, id: u32) -> Arc<dyn Volume> {
        self.store.open(ThinId(id), SIZE as u64).unwrap()
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Create if self.devices.len() < 6 => {
                self.store.create(ThinId(self.next_id)).unwrap();
                self.devices.insert(self.next_id, Device { bytes: vec![0; SIZE], mapped: [false; 5] });
                self.next_id += 1;
            }
            Op::Create => {}
            Op::Write { device, at, len, byte } => self.write(device, at, len, byte),
            Op::Discard { device, at, len } => self.discard(device, at, len),
            Op::Cut { first, count } => self.cut(first, count),
            Op::Delete { device } => {
                let Some(id) = self.pick(device) else { return };
                self.store.delete(ThinId(id)).unwrap();
                self.devices.remove(&id);
            }
            Op::Flush { device } => {
                let Some(id) = self.pick(device) else { return };
                self.volume(id).flush().unwrap();
            }
            Op::Close => {
                self.store.close().unwrap();
                check_image(self.sim.content(META).bytes(), Judges::Ours, 0);
                self.store = open(&self.sim);
            }
            Op::Drop => self.store = open(&self.sim),
        }
    }

    fn write(&mut self, device: usize, at: usize, len: usize, byte: u8) {
        let Some(id) = self.pick(device) else { return };
        let len = len.min(SECTORS - at);
        let (from, to) = (at * 512, (at + len) * 512);
        match self.volume(id).write(from as u64, &vec![byte; to - from]) {
            Ok(()) => {
                let device = self.devices.get_mut(&id).unwrap();
                device.bytes[from..to].fill(byte);
                (from / BLOCK..to.div_ceil(BLOCK)).for_each(|block| device.mapped[block] = true);
            }
            // The pool is full: each piece was written or was not. Take what is there, if it is one of the two.
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::InsufficientStorage, "{error:?}");
                let mut now = vec![0; SIZE];
                self.volume(id).read(0, &mut now).unwrap();
                let mapped = self.volume(id).mapped(0, SIZE as u64).unwrap();
                let device = self.devices.get_mut(&id).unwrap();
                for (at, (old, new)) in device.bytes.iter_mut().zip(now).enumerate() {
                    assert!(*old == new || (from..to).contains(&at) && new == byte);
                    *old = new;
                }
                for run in mapped {
                    let blocks =
                        run.offset as usize / BLOCK..(run.offset + run.len).div_ceil(BLOCK as u64) as usize;
                    blocks.for_each(|block| device.mapped[block] = run.mapped);
                }
            }
        }
    }

    fn discard(&mut self, device: usize, at: usize, len: usize) {
        let Some(id) = self.pick(device) else { return };
        let len = len.min(SECTORS - at);
        let (from, to) = (at * 512, (at + len) * 512);
        match self.volume(id).discard(from as u64, (to - from) as u64) {
            Ok(()) => {
                let device = self.devices.get_mut(&id).unwrap();
                device.bytes[from..to].fill(0);
                let end = if to == SIZE { 5 } else { to / BLOCK };
                (from.div_ceil(BLOCK)..end).for_each(|block| device.mapped[block] = false);
            }
            // Zeroing the edge of a shared block takes a new one.
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::InsufficientStorage, "{error:?}");
                let mut now = vec![0; SIZE];
                self.volume(id).read(0, &mut now).unwrap();
                let mapped = self.volume(id).mapped(0, SIZE as u64).unwrap();
                let device = self.devices.get_mut(&id).unwrap();
                device.bytes = now;
                for run in mapped {
                    let blocks =
                        run.offset as usize / BLOCK..(run.offset + run.len).div_ceil(BLOCK as u64) as usize;
                    blocks.for_each(|block| device.mapped[block] = run.mapped);
                }
            }
        }
    }

    fn cut(&mut self, first: usize, count: usize) {
        let origins: Vec<_> = (0..count).filter_map(|i| self.pick(first.wrapping_add(i))).collect();
        let mut pairs: Vec<Snapshot> = Vec::new();
        for origin in origins {
            let new = !pairs.iter().any(|pair| pair.origin == ThinId(origin));
            if new && self.devices.len() + pairs.len() < 10 {
                pairs.push(Snapshot { origin: ThinId(origin), copy: ThinId(self.next_id) });
                self.next_id += 1;
            }
        }
        if pairs.is_empty() {
            return;
        }
        let ids: Vec<_> = pairs.iter().map(|pair| pair.origin).collect();
        let hold = self.store.hold(&ids, Duration::from_secs(5)).unwrap();
        let cut = self.store.cut(&hold, &pairs).unwrap();
        drop(hold);
        self.store.wait_durable(&cut).unwrap();
        for Snapshot { origin, copy } in pairs {
            let origin = &self.devices[&origin.0];
            let device = Device { bytes: origin.bytes.clone(), mapped: origin.mapped };
            self.devices.insert(copy.0, device);
        }
    }

    fn check(&self) {
        let ids: Vec<_> = self.store.device_ids().unwrap().iter().map(|id| id.0).collect();
        assert_eq!(ids, self.devices.keys().copied().collect::<Vec<_>>());
        for (id, device) in &self.devices {
            let mut bytes = vec![0xEE; SIZE];
            self.volume(*id).read(0, &mut bytes).unwrap();
            assert!(bytes == device.bytes, "device {id} differs");
            let mapped = device.mapped.iter().filter(|mapped| **mapped).count() as u64;
            assert_eq!(self.store.mapped_blocks(ThinId(*id)).unwrap(), mapped, "device {id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_map_of_devices_to_bytes(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
            world.check();
        }
        world.apply(&Op::Close);
        world.check();
    }
}
