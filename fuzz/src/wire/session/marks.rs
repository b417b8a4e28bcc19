//! Marks in data: every sixteen bytes of a unit, and of what is written to one, say which unit they belong to, and where.

/// What a mark begins with: chance does not make it.
const MAGIC: [u8; 8] = [0xb7, 0x1d, 0x9a, 0x55, 0xe2, 0x4f, 0x08, 0xc3];
const MARK: usize = 16;
/// The place of what is written in many places at once.
const ANYWHERE: u32 = u32::MAX;

/// Which unit.
pub(super) type UnitId = u8;
/// That of the sessions that must never be harmed.
pub(super) const WITNESS: UnitId = 5;
/// That of data which must not get anywhere.
pub(super) const NOBODY: UnitId = 30;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) unit: UnitId,
    /// Counted in marks from the unit's beginning.
    place: u32,
}

impl Mark {
    /// Whether it may stand at this byte of a unit.
    pub(super) fn belongs_at(self, byte: u64) -> bool {
        self.place == ANYWHERE || u64::from(self.place) * MARK as u64 == byte
    }
}

/// So many bytes of marks of a unit, for that byte of it, or for anywhere. `salt` tells one writing from another.
pub(super) fn marked(unit: UnitId, salt: u8, at: Option<u64>, length: usize) -> Vec<u8> {
    let first = at.map(|byte| (byte / MARK as u64) as u32);
    let mut bytes = Vec::with_capacity(length + MARK);
    for number in 0..length.div_ceil(MARK) as u32 {
        let place = first.map_or(ANYWHERE, |first| first + number);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[unit, salt]);
        bytes.extend_from_slice(&check(unit, salt, place).to_be_bytes());
        bytes.extend_from_slice(&place.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bits that somebody changes in a mark leave no mark.
fn check(unit: UnitId, salt: u8, place: u32) -> u16 {
    let word = u64::from(unit) << 40 | u64::from(salt) << 32 | u64::from(place);
    (word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
}

/// The marks in data, wherever in it they begin.
pub(super) fn marks(data: &[u8]) -> impl Iterator<Item = (usize, Mark)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            // Mostly one begins where the last one ended.
            let rest = data.get(at..)?;
            if let Some(mark) = rest.first_chunk().and_then(read) {
                at += MARK;
                return Some((at - MARK, mark));
            }
            let next = rest.get(1..)?.iter().position(|byte| *byte == MAGIC[0])?;
            at += 1 + next;
        }
    })
}

fn read(bytes: &[u8; MARK]) -> Option<Mark> {
    let word = u128::from_be_bytes(*bytes);
    let [.., unit, salt, high, low, a, b, c, d] = *bytes;
    let place = u32::from_be_bytes([a, b, c, d]);
    let is_whole = check(unit, salt, place) == u16::from_be_bytes([high, low]);
    (word >> 64 == u128::from(u64::from_be_bytes(MAGIC)) && is_whole).then_some(Mark { unit, place })
}

/// Sets of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Units(u32);

impl Units {
    pub(super) const fn of(unit: UnitId) -> Units {
        Units(1 << unit)
    }

    pub(super) fn and(self, others: Units) -> Units {
        Units(self.0 | others.0)
    }

    pub(super) fn has(self, unit: UnitId) -> bool {
        unit < 32 && self.0 >> unit & 1 == 1
    }
}
