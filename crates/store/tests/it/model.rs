//! Generated operations on a store, one after the other, against the simplest model of one: a map from device to bytes,
//! and for each block of a device a number that says which data block it is.

mod ops;

use crate::{
    judge::{Judges, check_image},
    sim::{META, Sim},
    support::share,
};
use ops::{Fill, Op, ops};
use proptest::prelude::*;
use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};
use umbra_base::{Error, ErrorCode, Result};
use umbra_store::{
    Background, Difference, DifferenceKind, Extend, LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore,
    Thresholds, Volume,
};

const BLOCK: usize = 64 << 10;
/// Blocks that every device has as a whole.
const WHOLE: usize = 4;
/// Sectors of a new device: the last block is cut short.
const FIRST_SECTORS: usize = WHOLE * BLOCK / 512 + 3;
/// What a LUN grows to at most.
const BLOCKS: usize = 6;
const SECTORS: usize = BLOCKS * BLOCK / 512;

/// Which data block, and whether it is the device's own, to be written in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    block: u64,
    private: bool,
}

struct Device {
    /// As many as the LUN has.
    bytes: Vec<u8>,
    blocks: [Option<At>; BLOCKS],
    /// Whether the numbers are known: a write that found no room wrote nobody knows how much.
    exact: bool,
}

impl Device {
    fn mapped(&self) -> u64 {
        self.blocks.iter().flatten().count() as u64
    }

    /// Some sectors of it, as bytes.
    fn range(&self, at: usize, len: usize) -> Range<usize> {
        let sectors = self.bytes.len() / 512;
        let first = at % sectors;
        first * 512..(first + len).min(sectors) * 512
    }
}

struct World {
    sim: Sim,
    store: ThinPoolStore,
    devices: BTreeMap<u32, Device>,
    next_id: u32,
    next_block: u64,
    size: (u64, u64),
}

fn open(sim: &Sim) -> ThinPoolStore {
    let thresholds = Thresholds { full_wait: Duration::ZERO, ..Thresholds::default() };
    let params = PoolParams {
        background: Background::Off,
        devices: 8,
        thresholds,
        ..PoolParams::new(30 * BLOCK as u64)
    };
    ThinPoolStore::on(sim.backing(1), params).unwrap()
}

impl World {
    fn new() -> Self {
        let sim = Sim::new();
        let store = open(&sim);
        let size = (store.usage().data_total, store.usage().metadata_total);
        World { store, sim, devices: BTreeMap::new(), next_id: 0, next_block: 0, size }
    }

    fn pick(&self, n: usize) -> Option<u32> {
        self.devices.keys().nth(n.checked_rem(self.devices.len())?).copied()
    }

