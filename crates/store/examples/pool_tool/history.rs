//! Histories: operations on a pool's devices, drawn from a seed, and what every sector holds after them.
//!
//! What always holds: the same seed on the same devices gives the same operations, so whoever knows how many were
//! done knows what the pool must hold. A sector holds the name of the operation that wrote it, so a block in the wrong
//! place, of the wrong device or of the wrong time shows itself.

use std::collections::BTreeMap;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Devices that there are at most at a time.
const DEVICES_MAX: usize = 10;
/// What a pool without devices gets first: an id that looks like none and a large one, which stay; and one of odd size,
/// which need not.
const FIRST: [(u32, u64); 3] = [(0, 8 << 20), (15_000_000, 4 << 20), (1, (6 << 20) + 3 * SECTOR)];
const FIRST_KEPT: usize = 2;
/// Bytes of devices that come later.
const LATER_BYTES: u64 = 5 << 20;
/// Ids of devices that come later begin above those that a volume manager gives.
const LATER_IDS: u32 = 1000;

/// What is done to the pool. Places and counts are in sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes an empty device.
    Create { id: u32, sectors: u64 },
    /// Writes the operation's own pattern.
    Write { id: u32, at: u64, count: u64 },
    /// Gives a range up.
    Discard { id: u32, at: u64, count: u64 },
    /// Makes a range zero.
    Zero { id: u32, at: u64, count: u64 },
    /// Cuts these (origin, copy) at one instant; the origin may be an earlier pair's copy.
    Cut { pairs: Vec<(u32, u32)> },
    /// Deletes a device.
    Delete { id: u32 },
    /// Makes everything durable.
    Flush,
}

/// Who wrote a sector: the device, and the number of the operation. Zero: nobody, the sector is zeroes.
pub type Writer = (u32, u32);

/// A history up to some operation, and the devices that it left.
#[derive(Debug, Clone)]
pub struct History {
    seed: u32,
    random: u64,
    block_sectors: u64,
    done: u32,
    /// What is still to be made at the beginning, backwards.
    first: Vec<(u32, u64)>,
    kept: Vec<u32>,
    devices: BTreeMap<u32, Vec<Writer>>,
}

impl History {
    /// Begins on a pool with these devices (id, bytes), which stay; their content is not known. A pool without
    /// devices gets some.
    pub fn new(seed: u32, block_bytes: u64, devices: &[(u32, u64)]) -> Self {
        let unknown = |bytes: u64| vec![(0, 0); (bytes / SECTOR) as usize];
        let first = if devices.is_empty() { FIRST.iter().rev().copied().collect() } else { Vec::new() };
        let kept = if devices.is_empty() { &FIRST[..FIRST_KEPT] } else { devices };
        History {
            seed,
            random: u64::from(seed) << 32 | 0x9E37_79B9,
            block_sectors: block_bytes / SECTOR,
            done: 0,
            kept: kept.iter().map(|(id, _)| *id).collect(),
            first,
            devices: devices.iter().map(|(id, bytes)| (*id, unknown(*bytes))).collect(),
        }
    }

    /// The next operation and its number; it counts as done.
    pub fn step(&mut self) -> (u32, Op) {
        self.done += 1;
        let op = self.choose();
        self.enter(&op);
        (self.done, op)
    }

    /// Every device with its size in bytes.
    pub fn devices(&self) -> Vec<(u32, u64)> {
        self.devices.iter().map(|(id, sectors)| (*id, sectors.len() as u64 * SECTOR)).collect()
    }

    /// Who wrote each sector of a device.
    pub fn writers(&self, id: u32) -> Option<&[Writer]> {
        self.devices.get(&id).map(Vec::as_slice)
    }

