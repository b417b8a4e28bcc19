//! What an earlier service of this host left half done, undone at the start: on the host at once, in the array as soon as it
//! answers (S3, S6, B3, B6).
//!
//! | left behind | what happens |
//! |---|---|
//! | frozen file systems, frozen writers | thawed from the guard's record |
//! | dead attachments | cleared away |
//! | a pending set of this host | aborted |
//! | a set of this host without a timeline: cut, but never answered for | deleted |
//! | a volatile set of this host: its requester's session died with the service | deleted |
//! | a break under way | host steps rolled back, the set is imported again |
//!
//! What always holds: only sets that this host made or imported are touched, and a failure with one does not keep the
//! others from being cleaned.

use crate::{array::Sets, breaking, config::Config, exposure, lookup, node::Node};
use umbra_api::v1::{self, SetState};
use umbra_base::Result;
use umbra_guard::{Found, Recovered};

/// Thaws and clears away, before the socket is served.
pub fn on_host(config: &Config) -> Result<()> {
    for recovered in umbra_guard::recover(&config.runtime)? {
        tell_recovered(&recovered);
    }
    for swept in umbra_host::attach::sweep(&config.runtime)? {
        tracing::warn!(lun = %swept.lun, still_in_use = ?swept.still_in_use, "cleared a dead attachment away");
    }
    Ok(())
}

fn tell_recovered(recovered: &Recovered) {
    let set = &recovered.set;
    match &recovered.found {
        Found::Guarded => tracing::warn!(set, "a guard is still at work; it thaws by itself"),
        Found::EarlierBoot | Found::Unfinished => tracing::info!(set, "an old record of a guard dropped"),
        Found::Undone { thawed, writers, failed } => {
            tracing::warn!(set, ?thawed, ?writers, "undid what a guard could not");
            for error in failed {
                tracing::error!(set, code = %error.code(), error = error.chain(), "could not undo");
            }
        }
    }
}

/// Makes this host known to the array and cleans up after an earlier service of it.
pub async fn in_array(node: &Node) -> Result<()> {
    let host = node.array.add_host(&node.config.host_name, &node.config.initiator).await?;
    tracing::info!(host = host.name, initiator = host.initiator, "known to the array");
    for record in node.array.sets(Sets::Live).await? {
        let Some(leftover) = Leftover::of(&record, &node.config.host_name) else { continue };
        let set = record.id.clone();
        match leftover.undo(node, record).await {
            Ok(()) => tracing::warn!(set, ?leftover, "undid what an earlier service left"),
            Err(error) => {
                tracing::error!(set, ?leftover, code = %error.code(), error = error.chain(), "could not undo");
            }
        }
    }
    Ok(())
}

/// What is half done about a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftover {
    Pending,
    Unanswered,
    Volatile,
    Breaking,
}

impl Leftover {
    fn of(record: &v1::SetRecord, host: &str) -> Option<Leftover> {
        let made_here = record.creator_host == host;
        let elsewhere = !record.importer_host.is_empty() && record.importer_host != host;
        match record.state() {
            SetState::Pending if made_here => Some(Leftover::Pending),
            SetState::Breaking if record.importer_host == host => Some(Leftover::Breaking),
            SetState::Created | SetState::Imported if made_here && !elsewhere => {
                // The timeline is the last thing that a creation records.
                let unanswered = record.timeline.is_empty().then_some(Leftover::Unanswered);
                unanswered.or(record.volatile.then_some(Leftover::Volatile))
            }
            _ => None,
        }
    }

    async fn undo(self, node: &Node, record: v1::SetRecord) -> Result<()> {
        match self {
            Leftover::Pending => node.array.abort_set(&record.id).await,
            Leftover::Breaking => breaking::undo_leftover(node, &record).await,
            Leftover::Unanswered | Leftover::Volatile => {
                exposure::withdraw(node, &lookup::working_luns(&record)?).await?;
                node.array.delete_set(&record.id).await.map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(state: SetState) -> v1::SetRecord {
        v1::SetRecord {
            state: state.into(),
            creator_host: "a".into(),
            importer_host: if state == SetState::Imported { "a".into() } else { String::new() },
            timeline: vec![v1::Phase::default()],
            ..Default::default()
        }
    }

    #[test]
    fn only_half_done_sets_of_this_host_are_touched() {
        let left = |record: &v1::SetRecord| Leftover::of(record, "a");
        assert_eq!(left(&record(SetState::Pending)), Some(Leftover::Pending));
        assert_eq!(left(&record(SetState::Imported)), None);
        assert_eq!(left(&record(SetState::Created)), None);
        let of_b = v1::SetRecord { creator_host: "b".into(), ..record(SetState::Pending) };
        assert_eq!(left(&of_b), None);
        let unanswered = v1::SetRecord { timeline: vec![], ..record(SetState::Imported) };
        assert_eq!(left(&unanswered), Some(Leftover::Unanswered));
        let volatile = v1::SetRecord { volatile: true, ..record(SetState::Imported) };
        assert_eq!(left(&volatile), Some(Leftover::Volatile));
        let taken = v1::SetRecord { importer_host: "b".into(), ..volatile };
        assert_eq!(left(&taken), None);
        let breaking = v1::SetRecord { importer_host: "a".into(), ..record(SetState::Breaking) };
        assert_eq!(left(&breaking), Some(Leftover::Breaking));
    }
}