    fn volume(&self, id: u32) -> Arc<dyn Volume> {
        self.store.open(ThinId(id), self.devices[&id].bytes.len() as u64).unwrap()
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Create if self.devices.len() < 6 => {
                self.store.create(ThinId(self.next_id)).unwrap();
                let device =
                    Device { bytes: vec![0; FIRST_SECTORS * 512], blocks: [None; BLOCKS], exact: true };
                self.devices.insert(self.next_id, device);
                self.next_id += 1;
            }
            Op::Create => {}
            Op::Write(fill) => self.write(fill),
            Op::WriteAtomic(fill) => self.write_atomic(fill),
            Op::Share { from, to, blocks } => self.share(from, to, blocks),
            Op::Extend { data, metadata, at, write } => self.extend((data, metadata), at, write),
            Op::Grow { device, sectors } => {
                let Some(id) = self.pick(device) else { return };
                let bytes = &mut self.devices.get_mut(&id).unwrap().bytes;
                bytes.resize((bytes.len() + sectors * 512).min(SECTORS * 512), 0);
            }
            Op::Discard { device, at, len } => {
                self.zero(device, at, len, |volume, at, len| volume.discard(at, len))
            }
            Op::WriteZeroes { device, at, len } => {
                self.zero(device, at, len, |volume, at, len| volume.write_zeroes(at, len));
            }
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

    fn write(&mut self, Fill { device, at, len, byte }: Fill) {
        let Some(id) = self.pick(device) else { return };
        let range = self.devices[&id].range(at, len);
        let result = self.volume(id).write(range.start as u64, &vec![byte; range.len()]);
        self.written(id, range, byte, result);
    }

    fn written(&mut self, id: u32, range: Range<usize>, byte: u8, result: Result<()>) {
        match result {
            Ok(()) => self.entered(id, range, byte, false),
            // The pool is full: each piece was written or was not. Take what is there, if it is one of the two.
            Err(error) => self.take_what_is_there(id, range, byte, &error),
        }
    }

    fn write_atomic(&mut self, Fill { device, at, len, byte }: Fill) {
        let Some(id) = self.pick(device) else { return };
        let range = self.devices[&id].range(at, len);
        match self.volume(id).write_atomic(range.start as u64, &vec![byte; range.len()]) {
            Ok(()) => self.entered(id, range, byte, true),
            Err(error) => assert_eq!(error.code(), ErrorCode::InsufficientStorage, "{error:?}"),
        }
    }

    /// A range was written: in place where that was possible and allowed.
    fn entered(&mut self, id: u32, range: Range<usize>, byte: u8, always_fresh: bool) {
        let device = self.devices.get_mut(&id).unwrap();
        for at in &mut device.blocks[range.start / BLOCK..range.end.div_ceil(BLOCK)] {
            if always_fresh || !at.is_some_and(|at| at.private) {
                self.next_block += 1;
                *at = Some(At { block: self.next_block, private: true });
            }
        }
        device.bytes[range].fill(byte);
    }

    fn take_what_is_there(&mut self, id: u32, range: Range<usize>, byte: u8, error: &Error) {
        assert_eq!(error.code(), ErrorCode::InsufficientStorage, "{error:?}");
        let volume = self.volume(id);
        let mut now = vec![0; volume.size_bytes() as usize];
        volume.read(0, &mut now).unwrap();
        let device = self.devices.get_mut(&id).unwrap();
        for (at, (old, new)) in device.bytes.iter().zip(&now).enumerate() {
            assert!(old == new || range.contains(&at) && *new == byte, "byte {at} of device {id}");
        }
        (device.bytes, device.exact) = (now, false);
        for run in volume.mapped(0, volume.size_bytes()).unwrap() {
            let blocks = run.offset as usize / BLOCK..(run.offset + run.len).div_ceil(BLOCK as u64) as usize;
            device.blocks[blocks].fill(run.mapped.then_some(At { block: 0, private: false }));
        }
    }

    /// By either call that makes zeroes of a range.
    fn zero(&mut self, device: usize, at: usize, len: usize, how: fn(&dyn Volume, u64, u64) -> Result<()>) {
        let Some(id) = self.pick(device) else { return };
        let Range { start: from, end: to } = self.devices[&id].range(at, len);
        if let Err(error) = how(&*self.volume(id), from as u64, (to - from) as u64) {
            // Zeroing the edge of a shared block takes a new one.
            return self.take_what_is_there(id, from..to, 0, &error);
        }
        let device = self.devices.get_mut(&id).unwrap();
        let end = if to == device.bytes.len() { to.div_ceil(BLOCK) } else { to / BLOCK };
        for block in from / BLOCK..to.div_ceil(BLOCK) {
            let whole = (from.div_ceil(BLOCK)..end).contains(&block);
            let part = (block * BLOCK).max(from)..((block + 1) * BLOCK).min(to);
            match &mut device.blocks[block] {
                at if whole => *at = None,
                Some(at) if !at.private => {
                    self.next_block += 1;
                    *at = At { block: self.next_block, private: true };
                }
                _ => {}
            }
            device.bytes[part].fill(0);
        }
    }

    /// Blocks that are whole: the last is cut short, and its neighbour's bytes behind the end are nobody's.
    fn share(&mut self, from: usize, to: usize, (first, at, blocks): (usize, usize, usize)) {
        let (Some(from), Some(to)) = (self.pick(from), self.pick(to)) else { return };
        let blocks = blocks.min(WHOLE - first).min(WHOLE - at);
        if from == to && first < at + blocks && at < first + blocks {
            return;
        }
        if let Err(error) = self.store.share(share((from, first), (to, at), blocks)) {
            return assert_eq!(error.code(), ErrorCode::InsufficientStorage, "{error:?}");
        }
        let source = self.devices.get_mut(&from).unwrap();
        let theirs = &mut source.blocks[first..first + blocks];
        theirs.iter_mut().flatten().for_each(|at| at.private = false);
        let (theirs, exact) = (theirs.to_vec(), source.exact);
        let bytes = source.bytes[first * BLOCK..(first + blocks) * BLOCK].to_vec();
        let device = self.devices.get_mut(&to).unwrap();
        device.blocks[at..at + blocks].copy_from_slice(&theirs);
        device.bytes[at * BLOCK..(at + blocks) * BLOCK].copy_from_slice(&bytes);
        device.exact &= exact;
    }

    fn extend(&mut self, (data, metadata): (u64, u64), at: usize, write: Fill) {
        self.size = (self.size.0 + data, self.size.1 + metadata);
        let (data_bytes, metadata_bytes) = (Some(self.size.0 * BLOCK as u64), Some(self.size.1 * 4096));
        let extend = || self.store.extend(Extend { data_bytes, metadata_bytes }).unwrap();
        let Some(id) = self.pick(write.device) else { return extend() };
        let (volume, range) = (self.volume(id), self.devices[&id].range(write.at, write.len));
        let (offset, bytes) = (range.start as u64, vec![write.byte; range.len()]);
        let ((), result) = self.sim.beside(at, move || volume.write(offset, &bytes), extend);
        self.written(id, range, write.byte, result);
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
            let origin = self.devices.get_mut(&origin.0).unwrap();
            origin.blocks.iter_mut().flatten().for_each(|at| at.private = false);
            let (bytes, blocks, exact) = (origin.bytes.clone(), origin.blocks, origin.exact);
            self.devices.insert(copy.0, Device { bytes, blocks, exact });
        }
    }

