//! What has been written since the last successful flush (A2): enough to write it again.
//!
//! Entries stand in the order in which their commands were first sent; commands that overlap are never on the wire
//! together, so writing the entries again in this order gives the newest content. A flush covers what had been
//! acknowledged when it was sent: each acknowledgement notes the current epoch, each flush ends one.
//!
//! While file systems are frozen for a set (S1) the journal of their LUNs is empty: the freeze ends with a flush and no
//! write follows. So a resend never takes a LUN of a set back and forth inside its cut.

use crate::limits::{JOURNAL_BYTES, JOURNAL_ENTRY_BYTES, JOURNAL_FLUSH_AT};
use std::{collections::VecDeque, ops::Range, sync::Arc};

/// A change of a LUN that can be made again.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write(Arc<[u8]>),
    /// WRITE SAME; `unmap` lets the target drop the blocks.
    Zero {
        unmap: bool,
    },
    /// UNMAP, of a target where what is unmapped reads as zeroes.
    Unmap,
}

/// Number of an entry; grows with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seq(pub(super) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) seq: Seq,
    pub(crate) range: Range<u64>,
    pub(crate) change: Change,
    acknowledged: Option<Epoch>,
}

impl Entry {
    fn cost(&self) -> usize {
        JOURNAL_ENTRY_BYTES + if let Change::Write(data) = &self.change { data.len() } else { 0 }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    bytes: usize,
    next: u64,
    epoch: u64,
}

impl Journal {
    /// Notes a change whose command is about to be sent.
    pub(crate) fn add(&mut self, range: Range<u64>, change: Change) -> Seq {
        let seq = Seq(self.next);
        self.next += 1;
        let entry = Entry { seq, range, change, acknowledged: None };
        self.bytes += entry.cost();
        self.entries.push_back(entry);
        seq
    }

    fn position(&self, seq: Seq) -> Option<usize> {
        self.entries.binary_search_by_key(&seq, |entry| entry.seq).ok()
    }

    /// The target has acknowledged this change.
    pub(crate) fn acknowledge(&mut self, seq: Seq) {
        let epoch = Epoch(self.epoch);
        if let Some(at) = self.position(seq) {
            self.entries[at].acknowledged = Some(epoch);
        }
    }

    /// The change failed, or will be noted anew: it is nobody's promise.
    pub(crate) fn forget(&mut self, seq: Seq) {
        if let Some(entry) = self.position(seq).and_then(|at| self.entries.remove(at)) {
            self.bytes -= entry.cost();
        }
    }

    /// A flush is about to be sent; it covers everything acknowledged so far.
    pub(crate) fn begin_flush(&mut self) -> Epoch {
        let epoch = Epoch(self.epoch);
        self.epoch += 1;
        epoch
    }

    /// That flush succeeded.
    pub(crate) fn flushed(&mut self, epoch: Epoch) {
        let covered = |entry: &Entry| entry.acknowledged.is_some_and(|at| at <= epoch);
        self.bytes -= self.entries.iter().filter(|entry| covered(entry)).map(Entry::cost).sum::<usize>();
        self.entries.retain(|entry| !covered(entry));
    }

    /// The acknowledged changes, oldest first.
    pub(crate) fn acknowledged(&self) -> VecDeque<Seq> {
        let acknowledged = self.entries.iter().filter(|entry| entry.acknowledged.is_some());
        acknowledged.map(|entry| entry.seq).collect()
    }

    pub(crate) fn get(&self, seq: Seq) -> Option<&Entry> {
        self.position(seq).map(|at| &self.entries[at])
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= JOURNAL_BYTES
    }

    pub(crate) fn wants_flush(&self) -> bool {
        self.bytes >= JOURNAL_FLUSH_AT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(journal: &mut Journal, at: u64) -> Seq {
        journal.add(at..at + 512, Change::Write(vec![1; 512].into()))
    }

    #[test]
    fn a_flush_drops_only_what_was_acknowledged_before_it() {
        let mut journal = Journal::default();
        let (a, b, c) = (write(&mut journal, 0), write(&mut journal, 512), write(&mut journal, 1024));
        journal.acknowledge(a);
        let flush = journal.begin_flush();
        journal.acknowledge(b);
        journal.flushed(flush);
        assert!(journal.get(a).is_none());
        assert_eq!(journal.acknowledged(), [b]);
        assert!(journal.get(c).is_some(), "still on its way");
        journal.forget(c);
        let flush = journal.begin_flush();
        journal.flushed(flush);
        assert_eq!(journal.bytes(), 0);
    }

    #[test]
    fn flushes_that_end_out_of_order_drop_no_more_than_their_own() {
        let mut journal = Journal::default();
        let a = write(&mut journal, 0);
        let first = journal.begin_flush();
        journal.acknowledge(a);
        let second = journal.begin_flush();
        journal.flushed(first);
        assert_eq!(journal.acknowledged(), [a]);
        journal.flushed(second);
        assert!(journal.acknowledged().is_empty());
    }
}
