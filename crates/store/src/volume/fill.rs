//! Moving the bytes of a write to the data file, and completing blocks that it covers in part.

use super::{Doing, ThinVolume, write::Source};
use crate::limits::COPY_BYTES;
use std::cell::RefCell;
use umbra_base::Result;

/// A part of a write, at most a few blocks.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    /// Where in the device.
    pub(super) offset: u64,
    pub(super) source: Source<'a>,
    pub(super) doing: Doing,
}

impl Piece<'_> {
    fn end(&self) -> u64 {
        self.offset + self.source.len()
    }

    /// Copies what the piece has of `start..` into `buf`.
    fn overlay(&self, start: u64, buf: &mut [u8]) {
        let from = self.offset.max(start);
        let to = self.end().min(start + buf.len() as u64);
        if from >= to {
            return;
        }
        let into = &mut buf[(from - start) as usize..(to - start) as usize];
        match self.source.part(from - self.offset..to - self.offset) {
            Source::Bytes(bytes) => into.copy_from_slice(bytes),
            Source::Zeroes(_) => into.fill(0),
        }
    }
}

impl ThinVolume {
    /// Writes what the piece has of `len` blocks from `vblock`, which lie at `to` and after.
    pub(super) fn write_run(&self, piece: &Piece<'_>, vblock: u64, to: u64, len: u64) -> Result<()> {
        let block = self.core.block_bytes;
        let start = (vblock * block).max(piece.offset);
        let end = ((vblock + len) * block).min(piece.end());
        let at = to * block + (start - vblock * block);
        let data = &self.core.backing.data;
        match piece.source.part(start - piece.offset..end - piece.offset) {
            Source::Bytes(bytes) => data.write_at(bytes, at),
            Source::Zeroes(len) => write_zeroes(&**data, at, len),
        }
        .map_err(|e| piece.doing.io(e))
    }

    /// Writes all of a new block: the piece's bytes over those of `from`, or over zeroes.
    pub(super) fn fill_block(
        &self,
        piece: &Piece<'_>,
        vblock: u64,
        from: Option<u64>,
        to: u64,
    ) -> Result<()> {
        let block = self.core.block_bytes;
        let data = &self.core.backing.data;
        let step = COPY_BYTES.min(block);
        with_scratch(step as usize, |buf| {
            for at in (0..block).step_by(step as usize) {
                let part = &mut buf[..step.min(block - at) as usize];
                match from {
                    Some(from) => data.read_at(part, from * block + at).map_err(|e| piece.doing.io(e))?,
                    None => part.fill(0),
                }
                piece.overlay(vblock * block + at, part);
                data.write_at(part, to * block + at).map_err(|e| piece.doing.io(e))?;
            }
            Ok(())
        })
    }
}

/// Lends this thread's buffer, which holds anything; a new one for each copy would have to be cleared first.
fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local!(static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        work(&mut scratch[..len])
    })
}

fn write_zeroes(data: &dyn crate::backing::BlockFile, at: u64, len: u64) -> std::io::Result<()> {
    let zeroes = vec![0; len.min(COPY_BYTES) as usize];
    let mut done = 0;
    while done < len {
        let step = (len - done).min(COPY_BYTES);
        data.write_at(&zeroes[..step as usize], at + done)?;
        done += step;
    }
    Ok(())
}
