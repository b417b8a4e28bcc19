//! What was asked for and what came of it: the basis of every unwinding.
//!
//! A task is entered when it is started, before anybody can have acted on it, so that nothing that may have happened
//! is missing here.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Task,
    plan::{Level, Plan},
};

/// The ledger of one creation.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<Task, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Started,
    Done,
}

impl Ledger {
    pub(crate) fn start(&mut self, task: &Task) {
        self.entries.insert(task.clone(), Entry::Started);
    }

    pub(crate) fn done(&mut self, task: &Task) {
        self.entries.insert(task.clone(), Entry::Done);
    }

    pub(crate) fn started(&self, task: &Task) -> bool {
        self.entries.contains_key(task)
    }

    pub(crate) fn is_done(&self, task: &Task) -> bool {
        self.entries.get(task) == Some(&Entry::Done)
    }

    /// The thaw of the file systems, if a freeze was ordered and no thaw is known to have succeeded.
    pub(crate) fn undo_hold(&self) -> BTreeSet<Task> {
        let owed = self.started(&Task::HoldWrites) && !self.is_done(&Task::ReleaseWrites);
        owed.then_some(Task::ReleaseWrites).into_iter().collect()
    }

    /// The abort of every writer of `level` that was asked for anything. One that is thawed already gets it too: no
    /// post-snapshot will come.
    pub(crate) fn undo_writers(&self, plan: &Plan, level: Level) -> BTreeSet<Task> {
        plan.writers_at(level)
            .filter(|writer| self.started(&Task::PrepareWriter(writer.name.clone())))
            .map(|writer| Task::AbortWriter(writer.name.clone()))
            .collect()
    }

    /// The discarding of the set in every provider that was told of it.
    pub(crate) fn undo_providers(&self, plan: &Plan) -> BTreeSet<Task> {
        plan.providers
            .iter()
            .filter(|provider| self.started(&Task::PrepareProvider(provider.name.clone())))
            .map(|provider| Task::AbortProvider(provider.name.clone()))
            .collect()
    }
}
