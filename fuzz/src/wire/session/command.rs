//! Commands as a fuzzer wishes them: CDB, and data that is marked with the unit it is for.

use super::lab::{NAMED_BY_COPIES, naa};
use super::marks::{UnitId, marked};
use super::script::Bytes;
use super::unit::BYTES;
use arbitrary::Arbitrary;

const BLOCK: usize = 512;
/// Bytes of a command's data, at most: a little more than a unit has.
const DATA_MAX: usize = BYTES as usize + 8 * BLOCK;
/// Six-byte READ and WRITE; the longer ones count from there.
const READ: u8 = 0x08;
const WRITE: u8 = 0x0a;
/// A command.
#[derive(Debug, Arbitrary)]
pub(super) enum Wish<'a> {
    Read {
        size: Size,
        at: u8,
        blocks: u8,
    },
    Write {
        size: Size,
        at: u8,
        blocks: u8,
        salt: u8,
        flags: u8,
    },
    /// Commands with the CDB of a WRITE (16): COMPARE AND WRITE, ORWRITE, WRITE AND VERIFY, VERIFY, WRITE ATOMIC.
    Like {
        opcode: u8,
        at: u8,
        blocks: u8,
        flags: u8,
        zeroes: bool,
    },
    WriteSame {
        at: u8,
        blocks: u16,
        flags: u8,
    },
    Unmap {
        ranges: Vec<(u8, u8)>,
    },
    /// Commands that want some bytes: INQUIRY, MODE SENSE, REPORT LUNS, ...
    Ask {
        which: u8,
        fields: [u8; 4],
        allocation: u8,
    },
    Flush,
    ModeSelect {
        list: Bytes<'a>,
    },
    ReserveOut {
        action: u8,
        kind: u8,
        key: u8,
        second: u8,
        flags: u8,
    },
    /// RESERVE and RELEASE.
    Legacy {
        release: bool,
    },
    Copy {
        from: u8,
        to: u8,
        at: u8,
        to_at: u8,
        blocks: u8,
        form: bool,
    },
    Any {
        cdb: [u8; 16],
        data: Bytes<'a>,
        length: u16,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Size {
    Six,
    Ten,
    Twelve,
    Sixteen,
}

/// A command as it goes out.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) cdb: [u8; 16],
    /// What it sends.
    pub(super) data: Option<Vec<u8>>,
    /// What it takes.
    pub(super) length: u32,
    /// The byte of its unit that this begins with, if it is blocks.
    pub(super) from: Option<u64>,
    /// Whether it may copy between LUNs.
    pub(super) copies: bool,
}

impl Built {
    /// WRITE (10) of marks.
    pub(super) fn write(unit: UnitId, at: u8, blocks: u8, salt: u8) -> Built {
        writing(Size::Ten.cdb(WRITE, at, blocks, 0), marked(unit, salt, Some(byte(at)), bytes(blocks)))
    }

    /// READ (10).
    pub(super) fn read(at: u8, blocks: u8) -> Built {
        Built { from: Some(byte(at)), ..reading(Size::Ten.cdb(READ, at, blocks, 0), bytes(blocks) as u32) }
    }
}

impl Wish<'_> {
    /// The command to a LUN that is this unit. What goes where nothing is carries no marks: it may be there when the data comes.
    pub(super) fn build(&self, unit: Option<UnitId>) -> Built {
        let data = |salt, at, length| match unit {
            Some(unit) => marked(unit, salt, at, length),
            None => vec![0; length],
        };
        match self {
            Wish::Read { size, at, blocks } => {
                Built { cdb: size.cdb(READ, *at, *blocks, 0), ..Built::read(*at, *blocks) }
            }
            Wish::Write { size, at, blocks, salt, flags } => {
                let cdb = size.cdb(WRITE, *at, *blocks, *flags);
                writing(cdb, data(*salt, Some(byte(*at)), bytes(*blocks)))
            }
            Wish::Like { opcode, at, blocks, flags, zeroes } => {
                let marks = data(0, Some(byte(*at)), bytes(*blocks));
                like(*opcode, *at, *blocks, *flags, if *zeroes { vec![0; marks.len()] } else { marks })
            }
            Wish::WriteSame { at, blocks, flags } => {
                let mut cdb = sixteen(0x93, u64::from(*at), (*blocks).into());
                cdb[1] = *flags;
                writing(cdb, data(7, None, BLOCK))
            }
            Wish::Unmap { ranges } => unmap(ranges),
            Wish::Ask { which, fields, allocation } => ask(*which, *fields, *allocation),
            Wish::Flush => reading(cdb(&[0x35]), 0),
            Wish::ModeSelect { list } => {
                writing(cdb(&[0x15, 0x10, 0, 0, list.0.len() as u8]), list.0.to_vec())
            }
            Wish::ReserveOut { action, kind, key, second, flags } => {
                let mut list = vec![0; 24];
                (list[7], list[15], list[20]) = (*key, *second, *flags);
                writing(cdb(&[0x5f, *action, *kind, 0, 0, 0, 0, 0, 24]), list)
            }
            Wish::Legacy { release } => reading(cdb(&[if *release { 0x17 } else { 0x16 }]), 0),
            Wish::Copy { from, to, at, to_at, blocks, form } => {
                copy(*from, *to, (*at, *to_at), *blocks, *form)
            }
            Wish::Any { cdb, data, length } => {
                let copies = cdb[0] == 0x83;
                let data = (!data.0.is_empty()).then(|| data.0.to_vec());
                Built { cdb: *cdb, data, length: (*length).into(), from: None, copies }
            }
        }
    }
}

