//! What a driver carries out beyond the basic commands of a disk.
//!
//! What always holds: a command, page or bit of a feature that is off is not offered anywhere: not decoded, not in
//! REPORT SUPPORTED OPERATION CODES, not in a page.

/// A group of commands and pages that a driver offers as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Feature {
    /// PERSISTENT RESERVE IN and OUT: SPC-4 section 5.13.
    PersistentReservations = 1 << 0,
    /// RESERVE and RELEASE of SPC-2 section 7.
    LegacyReservations = 1 << 1,
    /// WRITE ATOMIC (16): SBC-4.
    AtomicWrites = 1 << 2,
    /// ORWRITE (16): SBC-3 section 5.5.
    OrWrite = 1 << 3,
    /// PRE-FETCH: SBC-3 sections 5.8 and 5.9.
    Prefetch = 1 << 4,
    /// EXTENDED COPY and what tells its results: SPC-4 section 5.17.
    ExtendedCopy = 1 << 5,
    /// POPULATE TOKEN, WRITE USING TOKEN and what tells their results: SBC-3 sections 5.7, 5.22
    /// and 5.46.
    RodTokens = 1 << 6,
    /// LOG SENSE: SPC-4 section 6.8.
    LogPages = 1 << 7,
    /// Thresholds of thin provisioning, their mode page and unit attention: SBC-3 section 4.7.3.
    Thresholds = 1 << 8,
    /// REPORT TARGET PORT GROUPS and all designators of ports: SPC-4 sections 6.37 and 7.8.6. It
    /// needs a topology.
    PortGroups = 1 << 9,
}

/// A set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u16);

impl Features {
    /// Nothing beyond the basic commands.
    pub const NONE: Features = Features(0);
    /// Everything there is.
    pub const ALL: Features = Features((1 << 10) - 1);

    /// This set and one more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Features {
        Features(self.0 | feature as u16)
    }

    /// This set without one.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Features {
        Features(self.0 & !(feature as u16))
    }

    pub const fn has(self, feature: Feature) -> bool {
        self.0 & feature as u16 != 0
    }

    /// Whether copies are offered in either form: both share commands and pages.
    pub(crate) const fn copies(self) -> bool {
        self.has(Feature::ExtendedCopy) || self.has(Feature::RodTokens)
    }
}
