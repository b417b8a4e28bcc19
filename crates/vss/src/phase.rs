//! The phases of a creation and the moves between them.
//!
//! ```text
//! PrepareWriters -> PrepareProviders -> ArmGuard -> SyncFileSystems
//!    -> FreezeWriters (level by level) -> HoldWrites -> Commit (provider by provider) -> Attest -> Release
//!    -> ThawWriters (level by level, reversed) -> AwaitDurable -> PostSnapshot -> Finished
//! any of these -> UnwindRelease -> UnwindWriters (reversed) -> UnwindProviders -> Failed
//! ```
//!
//! [`MOVES`] is the drawing as a table; the machine never makes a move that is not in it.

use std::fmt;

/// What a creation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Writers prepare: checkpoints, heavy work.
    PrepareWriters,
    /// Providers open the set.
    PrepareProviders,
    /// The guard starts and gets all that it will need.
    ArmGuard,
    /// Dirty data is written back while everything runs.
    SyncFileSystems,
    /// Writers stop, one level after the other.
    FreezeWriters,
    /// File systems stop.
    HoldWrites,
    /// Providers cut, one after the other.
    Commit,
    /// The guard and the writers prove that the cut lies inside the freeze.
    Attest,
    /// File systems go on.
    Release,
    /// Writers go on, in reverse order.
    ThawWriters,
    /// Copies become durable; the set is `created`.
    AwaitDurable,
    /// Writers recover their data in the copies.
    PostSnapshot,
    /// The set is there.
    Finished,
    /// After a failure: file systems go on, first of all.
    UnwindRelease,
    /// After a failure: writers go on.
    UnwindWriters,
    /// After a failure: providers discard the set.
    UnwindProviders,
    /// The set is not there, and nothing of it.
    Failed,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 17] = [
        Phase::PrepareWriters,
        Phase::PrepareProviders,
        Phase::ArmGuard,
        Phase::SyncFileSystems,
        Phase::FreezeWriters,
        Phase::HoldWrites,
        Phase::Commit,
        Phase::Attest,
        Phase::Release,
        Phase::ThawWriters,
        Phase::AwaitDurable,
        Phase::PostSnapshot,
        Phase::Finished,
        Phase::UnwindRelease,
        Phase::UnwindWriters,
        Phase::UnwindProviders,
        Phase::Failed,
    ];

    /// The word in timelines.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::PrepareWriters => "prepare_writers",
            Phase::PrepareProviders => "prepare_providers",
            Phase::ArmGuard => "arm_guard",
            Phase::SyncFileSystems => "sync_file_systems",
            Phase::FreezeWriters => "freeze_writers",
            Phase::HoldWrites => "hold_writes",
            Phase::Commit => "commit",
            Phase::Attest => "attest",
            Phase::Release => "release",
            Phase::ThawWriters => "thaw_writers",
            Phase::AwaitDurable => "await_durable",
            Phase::PostSnapshot => "post_snapshot",
            Phase::Finished => "finished",
            Phase::UnwindRelease => "unwind_release",
            Phase::UnwindWriters => "unwind_writers",
            Phase::UnwindProviders => "unwind_providers",
            Phase::Failed => "failed",
        }
    }

    /// Freeze to thaw: in these phases nothing of Umbra may touch a file (S7), and a suspend fails the set (S5).
    pub fn in_window(self) -> bool {
        (Phase::FreezeWriters..=Phase::ThawWriters).contains(&self)
    }

    /// Writes are held, or may be.
    pub fn is_held(self) -> bool {
        (Phase::HoldWrites..=Phase::Release).contains(&self)
    }

    /// Undoing what was done.
    pub fn is_unwinding(self) -> bool {
        (Phase::UnwindRelease..=Phase::UnwindProviders).contains(&self)
    }

    /// Nothing comes after.
    pub fn is_end(self) -> bool {
        matches!(self, Phase::Finished | Phase::Failed)
    }

    /// Whether [`MOVES`] has the move from here to `next`.
    pub fn may_become(self, next: Phase) -> bool {
        MOVES.contains(&(self, next))
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every legal move.
pub const MOVES: &[(Phase, Phase)] = &[
    (Phase::PrepareWriters, Phase::PrepareProviders),
    (Phase::PrepareProviders, Phase::ArmGuard),
    (Phase::ArmGuard, Phase::SyncFileSystems),
    (Phase::SyncFileSystems, Phase::FreezeWriters),
    (Phase::FreezeWriters, Phase::FreezeWriters),
    (Phase::FreezeWriters, Phase::HoldWrites),
    (Phase::HoldWrites, Phase::Commit),
    (Phase::Commit, Phase::Commit),
    (Phase::Commit, Phase::Attest),
    (Phase::Attest, Phase::Release),
    (Phase::Release, Phase::ThawWriters),
    (Phase::ThawWriters, Phase::ThawWriters),
    (Phase::ThawWriters, Phase::AwaitDurable),
    (Phase::AwaitDurable, Phase::PostSnapshot),
    (Phase::PostSnapshot, Phase::Finished),
    (Phase::PrepareWriters, Phase::UnwindRelease),
    (Phase::PrepareProviders, Phase::UnwindRelease),
    (Phase::ArmGuard, Phase::UnwindRelease),
    (Phase::SyncFileSystems, Phase::UnwindRelease),
    (Phase::FreezeWriters, Phase::UnwindRelease),
    (Phase::HoldWrites, Phase::UnwindRelease),
    (Phase::Commit, Phase::UnwindRelease),
    (Phase::Attest, Phase::UnwindRelease),
    (Phase::Release, Phase::UnwindRelease),
    (Phase::ThawWriters, Phase::UnwindRelease),
    (Phase::AwaitDurable, Phase::UnwindRelease),
    (Phase::PostSnapshot, Phase::UnwindRelease),
    (Phase::UnwindRelease, Phase::UnwindWriters),
    (Phase::UnwindWriters, Phase::UnwindWriters),
    (Phase::UnwindWriters, Phase::UnwindProviders),
    (Phase::UnwindProviders, Phase::Failed),
];
