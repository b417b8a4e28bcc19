//! What the machine and its driver say to each other.
//!
//! The driver does each [`Task`] that an [`Effect::Start`] names and brings its answer back as [`Input::Answered`]. It
//! drops work on [`Effect::Cancel`]; an answer that comes nevertheless is ignored. Tasks are equal if they are the same
//! work, so a task is its own id.

use std::fmt;
use umbra_base::{Error, Instant};

use crate::{Outcome, WriterReport};

/// The two clocks that the driver reads together before it calls the machine.
///
/// Boot time counts through a suspend, monotonic time does not: where they drift apart, the host slept (S5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// CLOCK_BOOTTIME; all limits are on this clock.
    pub boot: Instant,
    /// CLOCK_MONOTONIC.
    pub monotonic: Instant,
}

/// A piece of work for the driver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Heavy preparation; answered with [`Answer::Prepared`].
    PrepareWriter(String),
    /// Open the set in the provider and reserve what the cut needs.
    PrepareProvider(String),
    /// Start the guard and give it the file systems, the limits and the writers' undo commands.
    ArmGuard,
    /// Write back what is dirty, while everything still runs, so that the freeze has little to do.
    SyncFileSystems,
    /// Stop the writer's writes.
    FreezeWriter(String),
    /// Freeze every mounted file system.
    HoldWrites,
    /// Cut; answered with [`Answer::Cut`].
    CommitProvider(String),
    /// Prove that every file system is frozen still.
    AttestGuard,
    /// Prove that the writer was frozen all the time.
    AttestWriter(String),
    /// Thaw every file system. May be asked again, also while [`Task::HoldWrites`] still runs.
    ReleaseWrites,
    /// Let the writer go on.
    ThawWriter(String),
    /// End the guard. Nobody waits for the answer.
    DisarmGuard,
    /// Wait until the copies are durable and the set is `created`; a set that is not transportable is imported here.
    FinishProvider(String),
    /// Auto-recovery of the writer's data in the copy.
    PostSnapshot(String),
    /// Undo whatever the writer did, in whatever state it is. May be asked of a writer that is thawed already.
    AbortWriter(String),
    /// Discard the set, whatever there is of it.
    AbortProvider(String),
}

impl Task {
    /// Who does it.
    pub fn part(&self) -> Part {
        match self {
            Task::PrepareWriter(name)
            | Task::FreezeWriter(name)
            | Task::AttestWriter(name)
            | Task::ThawWriter(name)
            | Task::PostSnapshot(name)
            | Task::AbortWriter(name) => Part::Writer(name.clone()),
            Task::PrepareProvider(name)
            | Task::CommitProvider(name)
            | Task::FinishProvider(name)
            | Task::AbortProvider(name) => Part::Provider(name.clone()),
            Task::ArmGuard
            | Task::SyncFileSystems
            | Task::HoldWrites
            | Task::AttestGuard
            | Task::ReleaseWrites
            | Task::DisarmGuard => Part::Guard,
        }
    }

    /// The verb in sentences such as `writer "pg" did not freeze within 20 s`.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Task::PrepareWriter(_) | Task::PrepareProvider(_) => "prepare",
            Task::ArmGuard => "get ready",
            Task::SyncFileSystems => "sync the file systems",
            Task::FreezeWriter(_) => "freeze",
            Task::HoldWrites => "freeze the file systems",
            Task::CommitProvider(_) => "commit",
            Task::AttestGuard => "attest that the file systems are frozen",
            Task::AttestWriter(_) => "attest that it is frozen",
            Task::ReleaseWrites => "thaw the file systems",
            Task::ThawWriter(_) => "thaw",
            Task::DisarmGuard => "end",
            Task::FinishProvider(_) => "make the copies durable",
            Task::PostSnapshot(_) => "recover its data in the copy",
            Task::AbortWriter(_) => "abort",
            Task::AbortProvider(_) => "discard the set",
        }
    }
}

/// Who takes part, for losses and for saying who failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The writer of that name.
    Writer(String),
    /// The provider of that name.
    Provider(String),
    /// The freeze guard.
    Guard,
    /// Whoever asked for the set.
    Requester,
    /// The machine under us.
    Host,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Writer(name) => write!(f, "writer {name:?}"),
            Part::Provider(name) => write!(f, "provider {name:?}"),
            Part::Guard => f.write_str("the guard"),
            Part::Requester => f.write_str("the requester"),
            Part::Host => f.write_str("the host"),
        }
    }
}

/// When a cut was made, by the clock of the array that made it (S5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutTime {
    /// Nanoseconds since 1970-01-01 UTC.
    pub unix_nanos: u64,
}

/// What a task that succeeded has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing but that it is done.
    Done,
    /// To [`Task::PrepareWriter`].
    Prepared(WriterReport),
    /// To [`Task::CommitProvider`].
    Cut(CutTime),
}

/// What happens to the machine.
#[derive(Debug)]
pub enum Input {
    /// A task ended.
    Answered(Task, Result<Answer, Error>),
    /// A participant died or its connection broke.
    Lost(Part, Error),
    /// The requester does not want the set any more.
    Cancelled,
}

/// What the machine wants done.
#[derive(Debug)]
pub enum Effect {
    /// Do this and answer.
    Start(Task),
    /// Stop doing this; no answer is needed.
    Cancel(Task),
    /// The set is finished or failed; nothing comes after.
    Ended(Box<Outcome>),
}