    /// What a sector holds when `writer` wrote it: a line of text that says so.
    pub fn pattern(&self, (device, number): Writer, sector: u64) -> [u8; SECTOR as usize] {
        let mut bytes = [0; SECTOR as usize];
        if number > 0 {
            let seed = self.seed;
            let line = format!("device {device} sector {sector} operation {number} of history {seed} ");
            bytes.fill(b'.');
            bytes[..line.len()].copy_from_slice(line.as_bytes());
            bytes[SECTOR as usize - 1] = b'\n';
        }
        bytes
    }

    fn choose(&mut self) -> Op {
        if let Some((id, bytes)) = self.first.pop() {
            return Op::Create { id, sectors: bytes / SECTOR };
        }
        let id = self.some_device();
        match self.below(100) {
            0..70 => self.ranged(id, |id, at, count| Op::Write { id, at, count }),
            70..80 => self.ranged(id, |id, at, count| Op::Discard { id, at, count }),
            80..84 => self.ranged(id, |id, at, count| Op::Zero { id, at, count }),
            84..89 => self.make_room_or(|history| history.cut(id)),
            89..91 => self.make_room_or(|history| {
                let odd = history.below(8);
                Op::Create { id: LATER_IDS + history.done, sectors: LATER_BYTES / SECTOR + odd }
            }),
            91..94 => self.delete(),
            _ => Op::Flush,
        }
    }

    /// A pair of pristine and working copy, or a single copy.
    fn cut(&mut self, origin: u32) -> Op {
        let copy = LATER_IDS + 2 * self.done + 100_000;
        match self.below(2) {
            0 => Op::Cut { pairs: vec![(origin, copy)] },
            _ => Op::Cut { pairs: vec![(origin, copy), (copy, copy + 1)] },
        }
    }

    fn make_room_or(&mut self, op: impl FnOnce(&mut Self) -> Op) -> Op {
        match self.devices.len() + 1 < DEVICES_MAX {
            true => op(self),
            false => self.delete(),
        }
    }

    fn delete(&mut self) -> Op {
        let deletable: Vec<_> = self.devices.keys().filter(|id| !self.kept.contains(id)).copied().collect();
        match deletable.len() {
            0 | 1 => Op::Flush,
            n => Op::Delete { id: deletable[self.below(n as u64) as usize] },
        }
    }

    /// A few sectors, one whole block, whole blocks, or any run.
    fn ranged(&mut self, id: u32, op: impl FnOnce(u32, u64, u64) -> Op) -> Op {
        let (sectors, block) = (self.devices[&id].len() as u64, self.block_sectors);
        let (at, count) = match self.below(8) {
            0..4 => (self.below(sectors), 1 + self.below(16)),
            4..6 => (self.below(sectors) / block * block, block),
            6 => (self.below(sectors) / block * block, block * (1 + self.below(6))),
            _ => (self.below(sectors), 1 + self.below(4 * block)),
        };
        op(id, at, count.min(sectors - at))
    }

    fn some_device(&mut self) -> u32 {
        let nth = self.below(self.devices.len() as u64) as usize;
        self.devices.keys().nth(nth).copied().unwrap_or_default()
    }

    fn enter(&mut self, op: &Op) {
        let number = self.done;
        match op {
            Op::Create { id, sectors } => {
                self.devices.insert(*id, vec![(0, 0); *sectors as usize]);
            }
            Op::Write { id, at, count } => self.fill(*id, *at, *count, (*id, number)),
            Op::Discard { id, at, count } | Op::Zero { id, at, count } => self.fill(*id, *at, *count, (0, 0)),
            Op::Cut { pairs } => {
                for (origin, copy) in pairs {
                    self.devices.insert(*copy, self.devices[origin].clone());
                }
            }
            Op::Delete { id } => drop(self.devices.remove(id)),
            Op::Flush => {}
        }
    }

    fn fill(&mut self, id: u32, at: u64, count: u64, writer: Writer) {
        if let Some(sectors) = self.devices.get_mut(&id) {
            sectors[at as usize..(at + count) as usize].fill(writer);
        }
    }

    /// A number below `n` (xorshift64*).
    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % n
    }
}
