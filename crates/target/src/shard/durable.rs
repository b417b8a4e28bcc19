//! Making writes durable before their status: one flush of a unit for all commands that wait for it.
//!
//! What always holds: a command waits for a flush that began after its write was done; one flush of a unit runs at a time on
//! a shard, and those that come meanwhile share the next.

use super::{Kind, Server, token};
use crate::message::Message;
use crate::outcome::Outcome;
use crate::slot::Slot;
use crate::slow;
use crate::unit::LogicalUnit;
use std::sync::Arc;

/// The flushes of one unit.
pub(super) struct Flushes<U> {
    slot: Arc<Slot<U>>,
    /// Tasks that wait for the flush that runs.
    now: Vec<usize>,
    /// Tasks that came since, and how they end if it goes well.
    next: Vec<usize>,
}

impl<U: LogicalUnit> Server<U> {
    /// Ends a task, whose I/O is done, when the unit has been flushed.
    pub(super) fn make_durable(&mut self, t: usize, outcome: Outcome) {
        debug_assert!(outcome.is_good());
        let slot = &self.tasks[t].slot;
        let key = Arc::as_ptr(&slot.unit) as usize;
        if let Some(at) = self.by_unit.get(&key) {
            return self.flushes[*at].next.push(t);
        }
        let at = self.flushes.insert(Flushes { slot: slot.clone(), now: vec![t], next: Vec::new() });
        self.by_unit.insert(key, at);
        self.flush(at);
    }

    fn flush(&mut self, at: usize) {
        let slot = self.flushes[at].slot.clone();
        self.shard.call(token(Kind::Flush, at, 0), move || Message::Flushed { outcome: slow::flush(&slot) });
    }

    /// A flush has returned.
    pub(super) fn flushed(&mut self, at: usize, outcome: Outcome) {
        let Some(flushes) = self.flushes.get_mut(at) else { return };
        let done = std::mem::take(&mut flushes.now);
        let Outcome { status, sense, .. } = outcome;
        for t in done {
            self.end_task(t, Outcome { status, sense: sense.clone(), ..Outcome::default() }, None);
        }
        // Ending those may have begun others.
        let flushes = &mut self.flushes[at];
        if flushes.next.is_empty() {
            let over = self.flushes.remove(at);
            self.by_unit.remove(&(Arc::as_ptr(&over.slot.unit) as usize));
        } else {
            std::mem::swap(&mut flushes.now, &mut flushes.next);
            self.flush(at);
        }
    }
}
