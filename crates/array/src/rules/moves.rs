//! The moves of a set (B1), as one table, and the refusals of all others (B2).

use super::when;
use crate::model::{Catalogue, SetState, SnapshotSet};
use umbra_base::{Error, ErrorCode, Result};

/// A set's state without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of SetState")]
pub enum Stage {
    Pending,
    Created,
    Imported,
    Breaking,
    Broken,
}

/// What can be asked of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the requests")]
pub enum SetStep {
    Renew,
    Cut,
    Commit,
    Abort,
    Import,
    Steal,
    Unimport,
    BeginBreak,
    CancelBreak,
    CommitBreak,
    Delete,
    Update,
}

/// Where a move leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Into another stage.
    To(Stage),
    /// The set stays what it is; data of it may change.
    Stays,
    /// The set is gone.
    Gone,
}

use Next::{Gone, Stays, To};
use SetStep as Do;
use Stage as In;

/// Every move that there is. What is not here is refused with `bad_state`, and for a broken set with `object_not_found`.
pub const MOVES: &[(Stage, SetStep, Next)] = &[
    (In::Pending, Do::Renew, Stays),
    (In::Pending, Do::Cut, Stays),
    (In::Pending, Do::Commit, To(In::Created)),
    (In::Pending, Do::Abort, Gone),
    (In::Pending, Do::Update, Stays),
    // A lost answer may be asked for again (P2).
    (In::Created, Do::Commit, Stays),
    (In::Created, Do::Import, To(In::Imported)),
    (In::Created, Do::Steal, To(In::Imported)),
    (In::Created, Do::Unimport, Stays),
    (In::Created, Do::Delete, Gone),
    (In::Created, Do::Update, Stays),
    (In::Imported, Do::Commit, Stays),
    (In::Imported, Do::Import, Stays),
    (In::Imported, Do::Steal, To(In::Imported)),
    (In::Imported, Do::Unimport, To(In::Created)),
    (In::Imported, Do::BeginBreak, To(In::Breaking)),
    (In::Imported, Do::CancelBreak, Stays),
    (In::Imported, Do::Delete, Gone),
    (In::Imported, Do::Update, Stays),
    // A host that died in the middle of a break is fenced and taken over from like any other.
    (In::Breaking, Do::Steal, To(In::Imported)),
    (In::Breaking, Do::BeginBreak, Stays),
    (In::Breaking, Do::CancelBreak, To(In::Imported)),
    (In::Breaking, Do::CommitBreak, To(In::Broken)),
    (In::Breaking, Do::Update, Stays),
];

/// The stage of a state.
pub fn stage(state: &SetState) -> Stage {
    match state {
        SetState::Pending => Stage::Pending,
        SetState::Created { .. } => Stage::Created,
        SetState::Imported { .. } => Stage::Imported,
        SetState::Breaking { .. } => Stage::Breaking,
        SetState::Broken { .. } => Stage::Broken,
    }
}

/// Where `step` leads from `stage`, if anywhere.
pub fn next(stage: Stage, step: SetStep) -> Option<Next> {
    MOVES.iter().find(|(from, by, _)| (*from, *by) == (stage, step)).map(|(_, _, next)| *next)
}

/// Where `step` leads `set`, or why it is refused.
pub fn check(cat: &Catalogue, set: &SnapshotSet, step: SetStep) -> Result<Next> {
    if let SetState::Broken { at, .. } = set.state {
        return Err(broken(cat, set, at));
    }
    next(stage(&set.state), step).ok_or_else(|| wrong_state(set, step))
}

/// A broken set is no set (B4): the error says when it was broken, and into which LUNs (P2).
fn broken(cat: &Catalogue, set: &SnapshotSet, at: u64) -> Error {
    let luns: Vec<_> = set.luns.iter().map(|lun| lun_text(cat, lun.working)).collect();
    let ids: Vec<_> = set.luns.iter().map(|lun| lun.working.to_string()).collect();
    Error::new(
        ErrorCode::ObjectNotFound,
        format!("set {} was broken at {} into LUNs {}", set.id, when::text(at), luns.join(", ")),
    )
    .hint("its LUNs live on without it: manage them with `umbra lun`")
    .param("set", set.id)
    .param("broken_unix_ns", at)
    .param("luns", ids.join(","))
}

