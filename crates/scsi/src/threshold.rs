//! Soft thresholds of thin provisioning: SBC-3 section 4.7.3, design A5.
//!
//! What always holds: a threshold that was reached is told once, and again only after the resource has moved back over
//! it by a whole threshold set.

use crate::limits::{BLOCK, THRESHOLD_EXPONENT};
use crate::sense::Sense;

/// Parameter codes of resources in the log page, which are their names in threshold descriptors.
pub(crate) const AVAILABLE: u16 = 0x0001;
pub(crate) const USED: u16 = 0x0002;
/// Where the threshold descriptors begin in the mode page: the INFORMATION of their attention.
pub(crate) const AVAILABLE_AT: usize = 16;
pub(crate) const USED_AT: usize = 24;

/// What MODE SELECT has set. That all nexuses are told, not one (SITUA), is not among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thresholds {
    /// Reached when that much or less is available.
    pub available: Threshold,
    /// Reached when that much or more is used.
    pub used: Threshold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Threshold {
    pub enabled: bool,
    /// The centre of the threshold range, in threshold sets of 1 MiB.
    pub sets: u32,
}

/// Space for blocks that are mapped, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    pub available: Resource,
    pub used: Resource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    pub bytes: u64,
    pub scope: Scope,
}

/// Whether other units change the count (SBC-3 section 6.5, SCOPE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    Dedicated = 1,
    Shared = 2,
}

impl Resource {
    /// Whole threshold sets.
    pub(crate) fn sets(&self) -> u32 {
        u32::try_from(self.bytes / SET).unwrap_or(u32::MAX)
    }
}

/// Bytes of a threshold set.
const SET: u64 = BLOCK << THRESHOLD_EXPONENT;

/// Which thresholds have been told; one for a unit, kept by the driver. In a new one all are armed: the driver takes a new
/// one after a MODE SELECT that changed thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    told_available: bool,
    told_used: bool,
}

impl Watch {
    /// The attentions that are due with these resources.
    pub fn look(&mut self, thresholds: &Thresholds, resources: &Resources) -> Vec<Sense> {
        let (low, high) = range(thresholds.available);
        let bytes = resources.available.bytes;
        let available = passed(thresholds.available, &mut self.told_available, bytes <= low, bytes > high);
        let (low, high) = range(thresholds.used);
        let bytes = resources.used.bytes;
        let used = passed(thresholds.used, &mut self.told_used, bytes >= high, bytes < low);
        let reached = [(available, AVAILABLE_AT), (used, USED_AT)];
        let due = reached.into_iter().filter(|(passed, _)| *passed);
        due.map(|(_, at)| Sense::THIN_PROVISIONING_THRESHOLD.at(at as u64)).collect()
    }
}

/// Half a set to both sides of the centre.
fn range(threshold: Threshold) -> (u64, u64) {
    let centre = u64::from(threshold.sets) * SET;
    (centre.saturating_sub(SET / 2), centre + SET / 2)
}

/// Whether a threshold is to be told now.
fn passed(threshold: Threshold, told: &mut bool, reached: bool, left: bool) -> bool {
    if !threshold.enabled || left {
        *told = false;
    }
    let due = threshold.enabled && reached && !*told;
    *told |= due;
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn resources(available: u64, used: u64) -> Resources {
        let resource = |bytes| Resource { bytes, scope: Scope::Shared };
        Resources { available: resource(available), used: resource(used) }
    }

    fn at(sets: u32) -> Threshold {
        Threshold { enabled: true, sets }
    }

    #[test]
    fn a_threshold_is_told_once_until_the_resource_has_come_back() {
        let thresholds = Thresholds { available: at(100), ..Thresholds::default() };
        let mut watch = Watch::default();
        let mut look = |bytes| watch.look(&thresholds, &resources(bytes, 0)).len();
        let (low, high) = (100 * MIB - MIB / 2, 100 * MIB + MIB / 2);
        assert_eq!(look(low + 1), 0);
        assert_eq!(look(low), 1);
        assert_eq!(look(0), 0, "told already");
        assert_eq!(look(high), 0, "not back yet");
        assert_eq!(look(low), 0);
        assert_eq!(look(high + 1), 0, "armed again");
        assert_eq!(look(low), 1);
    }

    #[test]
    fn what_is_used_is_told_as_it_grows() {
        let thresholds = Thresholds { used: at(100), ..Thresholds::default() };
        let mut watch = Watch::default();
        let mut look = |bytes| watch.look(&thresholds, &resources(0, bytes));
        assert_eq!(look(100 * MIB + MIB / 2 - 1), []);
        assert_eq!(look(100 * MIB + MIB / 2), [Sense::THIN_PROVISIONING_THRESHOLD.at(24)]);
        assert_eq!(look(100 * MIB + MIB / 2), []);
        assert_eq!(look(99 * MIB), [], "armed again");
        assert_eq!(look(101 * MIB).len(), 1);
    }

    #[test]
    fn a_threshold_that_is_off_says_nothing() {
        let off = Thresholds { available: Threshold { enabled: false, sets: 100 }, ..Thresholds::default() };
        assert_eq!(Watch::default().look(&off, &resources(0, 0)), []);
    }
}
