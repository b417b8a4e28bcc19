//! The acknowledged-write log as a file: three segments used in turn, one for each commit (format: `umbra_thin::log`).
//!
//! Three, because at opening two may be needed (the commit of the second was being written when the process died)
//! while the commit that enters them already starts a third. What always holds: a segment is started only when no
//! committed state can need what it held; records are appended in order, so that an acknowledged one is never behind
//! a hole. The file is never flushed: it is for the death of the process, and the page cache outlives that (A2).

use crate::{
    backing::{Backing, BlockFile, allocate_if_possible},
    limits::LOG_SEGMENT_BYTES,
};
use std::{io, sync::Arc};
use umbra_thin::{
    ThinId,
    log::{Change, HEADER_BYTES, Header, RECORD_BYTES, Record, numbered, records},
};

const SEGMENTS: u64 = 3;
/// Bytes of the log that are read at a time.
const PART_BYTES: u64 = 4096 * RECORD_BYTES as u64;

const PAGE_BYTES: u64 = 4096;
/// A record that changes nothing.
const NOTHING: Change = Change::Unmap { device: ThinId(0), vblock: 0, len: 0 };

/// Whether some changes are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Together {
    /// Each stands for itself.
    No,
    /// All or none must be found again (atomic writes); at most [`Together::MOST`].
    Yes,
}

impl Together {
    /// Changes that are kept together at most: half a page of records.
    pub(crate) const MOST: u64 = PAGE_BYTES / 2 / RECORD_BYTES as u64;
}

/// The open segment.
pub(crate) struct Journal {
    file: Arc<dyn BlockFile>,
    header: Header,
    segment: u64,
    next: u64,
}

/// What an earlier process left.
pub(crate) struct Left {
    /// Records to be entered, in order.
    pub(crate) records: Vec<Record>,
    /// Whether there were records of an earlier boot, whose data may not have reached the disk.
    pub(crate) dropped: bool,
    /// Whether there is a segment of this boot that follows the last commit.
    pub(crate) fits: bool,
    /// Whether records are missing among those of this boot: others stand behind a bad one.
    pub(crate) has_hole: bool,
    last_segment: u64,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("header", &self.header)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// Finds what has to be entered into a pool whose last commit has the number `generation`.
pub(crate) fn read(backing: &Backing, pool: [u8; 16], generation: u64) -> io::Result<Left> {
    let mut left =
        Left { records: Vec::new(), dropped: false, fits: false, has_hole: false, last_segment: 0 };
    let headers: Vec<_> = (0..SEGMENTS).map(|i| read_header(backing, i)).collect::<io::Result<_>>()?;
    for base in [generation, generation.wrapping_add(1)] {
        let found = headers.iter().zip(0..).find_map(|(header, i)| {
            header.as_ref().filter(|h| h.pool == pool && h.base == base).map(|header| (header, i))
        });
        let Some((header, segment)) = found else { break };
        left.last_segment = segment;
        let records = read_segment(backing, segment, base)?;
        if header.boot == backing.boot {
            left.fits |= base == generation;
            left.has_hole |= has_more(backing, segment, base, records.len() as u64)?;
            left.records.extend(records);
        } else {
            left.dropped |= !records.is_empty();
        }
    }
    Ok(left)
}

/// Whether any segment was started by a pool that was not closed cleanly.
pub(crate) fn is_used(backing: &Backing) -> io::Result<bool> {
    let headers: Vec<_> = (0..SEGMENTS).map(|i| read_header(backing, i)).collect::<io::Result<_>>()?;
    Ok(headers.iter().any(Option::is_some))
}

fn read_header(backing: &Backing, segment: u64) -> io::Result<Option<Header>> {
    let at = segment * LOG_SEGMENT_BYTES;
    if backing.log.size()? < at + HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = [0; HEADER_BYTES];
    backing.log.read_at(&mut bytes, at)?;
    Ok(Header::decode(&bytes))
}

/// The records of a segment, read in parts until they end.
fn read_segment(backing: &Backing, segment: u64, base: u64) -> io::Result<Vec<Record>> {
    let end = backing.log.size()?.min((segment + 1) * LOG_SEGMENT_BYTES);
    let mut at = segment * LOG_SEGMENT_BYTES + HEADER_BYTES as u64;
    let mut found = Vec::new();
    loop {
        let before = found.len();
        let mut bytes = vec![0; end.saturating_sub(at).min(PART_BYTES) as usize];
        backing.log.read_at(&mut bytes, at)?;
        found.extend(records(base, before as u64, &bytes));
        if ((found.len() - before) * RECORD_BYTES) as u64 != PART_BYTES {
            return Ok(found);
        }
        at += PART_BYTES;
    }
}

/// Whether records of a segment stand behind the first `count` and one that is none: they were appended in order, so that one
/// was damaged.
fn has_more(backing: &Backing, segment: u64, base: u64, count: u64) -> io::Result<bool> {
    let begin = segment * LOG_SEGMENT_BYTES + HEADER_BYTES as u64;
    let end = backing.log.size()?.min((segment + 1) * LOG_SEGMENT_BYTES);
    let mut number = count + 1;
    while begin + (number + 1) * RECORD_BYTES as u64 <= end {
        let at = begin + number * RECORD_BYTES as u64;
        let mut bytes = vec![0; (end - at).min(PART_BYTES) as usize];
        backing.log.read_at(&mut bytes, at)?;
        for record in bytes.chunks_exact(RECORD_BYTES) {
            // Most are told by their number already, without their checksum.
            if numbered(record, number) && records(base, number, record).next().is_some() {
                return Ok(true);
            }
            number += 1;
        }
    }
    Ok(false)
}

impl Journal {
    /// A journal that goes on behind what was left; [`Journal::start`] opens its first segment.
    pub(crate) fn new(backing: &Backing, pool: [u8; 16], left: &Left) -> Self {
        let header = Header { pool, boot: backing.boot, base: 0 };
        Journal { file: backing.log.clone(), header, segment: left.last_segment, next: 0 }
    }

