//! The id of a thin device, the only name that the pool's format has for one.

use std::fmt;

/// Id of a thin device inside one pool. 24 bits (dm-thin format section 2); the pool stores neither names nor sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThinId(pub u32);

impl ThinId {
    /// The largest id that kernels and LVM accept.
    pub const MAX: ThinId = ThinId((1 << 24) - 1);
}

impl fmt::Display for ThinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One pair of a group snapshot: `copy` becomes what `origin` is at the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The device that is copied; any device can be one, also a copy made earlier in the same group.
    pub origin: ThinId,
    /// The id of the new device.
    pub copy: ThinId,
}
