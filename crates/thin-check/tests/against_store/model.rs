//! What each volume must hold, sector group by sector group, when acknowledged, when flushed, and in between.
//!
//! A unit is the smallest piece that histories write. For each the model keeps the value that was acknowledged last,
//! and those that may show instead after a disaster: of calls that did not return, and, when the machine is lost, all
//! since the last flush.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a unit.
pub const UNIT: u64 = 4096;
/// Units of every volume.
pub const UNITS: usize = 16 * 24;

/// What one unit may hold. 0 is zeroes.
#[derive(Debug, Clone, Default)]
struct Unit {
    /// Last acknowledged.
    value: u64,
    /// Written, or being written, since it was last known to be durable; and what was durable then.
    maybe: BTreeSet<u64>,
    /// Of a call that failed: may show at any time.
    unsure: BTreeSet<u64>,
}

/// One volume.
#[derive(Debug, Clone)]
pub struct Content(Vec<Unit>);

impl Default for Content {
    fn default() -> Self {
        Content(vec![Unit::default(); UNITS])
    }
}

impl Content {
    /// The units are about to be set.
    pub fn begin(&mut self, range: std::ops::Range<usize>, value: u64) {
        for unit in &mut self.0[range] {
            unit.maybe.extend([unit.value, value]);
            unit.unsure.insert(value);
        }
    }

    /// The call returned well.
    pub fn acknowledge(&mut self, range: std::ops::Range<usize>, value: u64) {
        for unit in &mut self.0[range] {
            unit.value = value;
            unit.unsure.clear();
        }
    }

    /// Everything acknowledged is durable.
    pub fn flushed(&mut self) {
        for unit in &mut self.0 {
            unit.maybe = unit.unsure.clone();
        }
    }

    /// Whether `found` is right for a unit while all goes well, or after the death of the process.
    pub fn allows(&self, unit: usize, found: u64) -> bool {
        self.0[unit].value == found || self.0[unit].unsure.contains(&found)
    }

    /// Whether it is right after the loss of the machine.
    pub fn allows_after_loss(&self, unit: usize, found: u64) -> bool {
        self.allows(unit, found) || self.0[unit].maybe.contains(&found)
    }

    /// These values were found in its sectors. One alone is a fact from now on.
    pub fn settle(&mut self, unit: usize, found: BTreeSet<u64>) {
        let value = found.first().copied().unwrap_or(0);
        let torn = if found.len() > 1 { found } else { BTreeSet::new() };
        self.0[unit] = Unit { value, maybe: torn.clone(), unsure: torn };
    }

    /// What the unit holds, in words.
    pub fn expected(&self, unit: usize) -> String {
        format!("{:?}", self.0[unit])
    }
}

/// All volumes that must be there, and ids of which nobody knows whether they are.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub volumes: BTreeMap<u32, Content>,
    /// Creations, cuts and deletions that did not return: with the content that the device has if it is there.
    pub unsure: BTreeMap<u32, Content>,
}

/// The bytes of a unit that holds `value`: itself, over and over, or zeroes.
pub fn bytes_of(value: u64) -> [u8; UNIT as usize] {
    let mut bytes = [0; UNIT as usize];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&value.to_le_bytes()));
    bytes
}