    fn check(&self) {
        let ids: Vec<_> = self.store.device_ids().unwrap().iter().map(|id| id.0).collect();
        assert_eq!(ids, self.devices.keys().copied().collect::<Vec<_>>());
        for (id, device) in &self.devices {
            let mut bytes = vec![0xEE; device.bytes.len()];
            self.volume(*id).read(0, &mut bytes).unwrap();
            assert!(bytes == device.bytes, "device {id} differs");
            assert_eq!(self.store.mapped_blocks(ThinId(*id)).unwrap(), device.mapped(), "device {id}");
        }
        let exact: Vec<_> = self.devices.iter().filter(|(_, device)| device.exact).collect();
        for (old, new) in exact.iter().zip(exact.iter().skip(1)) {
            let kinds = |(old, new): (&Option<At>, &Option<At>)| kind(old.as_ref(), new.as_ref());
            let expected: Vec<_> = old.1.blocks.iter().zip(&new.1.blocks).map(kinds).collect();
            let step = self.store.changed(ThinId(*old.0), ThinId(*new.0), 0).unwrap();
            assert_eq!(by_block(&step), expected, "from device {} to {}", old.0, new.0);
            let all = by_block(&self.store.allocated(ThinId(*new.0), 0).unwrap());
            let mapped: Vec<_> = new.1.blocks.iter().map(|at| kind(None, at.as_ref())).collect();
            assert_eq!(all, mapped, "device {}", new.0);
        }
        let usage = self.store.usage();
        assert_eq!((usage.data_total, usage.metadata_total), self.size);
    }
}

/// How a block differs.
fn kind(old: Option<&At>, new: Option<&At>) -> Option<DifferenceKind> {
    match (old, new) {
        (None, None) => None,
        (Some(_), None) => Some(DifferenceKind::OnlyOld),
        (None, Some(_)) => Some(DifferenceKind::OnlyNew),
        (Some(old), Some(new)) => (old.block != new.block).then_some(DifferenceKind::Both),
    }
}

/// An answer that is complete, block by block.
fn by_block(step: &Difference) -> Vec<Option<DifferenceKind>> {
    assert_eq!(step.next, None);
    let mut kinds = vec![None; BLOCKS];
    for run in &step.runs {
        let first = run.offset as usize / BLOCK;
        kinds[first..first + run.len as usize / BLOCK].fill(Some(run.kind));
    }
    kinds
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
