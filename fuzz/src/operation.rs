//! What a driver of the engine can do, as the fuzzer says it: operations, devices, places.
//!
//! Small numbers come up more often than others, since they meet what is there.

use arbitrary::Arbitrary;
use umbra_thin::ThinId;

/// Ids from here on are devices under deletion, in our own pools.
pub(crate) const FIRST_DOOMED: u32 = 0xF0_0000;
/// Devices of one creation: enough to fill a small pool.
const ROW_MAX: u32 = 64;

/// What a driver can do.
#[derive(Debug, Arbitrary)]
pub(crate) enum Operation {
    Create(Device, u8),
    Snapshot(Vec<(Device, Device)>),
    Delete(Device, u8),
    BeginDelete(Device),
    DeleteStep {
        budget: u8,
    },
    Share {
        from: (Device, Place),
        to: (Device, Place),
        blocks: u8,
    },
    Hold,
    Release,
    Changed {
        left: Device,
        right: Option<Device>,
        from: Place,
        budget: u8,
    },
    Lookup(Device, Span),
    Mappings(Device, Span),
    Leaf(Device, Place),
    Write {
        device: Device,
        at: Place,
        blocks: u8,
        how: How,
    },
    Discard(Device, Span),
    ExtendData(u16),
    ExtendMetadata(u8),
    ReplayMap {
        device: Device,
        at: Place,
        block: u16,
        len: u8,
    },
    ReplayUnmap(Device, Span),
    BeginCommit {
        log: bool,
    },
    EndCommit,
    /// The machine is lost; of a commit under way these blocks arrived, and all of it if it says so.
    Crash {
        arrived: u64,
        whole: bool,
    },
}

/// How a block is written.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum How {
    InPlaceIfPossible,
    Redirected,
    /// Planned, and given up.
    Aborted,
}

/// A device's id: mostly one of few, sometimes at the end of what there is.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Device {
    Known(u8),
    /// Around the first id that our own pools reserve.
    Reserved(u8),
    Last(u8),
}

impl Device {
    pub(crate) fn id(self) -> ThinId {
        match self {
            Device::Known(id) => ThinId(id.into()),
            Device::Reserved(beyond) => ThinId(FIRST_DOOMED - 1 + u32::from(beyond % 4)),
            Device::Last(beyond) => ThinId(ThinId::MAX.0 - 1 + u32::from(beyond % 4)),
        }
    }

    /// It and some that follow.
    pub(crate) fn row(self, more: u8) -> impl Iterator<Item = ThinId> {
        (0..=u32::from(more) % ROW_MAX).map(move |i| ThinId(self.id().0 + i))
    }
}

/// A virtual block.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Place {
    Low(u8),
    Middle(u16),
    /// Counted from the largest number down.
    Last(u16),
    Any(u64),
}

impl Place {
    pub(crate) fn block(self) -> u64 {
        match self {
            Place::Low(block) => block.into(),
            Place::Middle(block) => block.into(),
            Place::Last(back) => u64::MAX - u64::from(back),
            Place::Any(block) => block,
        }
    }
}

/// A range of virtual blocks.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct Span {
    from: Place,
    len: u32,
}

impl Span {
    pub(crate) fn range(self) -> std::ops::Range<u64> {
        let from = self.from.block();
        from..from.saturating_add((self.len % (1 << 21)).into())
    }
}
