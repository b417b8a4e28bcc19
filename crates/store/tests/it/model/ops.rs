//! The operations of a history, and how they are generated. Devices are told by any number, modulo those that there are;
//! sectors in the same way.

use super::{BLOCK, SECTORS, WHOLE};
use proptest::prelude::*;

/// A byte for some sectors of a device.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    pub device: usize,
    pub at: usize,
    pub len: usize,
    pub byte: u8,
}

#[derive(Debug, Clone)]
pub enum Op {
    Create,
    Write(Fill),
    WriteAtomic(Fill),
    Discard {
        device: usize,
        at: usize,
        len: usize,
    },
    WriteZeroes {
        device: usize,
        at: usize,
        len: usize,
    },
    Cut {
        first: usize,
        count: usize,
    },
    Delete {
        device: usize,
    },
    Share {
        from: usize,
        to: usize,
        blocks: (usize, usize, usize),
    },
    /// Of the pool, while something is written from that operation of the disk on.
    Extend {
        data: u64,
        metadata: u64,
        at: usize,
        write: Fill,
    },
    /// Of a LUN.
    Grow {
        device: usize,
        sectors: usize,
    },
    Flush {
        device: usize,
    },
    Close,
    Drop,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![1..20usize, 1..SECTORS, Just(BLOCK / 512)]
}

fn fill() -> impl Strategy<Value = Fill> {
    let parts = (any::<usize>(), 0..SECTORS, len(), 1..255u8);
    parts.prop_map(|(device, at, len, byte)| Fill { device, at, len, byte })
}

/// A history.
pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    let device = any::<usize>();
    let op = prop_oneof![
        2 => Just(Op::Create),
        12 => fill().prop_map(Op::Write),
        4 => (device, 0..SECTORS, len()).prop_map(|(device, at, len)| Op::Discard { device, at, len }),
        2 => (device, 0..SECTORS, len()).prop_map(|(device, at, len)| Op::WriteZeroes { device, at, len }),
        4 => (device, 1..3usize).prop_map(|(first, count)| Op::Cut { first, count }),
        2 => device.prop_map(|device| Op::Delete { device }),
        2 => device.prop_map(|device| Op::Flush { device }),
        3 => fill().prop_map(Op::WriteAtomic),
        4 => (device, any::<usize>(), (0..WHOLE, 0..WHOLE, 1..WHOLE))
            .prop_map(|(from, to, blocks)| Op::Share { from, to, blocks }),
        1 => (0..4u64, 0..4u64, 0..9usize, fill())
            .prop_map(|(data, metadata, at, write)| Op::Extend { data, metadata, at, write }),
        2 => (device, 1..200usize).prop_map(|(device, sectors)| Op::Grow { device, sectors }),
        1 => Just(Op::Close),
        2 => Just(Op::Drop),
    ];
    prop::collection::vec(op, 1..50)
}