    /// Takes the space of all segments, so that a full backing cannot stop the log (A5).
    pub(crate) fn provision(&self) {
        if let Err(error) = allocate_if_possible(&*self.file, 0, SEGMENTS * LOG_SEGMENT_BYTES) {
            tracing::warn!(%error, "no space in the backing for the whole of pool.log");
        }
    }

    /// Starts the segment that follows the commit with the generation `base`.
    pub(crate) fn start(&mut self, base: u64) -> io::Result<()> {
        self.segment = (self.segment + 1) % SEGMENTS;
        self.header.base = base;
        self.next = 0;
        self.write_header()
    }

    fn write_header(&self) -> io::Result<()> {
        self.file.write_at(&self.header.encode(), self.segment * LOG_SEGMENT_BYTES)
    }

    /// Bytes of the open segment that are used.
    pub(crate) fn used(&self) -> u64 {
        HEADER_BYTES as u64 + self.next * RECORD_BYTES as u64
    }

    /// Appends changes that have been made; on return they survive the death of the process.
    pub(crate) fn append(&mut self, changes: &[Change], together: Together) -> io::Result<()> {
        while together == Together::Yes && changes.len() > 1 && self.crosses_a_page(changes.len()) {
            self.put(&[NOTHING])?;
        }
        self.put(changes)
    }

    /// A process that is killed inside a write leaves whole pages of it. So what must be found together or not at all
    /// lies in one page.
    fn crosses_a_page(&self, records: usize) -> bool {
        let end = self.used() + (records * RECORD_BYTES) as u64;
        self.used() / PAGE_BYTES != (end - 1) / PAGE_BYTES
            && records * RECORD_BYTES <= PAGE_BYTES as usize / 2
    }

    fn put(&mut self, changes: &[Change]) -> io::Result<()> {
        let at = self.used();
        let encode = |(change, sequence): (&Change, u64)| {
            Record { sequence, change: *change }.encode(self.header.base)
        };
        let bytes: Vec<u8> = changes.iter().zip(self.next..).flat_map(encode).collect();
        if at + bytes.len() as u64 > LOG_SEGMENT_BYTES {
            return Err(io::Error::other(format!("the log's segment of {LOG_SEGMENT_BYTES} bytes is full")));
        }
        self.file.write_at(&bytes, self.segment * LOG_SEGMENT_BYTES + at)?;
        self.next += changes.len() as u64;
        Ok(())
    }

    /// Empties the file: after a commit that holds everything.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.file.set_size(0)
    }

    /// Nobody may enter any of it any more: segments without records, whichever commit turns out to be the last, so that none
    /// is missed either.
    pub(crate) fn void(&mut self) -> io::Result<()> {
        self.clear()?;
        let newest = self.header.base;
        (0..SEGMENTS).try_for_each(|back| {
            (self.segment, self.header.base) = (back, newest.wrapping_sub(back));
            self.write_header()
        })
    }
}
