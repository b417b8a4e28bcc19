//! What may happen to the catalogue: each function takes the catalogue and a wish, and answers with a refusal or with
//! the [`Change`] that grants it.
//!
//! ```text
//!   wish + catalogue ---> rules ---> Decision { outcome, change } ---> driver: store, commit, fences
//! ```
//!
//! No I/O, clock, randomness or locks: ids, times and thin devices are handed in. What always holds: a wish already met
//! is `Unchanged` with an empty change (P2), and a refusal changes nothing. The order of a change's steps towards pool
//! and target is the driver's matter.

pub mod begin;
pub mod check;
pub mod copies;
pub mod diff;
pub mod host;
pub mod lun;
pub mod moves;
pub mod set;
pub mod space;
pub mod when;

use crate::{
    limits,
    model::{Catalogue, Change, Edit, Grave, GraveKind, Named, UnixNanos, look_up},
};
use umbra_base::{Error, ErrorCode, Result};
use uuid::Uuid;

/// What a request did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Something is new.
    Created,
    /// Something is different.
    Changed,
    /// It was so already.
    Unchanged,
    /// Something is gone.
    Deleted,
}

/// A granted wish.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What it does.
    pub outcome: Outcome,
    /// How.
    pub change: Change,
}

impl Decision {
    /// Nothing to do.
    pub fn unchanged() -> Self {
        Decision { outcome: Outcome::Unchanged, change: Change::new() }
    }

    fn created(change: Change) -> Self {
        Decision { outcome: Outcome::Created, change }
    }

    fn changed(change: Change) -> Self {
        Decision { outcome: Outcome::Changed, change }
    }

    fn deleted(change: Change) -> Self {
        Decision { outcome: Outcome::Deleted, change }
    }
}

/// Refuses when the object moved on since the caller read it; 0 is "whatever it is now".
fn expect_revision(what: &str, id: Uuid, have: u64, want: u64) -> Result<()> {
    if want == 0 || want == have {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::RevisionConflict,
        format!("{what} {id} is at revision {have}, not {want}: somebody changed it"),
    )
    .hint("read it again and decide anew")
    .param("revision", have))
}

/// Adds a memory of something deleted, and drops the oldest one when there are too many.
fn bury(cat: &Catalogue, change: &mut Change, grave: Grave) {
    if cat.graves.len() >= limits::GRAVES
        && let Some(oldest) = cat.graves.values().min_by_key(|grave| grave.at)
    {
        change.push(Edit::Exhume(oldest.id));
    }
    change.push(Edit::Bury(grave));
}

impl Named for Grave {
    fn uuid(&self) -> Uuid {
        self.id
    }
    fn name(&self) -> Option<&str> {
        (!self.name.is_empty()).then_some(self.name.as_str())
    }
}

/// `missing`, with the time at which a thing of that key was deleted, if one was (P2).
fn or_grave(cat: &Catalogue, missing: Error, key: &str, lun: bool) -> Error {
    if missing.code() != ErrorCode::ObjectNotFound {
        return missing;
    }
    let graves =
        cat.graves.values().map(|grave| &**grave).filter(|grave| (grave.kind == GraveKind::Lun) == lun);
    // Names may have been used more than once: the latest counts.
    let latest = graves.clone().filter(|grave| grave.name() == Some(key)).max_by_key(|grave| grave.at);
    match latest.or_else(|| look_up("grave", key, graves).ok()) {
        Some(grave) => grave_error(grave),
        None => missing,
    }
}

fn grave_error(grave: &Grave) -> Error {
    let at = when::text(grave.at);
    let id = grave.id;
    let error = match grave.kind {
        GraveKind::Lun => {
            Error::new(ErrorCode::ObjectNotFound, format!("LUN {:?} ({id}) was deleted at {at}", grave.name))
        }
        GraveKind::Set => Error::new(ErrorCode::ObjectNotFound, format!("set {id} was deleted at {at}")),
        GraveKind::LapsedSet => Error::new(
            ErrorCode::LeaseExpired,
            format!("set {id} was deleted at {at}, unfinished: its lease ran out or the array was restarted"),
        )
        .hint("create a new set"),
        GraveKind::GivenUpSet => Error::new(
            ErrorCode::ObjectNotFound,
            format!("set {id} was given up at {at}: the pool ran out of space, and originals come first"),
        )
        .hint("extend the pool; sets that are neither volatile nor expire are never given up"),
    };
    error.param("deleted_unix_ns", grave.at)
}

fn taken(what: &str, name: &str, by: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::ObjectAlreadyExists, format!("{what} {name:?} is taken by {by}"))
        .hint("choose another name, or delete the other one first")
        .param(what, name)
}

fn full(what: &str, limit: usize) -> Error {
    Error::new(ErrorCode::LimitReached, format!("the array has {limit} {what}, which is its limit"))
        .hint(format!("delete {what} that nobody needs"))
        .param("limit", limit)
}

/// When something is deleted.
fn grave(id: Uuid, kind: GraveKind, name: &str, at: UnixNanos) -> Grave {
    Grave { id, kind, name: name.to_owned(), at }
}

#[cfg(test)]
pub(crate) mod fixture;
