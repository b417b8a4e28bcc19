//! Which commands go through which reservations: SPC-4 section 5.13 (commands that are allowed in the presence of various
//! reservations), SBC-3 section 4 (the same for block commands), SPC-2 section 5.5.
//!
//! What always holds: the command table says a rule for every command that we know; the kinds here are all that
//! PERSISTENT RESERVE IN reports as supported.

use crate::cdb::Cdb;
use crate::features::Features;
use crate::table;

/// The type of a persistent reservation (SPC-4 section 6.15.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    WriteExclusive = 0x1,
    ExclusiveAccess = 0x3,
    WriteExclusiveRegistrantsOnly = 0x5,
    ExclusiveAccessRegistrantsOnly = 0x6,
    WriteExclusiveAllRegistrants = 0x7,
    ExclusiveAccessAllRegistrants = 0x8,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [
        Kind::WriteExclusive,
        Kind::ExclusiveAccess,
        Kind::WriteExclusiveRegistrantsOnly,
        Kind::ExclusiveAccessRegistrantsOnly,
        Kind::WriteExclusiveAllRegistrants,
        Kind::ExclusiveAccessAllRegistrants,
    ];

    pub(super) fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Whether others may read.
    fn lets_read(self) -> bool {
        use Kind::*;
        matches!(self, WriteExclusive | WriteExclusiveRegistrantsOnly | WriteExclusiveAllRegistrants)
    }

    /// Whether whoever is registered passes: those are told when the reservation ends.
    pub(super) fn is_shared(self) -> bool {
        !matches!(self, Kind::WriteExclusive | Kind::ExclusiveAccess)
    }

    /// Whether all registrants hold it.
    pub(super) fn is_for_all(self) -> bool {
        matches!(self, Kind::WriteExclusiveAllRegistrants | Kind::ExclusiveAccessAllRegistrants)
    }
}

/// A command's row in the tables of conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Goes through everything.
    Always,
    /// TEST UNIT READY: goes through persistent reservations.
    Readiness,
    /// Conflicts with exclusive access.
    Reads,
    /// Conflicts with every reservation.
    Writes,
    /// PERSISTENT RESERVE IN and OUT: judged by what they ask; conflict with SPC-2's reservation, whoever holds it.
    Persistent,
    /// RESERVE and RELEASE: judged by who asks.
    Legacy,
    /// START STOP UNIT: a plain start always, all else like a write.
    StartStop,
    /// PREVENT ALLOW MEDIUM REMOVAL: allowing always, preventing like a write.
    PreventAllow,
}

impl Rule {
    /// The rule of a command, if we know it.
    pub fn of(cdb: &[u8; 16]) -> Option<Rule> {
        const START: u8 = 0x01;
        const POWER_CONDITION: u8 = 0xf0;
        const PREVENT: u8 = 0x03;
        let cdb = Cdb(cdb);
        let harmless = |harmless| if harmless { Rule::Always } else { Rule::Writes };
        let rule = table::find(&cdb, Features::ALL).ok()?.rule;
        Some(match rule {
            Rule::StartStop => harmless(cdb.has(4, START) && !cdb.has(4, POWER_CONDITION)),
            Rule::PreventAllow => harmless(!cdb.has(4, PREVENT)),
            rule => rule,
        })
    }

    /// Whether it goes through a persistent reservation that others hold.
    pub fn passes(self, kind: Kind, is_registered: bool) -> bool {
        match self {
            Rule::Always | Rule::Readiness | Rule::Persistent | Rule::Legacy => true,
            _ if is_registered && kind.is_shared() => true,
            Rule::Reads => kind.lets_read(),
            Rule::Writes | Rule::StartStop | Rule::PreventAllow => false,
        }
    }

    /// Whether it goes through SPC-2's reservation.
    pub fn passes_legacy(self, is_holder: bool) -> bool {
        match self {
            Rule::Always | Rule::Legacy => true,
            Rule::Persistent => false,
            _ => is_holder,
        }
    }
}