fn lun_text(cat: &Catalogue, id: umbra_base::LunId) -> String {
    match cat.luns.get(&id) {
        Some(lun) => format!("{:?}", lun.name),
        None => format!("{id} (deleted since)"),
    }
}

fn wrong_state(set: &SnapshotSet, step: SetStep) -> Error {
    let (asked, hint) = wording(step);
    Error::new(ErrorCode::BadState, format!("{asked} set {}: it is {}", set.id, set.state.name()))
        .hint(hint)
        .param("set", set.id)
        .param("state", set.state.name())
}

fn wording(step: SetStep) -> (&'static str, &'static str) {
    match step {
        Do::Renew => ("renew the lease of", "only a pending set has a lease"),
        Do::Cut => ("cut", "only a pending set can be cut"),
        Do::Commit => ("commit", "only a pending set can be committed"),
        Do::Abort => ("abort", "only a pending set can be aborted; delete it instead"),
        Do::Import | Do::Steal => {
            ("import", "a set is imported once it is created, and by one host at a time")
        }
        Do::Unimport => ("un-import", "only an imported set can be un-imported; cancel its break first"),
        Do::BeginBreak => ("break", "a set must be imported before it can be broken"),
        Do::CancelBreak => ("cancel the break of", "only a set that is being broken has a break to cancel"),
        Do::CommitBreak => ("break", "begin the break first"),
        Do::Delete => {
            ("delete", "a pending set is aborted; a set that is being broken needs its break cancelled first")
        }
        Do::Update => ("update", "only a set that is not broken can be updated"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Access, rules::fixture::World};

    const STAGES: [Stage; 5] = [In::Pending, In::Created, In::Imported, In::Breaking, In::Broken];
    const STEPS: [SetStep; 12] = [
        Do::Renew,
        Do::Cut,
        Do::Commit,
        Do::Abort,
        Do::Import,
        Do::Steal,
        Do::Unimport,
        Do::BeginBreak,
        Do::CancelBreak,
        Do::CommitBreak,
        Do::Delete,
        Do::Update,
    ];

    fn state(world: &World, stage: Stage) -> SetState {
        let (cut, importer, access) = (5, world.host, Access::ReadOnly);
        match stage {
            In::Pending => SetState::Pending,
            In::Created => SetState::Created { cut },
            In::Imported => SetState::Imported { cut, importer },
            In::Breaking => SetState::Breaking { cut, importer, access },
            In::Broken => SetState::Broken { cut, at: 7, access },
        }
    }

    #[test]
    fn every_pair_is_either_a_move_or_refused_with_its_code() {
        let world = World::with_set();
        for stage in STAGES {
            for step in STEPS {
                let mut set = (*world.cat.sets[&world.set]).clone();
                set.state = state(&world, stage);
                let listed = MOVES.iter().filter(|(from, by, _)| (*from, *by) == (stage, step)).count();
                assert!(listed <= 1, "{stage:?} {step:?} stands twice");
                match check(&world.cat, &set, step) {
                    Ok(_) => assert_eq!(listed, 1, "{stage:?} {step:?}"),
                    Err(error) => {
                        assert_eq!(listed, 0, "{stage:?} {step:?}");
                        let broken = stage == In::Broken;
                        let code = if broken { ErrorCode::ObjectNotFound } else { ErrorCode::BadState };
                        assert_eq!(error.code(), code, "{stage:?} {step:?}");
                        assert!(error.hint_text().is_some());
                    }
                }
            }
        }
    }

    #[test]
    fn broken_is_the_end_and_pending_is_never_entered_again() {
        assert!(MOVES.iter().all(|(from, _, next)| *from != In::Broken && *next != To(In::Pending)));
        let into_broken: Vec<_> = MOVES.iter().filter(|(_, _, next)| *next == To(In::Broken)).collect();
        assert_eq!(into_broken, [&(In::Breaking, Do::CommitBreak, To(In::Broken))]);
    }

    #[test]
    fn a_broken_set_says_when_and_into_which_luns() {
        let mut world = World::with_set();
        world.break_set(Access::ReadWrite);
        let set = &world.cat.sets[&world.set];
        let error = check(&world.cat, set, Do::BeginBreak).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ObjectNotFound);
        assert!(error.params().contains_key("broken_unix_ns"));
        assert_eq!(error.params()["luns"], set.luns[0].working.to_string());
    }
}
