//! A request for any bytes as commands for whole blocks.
//!
//! Reads are widened and trimmed. Of a change, the partial blocks at its edges become read-modify-write and the middle
//! goes as it is, in pieces that a command can carry. A target gives back only what one command covers whole, so discards
//! and zeroes are cut where its units of allocation end.

use super::{
    Change, Request, Step,
    cdb::{BLOCK, BlockLimits},
};
use crate::limits::{RANGE_BYTES, TRANSFER_BYTES};
use std::{ops::Range, sync::Arc};

/// What one command can carry, in bytes; multiples of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) transfer: u32,
    /// Of a WRITE SAME.
    pub(super) range: u64,
    /// Of an UNMAP; zero if discards have to go as WRITE SAME.
    pub(super) unmap: u64,
    pub(super) grain: Grain,
}

/// The target's units of allocation: one begins at `first`, and every `bytes` from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grain {
    bytes: u64,
    first: u64,
}

impl Grain {
    const BLOCKS: Grain = Grain { bytes: BLOCK, first: 0 };

    /// The last seam between units up to `offset`.
    fn seam(self, offset: u64) -> u64 {
        let past = (offset % self.bytes + self.bytes - self.first % self.bytes) % self.bytes;
        offset.saturating_sub(past)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { transfer: TRANSFER_BYTES, range: RANGE_BYTES, unmap: 0, grain: Grain::BLOCKS }
    }
}

impl Limits {
    /// Ours, within the target's (zero: it does not say); `None` if that is too little to work with. `zeroing`: what was
    /// released reads as zeroes, as every discard promises; without it UNMAP is of no use.
    pub(super) fn within(theirs: &BlockLimits, zeroing: bool) -> Option<Limits> {
        let bounded = |theirs: u64, ours: u64| if theirs == 0 { ours } else { theirs.min(ours) };
        let transfer = bounded(theirs.transfer, u64::from(TRANSFER_BYTES)) / 4096 * 4096;
        let range = bounded(theirs.write_same, RANGE_BYTES) / BLOCK * BLOCK;
        let unmap = if zeroing { theirs.unmap.min(RANGE_BYTES) } else { 0 };
        let grain = Grain { bytes: theirs.granularity.max(BLOCK), first: theirs.alignment };
        let limits = Limits { transfer: transfer as u32, range, unmap, grain };
        (transfer >= 64 << 10 && range > 0).then_some(limits)
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
            Some(changes(offset..end, (most, Grain::BLOCKS), part, |range| Change::Write(part(range))))
        }
        Request::Zero { unmap, .. } => {
            let patch = |range: Range<u64>| vec![0; (range.end - range.start) as usize].into();
            let (most, change) = match unmap && limits.unmap > 0 {
                true => (limits.unmap, Change::Unmap),
                false => (limits.range, Change::Zero { unmap }),
            };
            Some(changes(offset..end, (most, limits.grain), patch, |_| change.clone()))
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

/// Partial blocks at the edges with `patch`, whole blocks between them with `whole`, at most `most` bytes each and cut at
/// seams of `grain`, if its units are not longer than that.
fn changes(
    bytes: Range<u64>,
    (most, grain): (u64, Grain),
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
        let end = match down(bytes.end) {
            end if end - at <= most => end,
            _ => Some(grain.seam(at + most)).filter(|seam| *seam > at).unwrap_or(at + most),
        };
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
    fn pieces_of_a_discard_end_at_seams_if_a_unit_fits_a_command() {
        let unit =
            |most, bytes, first| Limits { unmap: most, grain: Grain { bytes, first }, ..Limits::default() };
        let cut = |range: Range<u64>, limits| {
            let request = Request::Zero { offset: range.start, len: range.end - range.start, unmap: true };
            let ends = split(request, 1 << 40, limits).unwrap().into_iter().map(|step| match step {
                Step::Change { range, .. } => range.end,
                _ => panic!("not in whole blocks"),
            });
            ends.collect::<Vec<_>>()
        };
        let (mib, gib) = (1 << 20, 1 << 30);
        assert_eq!(cut(gib / 2..3 * gib, unit(gib, gib, 0)), [gib, 2 * gib, 3 * gib]);
        assert_eq!(
            cut(0..3 * mib, unit(mib, 3 * mib / 4, 0)),
            [3 * mib / 4, 3 * mib / 2, 9 * mib / 4, 3 * mib]
        );
        assert_eq!(cut(0..3 * mib, unit(mib, mib, mib / 2)), [mib / 2, 3 * mib / 2, 5 * mib / 2, 3 * mib]);
        assert_eq!(cut(0..mib, unit(mib / 2, mib, 4 * mib)), [mib / 2, mib], "no unit fits");
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
