//! Marks in data: every sixteen bytes of a unit, and of what is written to one, say which unit they belong to.

/// What a mark begins with: chance does not make it.
const MAGIC: [u8; 8] = [0xb7, 0x1d, 0x9a, 0x55, 0xe2, 0x4f, 0x08, 0xc3];
const MARK: usize = 16;

/// Which unit.
pub(super) type UnitId = u8;
/// That of the session that must never be harmed.
pub(super) const WITNESS: UnitId = 5;

/// So many bytes of marks of a unit. `salt` tells one writing from another.
pub(super) fn marked(unit: UnitId, salt: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + MARK);
    let mut number = 0u32;
    while bytes.len() < length {
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[unit, salt, 0, 0]);
        bytes.extend_from_slice(&number.to_be_bytes());
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

/// The units that data speaks of, wherever in it that stands.
pub(super) fn units(data: &[u8]) -> impl Iterator<Item = UnitId> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += data.get(at..)?.iter().position(|byte| *byte == MAGIC[0])?;
            let mark = data.get(at..at + MAGIC.len() + 1)?;
            at += 1;
            if mark[..MAGIC.len()] == MAGIC {
                at += MARK - 1;
                return Some(mark[MAGIC.len()]);
            }
        }
    })
}

/// Sets of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Units(u32);

impl Units {
    pub(super) fn of(unit: UnitId) -> Units {
        Units(1 << unit)
    }

    pub(super) fn and(self, others: Units) -> Units {
        Units(self.0 | others.0)
    }

    pub(super) fn has(self, unit: UnitId) -> bool {
        unit < 32 && self.0 >> unit & 1 == 1
    }
}