impl Size {
    /// READ and WRITE differ by two in all sizes; so do those of one size from those of another.
    fn cdb(self, opcode: u8, at: u8, blocks: u8, flags: u8) -> [u8; 16] {
        match self {
            Size::Six => cdb(&[opcode, 0, 0, at, blocks]),
            Size::Ten => cdb(&[opcode + 0x20, flags, 0, 0, 0, at, 0, 0, blocks]),
            Size::Twelve => cdb(&[opcode + 0xa0, flags, 0, 0, 0, at, 0, 0, 0, blocks]),
            Size::Sixteen => {
                let mut cdb = sixteen(opcode + 0x80, at.into(), blocks.into());
                cdb[1] = flags;
                cdb
            }
        }
    }
}

fn cdb(bytes: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    cdb
}

fn sixteen(opcode: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = cdb(&[opcode]);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

fn bytes(blocks: u8) -> usize {
    (usize::from(blocks) * BLOCK).min(DATA_MAX)
}

/// The first byte of a block.
fn byte(block: u8) -> u64 {
    u64::from(block) * BLOCK as u64
}

fn reading(cdb: [u8; 16], length: u32) -> Built {
    Built { cdb, data: None, length, from: None, copies: false }
}

fn writing(cdb: [u8; 16], data: Vec<u8>) -> Built {
    Built { cdb, data: Some(data), length: 0, from: None, copies: false }
}

/// COMPARE AND WRITE compares with what it writes.
fn like(opcode: u8, at: u8, blocks: u8, flags: u8, data: Vec<u8>) -> Built {
    const OPCODES: [u8; 5] = [COMPARE, OR, 0x8e, 0x8f, 0x9c];
    const COMPARE: u8 = 0x89;
    const OR: u8 = 0x8b;
    let opcode = OPCODES[usize::from(opcode) % OPCODES.len()];
    let mut cdb = sixteen(opcode, at.into(), blocks.into());
    cdb[1] = flags & 0x0e;
    writing(
        cdb,
        match opcode {
            COMPARE => data.repeat(2),
            // Marks that are joined bit by bit would be nobody's.
            OR => vec![0; data.len()],
            _ => data,
        },
    )
}

fn unmap(ranges: &[(u8, u8)]) -> Built {
    let descriptors: Vec<u8> = ranges
        .iter()
        .take(32)
        .flat_map(|(at, blocks)| [0, 0, 0, 0, 0, 0, 0, *at, 0, 0, 0, *blocks, 0, 0, 0, 0])
        .collect();
    let length = descriptors.len() as u16;
    let [high, low] = (length + 8).to_be_bytes();
    let header = [(length + 6).to_be_bytes(), length.to_be_bytes(), [0; 2], [0; 2]].concat();
    writing(cdb(&[0x42, 0, 0, 0, 0, 0, 0, high, low]), [header, descriptors].concat())
}

/// Commands that only tell something.
fn ask(which: u8, fields: [u8; 4], allocation: u8) -> Built {
    let [a, b, c, d] = fields;
    let all: [[u8; 16]; 14] = [
        cdb(&[0x00]),
        cdb(&[0x03, a & 1, 0, 0, allocation]),
        cdb(&[0x12, a & 1, b, 0, allocation]),
        cdb(&[0x1a, a, b, c, allocation]),
        cdb(&[0x25]),
        cdb(&[0x4d, 0, a, b, 0, c, d, 0, allocation]),
        cdb(&[0x5a, a, b, c, 0, 0, 0, 0, allocation]),
        cdb(&[0x5e, a % 5, 0, 0, 0, 0, 0, 0, allocation]),
        cdb(&[0x84, a % 9, b, c, 0, d, 0, 0, 0, 0, 0, 0, 0, allocation]),
        cdb(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, allocation]),
        cdb(&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, a, 0, 0, 0, allocation]),
        cdb(&[0xa0, 0, a % 3, 0, 0, 0, 0, 0, 0, allocation]),
        cdb(&[0xa3, 0x0a + a % 4, b & 0x87, c, 0, d, 0, 0, 1, allocation]),
        cdb(&[0x34, 0, 0, 0, 0, a, 0, 0, b]),
    ];
    reading(all[usize::from(which) % all.len()], 512)
}

/// EXTENDED COPY of one segment between two units, which the host may see or not.
fn copy(from: u8, to: u8, (at, to_at): (u8, u8), blocks: u8, form: bool) -> Built {
    let target = |unit: u8| {
        let mut descriptor = [0; 32];
        (descriptor[0], descriptor[4], descriptor[5], descriptor[7]) = (0xe4, 1, 3, 8);
        let unit = NAMED_BY_COPIES[usize::from(unit) % NAMED_BY_COPIES.len()];
        descriptor[8..16].copy_from_slice(&naa(unit).to_be_bytes());
        descriptor[30] = 2;
        descriptor
    };
    let mut segment = [0; 28];
    (segment[0], segment[3], segment[7], segment[11]) = (0x02, 24, 1, blocks);
    (segment[19], segment[27]) = (at, to_at);
    let mut list = vec![0; if form { 48 } else { 16 }];
    match form {
        false => (list[0], list[3], list[11]) = (1, 64, 28),
        true => (list[0], list[23], list[43], list[45]) = (1, 1, 64, 28),
    }
    list.extend_from_slice(&target(from));
    list.extend_from_slice(&target(to));
    list.extend_from_slice(&segment);
    let cdb = cdb(&[0x83, u8::from(form), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, list.len() as u8]);
    Built { copies: true, ..writing(cdb, list) }
}
