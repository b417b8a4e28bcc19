//! How copies differ, a page at a time, in the offsets of their volume.
//!
//! What always holds: runs of a page are in ascending order, and neighbours of one kind are one; a page ends after a
//! bounded number of runs and of looks at the pool, whatever there is to find.

use super::{Array, present::thin_id};
use crate::{
    limits,
    rules::diff::{self, Piece},
};
use umbra_base::{Error, ErrorCode, Result};
use umbra_store::{Difference, DifferenceKind, DifferentRun};

/// What a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// How two copies differ.
    Differs(DifferenceKind),
    /// What one copy maps.
    Allocated,
}

/// A run of bytes of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What it is.
    pub kind: Kind,
}

/// A part of a comparison.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// What was found.
    pub runs: Vec<Run>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
    /// Bytes of the whole volume.
    pub volume_bytes: u64,
}

impl Array {
    /// What the copy that `key` names has that the older one does not, and the reverse, from byte `from` of the volume
    /// on; without an older one, what it maps. At most `most` runs, and at least one look.
    pub fn differences(&self, key: &str, old_key: Option<&str>, from: u64, most: usize) -> Result<Page> {
        let pieces = diff::pieces(&self.catalogue(), key, old_key)?;
        let volume_bytes = pieces.iter().map(|piece| piece.length).sum();
        let mut page = Page { runs: Vec::new(), next: None, volume_bytes };
        let (mut at, mut base, mut looks) = (from, 0, 0);
        for piece in &pieces {
            let end = base + piece.length;
            while at < end {
                if page.runs.len() >= most || looks >= limits::LOOKS_PER_PAGE {
                    page.next = Some(at);
                    return Ok(page.cut(most));
                }
                looks += 1;
                let found = self.look(piece, piece.offset + (at - base))?;
                let next = found.next.map_or(end, |next| base + next.saturating_sub(piece.offset)).min(end);
                found.runs.iter().for_each(|run| page.enter(piece, base, at..end, run));
                if next <= at {
                    let text = format!("compare copies: no way on from byte {at}");
                    return Err(Error::new(ErrorCode::Internal, text));
                }
                at = next;
            }
            base = end;
        }
        Ok(page.cut(most))
    }

    fn look(&self, piece: &Piece, from: u64) -> Result<Difference> {
        match piece.old {
            Some(old) => self.store().changed(thin_id(old), thin_id(piece.new), from),
            None => self.store().allocated(thin_id(piece.new), from),
        }
    }
}

impl Page {
    /// Adds what of a device's run lies in `wanted`, a part of the volume that begins with `piece` at `base`.
    fn enter(&mut self, piece: &Piece, base: u64, wanted: std::ops::Range<u64>, run: &DifferentRun) {
        let place = |at: u64| base + at.saturating_sub(piece.offset);
        let start = place(run.offset).max(wanted.start);
        let end = place(run.offset + run.len).min(wanted.end);
        let kind = if piece.old.is_some() { Kind::Differs(run.kind) } else { Kind::Allocated };
        match self.runs.last_mut() {
            _ if start >= end => {}
            Some(last) if (last.offset + last.length, last.kind) == (start, kind) => {
                last.length += end - start
            }
            _ => self.runs.push(Run { offset: start, length: end - start, kind }),
        }
    }

    /// The first `most` runs; the rest is the next page's.
    fn cut(mut self, most: usize) -> Page {
        if let Some(first) = self.runs.get(most) {
            self.next = Some(first.offset);
            self.runs.truncate(most);
        }
        self
    }
}
