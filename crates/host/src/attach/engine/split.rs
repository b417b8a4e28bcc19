//! A request for any bytes as commands for whole blocks.
//!
//! Reads are widened and trimmed. Of a change, the partial blocks at its edges become read-modify-write and the middle
//! goes as it is, in pieces that a command can carry.

use super::{Change, Request, Step, cdb::BLOCK};
use crate::limits::{RANGE_BYTES, TRANSFER_BYTES};
use std::{ops::Range, sync::Arc};

/// What one command can carry, in bytes; multiples of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) transfer: u32,
    pub(super) range: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { transfer: TRANSFER_BYTES, range: RANGE_BYTES }
    }
}

impl Limits {
    /// Ours, within the target's (zero: it does not say); `None` if that is too little to work with.
    pub(super) fn within(transfer: u64, range: u64) -> Option<Limits> {
        let bounded = |theirs: u64, ours: u64| if theirs == 0 { ours } else { theirs.min(ours) };
        let transfer = bounded(transfer, u64::from(TRANSFER_BYTES)) / 4096 * 4096;
        let range = bounded(range, RANGE_BYTES) / BLOCK * BLOCK;
        (transfer >= 64 << 10 && range > 0).then_some(Limits { transfer: transfer as u32, range })
    }
}

/// The steps of `request` on a LUN of `size` bytes, or `None` where it reaches beyond the end.
pub(super) fn split(request: Request, size: u64, limits: Limits) -> Option<Vec<Step>> {
    let (offset, len) = match &request {
        Request::Read { offset, len } => (*offset, u64::from(*len)),
        Request::Write { offset, data } => (*offset, data.len() as u64),
        Request::Zero { offset, len, .. } => (*offset, *len),
        Request::Flush => return Some(vec![Step::Flush { epoch: None }]),
    };
    let end = offset.checked_add(len).filter(|end| *end <= size)?;
    if len == 0 {
        return Some(Vec::new());
    }
    match request {
        Request::Read { .. } => Some(reads(offset..end, u64::from(limits.transfer))),
        Request::Write { data, .. } => {
            let most = u64::from(limits.transfer);
            let part = |range| piece(&data, offset, range);
            Some(changes(offset..end, most, part, |range| Change::Write(part(range))))
        }
        Request::Zero { unmap, .. } => {
            let patch = |range: Range<u64>| vec![0; (range.end - range.start) as usize].into();
            Some(changes(offset..end, limits.range, patch, |_| Change::Zero { unmap }))
        }
        Request::Flush => None,
    }
}

fn reads(bytes: Range<u64>, most: u64) -> Vec<Step> {
    let (mut steps, mut at) = (Vec::new(), bytes.start);
    while at < bytes.end {
        let start = down(at);
        let end = bytes.end.min(start + most);
        steps.push(Step::Read {
            range: start..up(end),
            skip: (at - start) as usize,
            take: (end - at) as usize,
        });
        at = end;
    }
    steps
}

/// Partial blocks at the edges with `patch`, whole blocks between them with `whole`, at most `most` bytes each.
fn changes(
    bytes: Range<u64>,
    most: u64,
    patch: impl Fn(Range<u64>) -> Arc<[u8]>,
    whole: impl Fn(Range<u64>) -> Change,
) -> Vec<Step> {
    let merge = |part: Range<u64>| {
        let block = down(part.start)..down(part.start) + BLOCK;
        Step::Merge { at: (part.start - block.start) as usize, range: block, data: patch(part) }
    };
    let mut steps = Vec::new();
    let mut at = bytes.start;
    if at != down(at) || bytes.end < at + BLOCK {
        let end = bytes.end.min(down(at) + BLOCK);
        steps.push(merge(at..end));
        at = end;
    }
    while at < down(bytes.end) {
        let end = down(bytes.end).min(at + most);
        steps.push(Step::Change { range: at..end, change: whole(at..end), seq: None });
        at = end;
    }
    if at < bytes.end {
        steps.push(merge(at..bytes.end));
    }
    steps
}

/// The bytes of `range`, which are a part of `data` that begins at `offset`.
fn piece(data: &Arc<[u8]>, offset: u64, range: Range<u64>) -> Arc<[u8]> {
    let (start, end) = ((range.start - offset) as usize, (range.end - offset) as usize);
    if start == 0 && end == data.len() { Arc::clone(data) } else { data[start..end].into() }
}

fn down(offset: u64) -> u64 {
    offset / BLOCK * BLOCK
}

fn up(offset: u64) -> u64 {
    offset.next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the steps do to a disk.
    fn apply(steps: Vec<Step>, disk: &mut [u8]) {
        for step in steps {
            match step {
                Step::Merge { range, at, data } => {
                    let start = range.start as usize + at;
                    assert!(start + data.len() <= range.end as usize);
                    disk[start..start + data.len()].copy_from_slice(&data);
                }
                Step::Change { range, change: Change::Write(data), .. } => {
                    assert!(range.start.is_multiple_of(BLOCK) && range.end.is_multiple_of(BLOCK));
                    disk[range.start as usize..range.end as usize].copy_from_slice(&data);
                }
                Step::Change { range, .. } => disk[range.start as usize..range.end as usize].fill(0),
                Step::Read { .. } | Step::Flush { .. } => panic!("not a change"),
            }
        }
    }

    #[test]
    fn changes_of_any_alignment_touch_their_bytes_and_no_others() {
        for (offset, len) in
            [(0, 512), (0, 1), (511, 1), (511, 2), (100, 1000), (512, 1024), (1, 4095), (700, 1348)]
        {
            let before: Vec<u8> = (0..4096).map(|i| (i % 251) as u8 + 1).collect();
            let mut expected = before.clone();
            let data: Vec<u8> = (0..len).map(|i| (i % 7) as u8).collect();
            expected[offset..offset + len].copy_from_slice(&data);
            let mut disk = before.clone();
            let request = Request::Write { offset: offset as u64, data: data.into() };
            apply(split(request, 4096, Limits::default()).unwrap(), &mut disk);
            assert!(disk == expected, "write {offset}+{len}");
            let mut expected = before.clone();
            expected[offset..offset + len].fill(0);
            let mut disk = before;
            let request = Request::Zero { offset: offset as u64, len: len as u64, unmap: true };
            apply(split(request, 4096, Limits::default()).unwrap(), &mut disk);
            assert!(disk == expected, "zero {offset}+{len}");
        }
    }

    #[test]
    fn nothing_reaches_beyond_the_end() {
        assert!(split(Request::Read { offset: 4000, len: 97 }, 4096, Limits::default()).is_none());
        assert!(
            split(Request::Zero { offset: u64::MAX, len: 2, unmap: false }, 4096, Limits::default())
                .is_none()
        );
        assert!(split(Request::Read { offset: 4000, len: 96 }, 4096, Limits::default()).is_some());
    }
}
