//! What stands in the bytes of a LUN, so that no contender can answer without having done the work.
//!
//! Picture: blocks of 4 KiB, each a stamp of 8 bytes made of its offset and a salt, then the same filler everywhere. What
//! always holds: bytes of another place, or of a writer with another salt, are told apart.

use crate::session::Sink;
use anyhow::{Result, ensure};

/// Bytes of a stamped block.
pub const BLOCK: usize = 4096;
const STAMP: usize = 8;

const FILLER: [u8; BLOCK] = {
    let mut bytes = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        bytes[at] = (at * 31 + at / 251) as u8;
        at += 1;
    }
    bytes
};

/// Blocks without stamps.
pub fn filler(len: usize) -> Vec<u8> {
    FILLER.iter().copied().cycle().take(len).collect()
}

/// Stamps the blocks that are to stand at `offset`.
pub fn stamp(blocks: &mut [u8], offset: u64, salt: u64) {
    for (block, at) in blocks.chunks_exact_mut(BLOCK).zip((offset..).step_by(BLOCK)) {
        block[..STAMP].copy_from_slice(&(at ^ salt).to_le_bytes());
    }
}

/// Calls `write` with every part of a LUN of `bytes` bytes in turn, stamped with salt 0.
pub fn fill(bytes: u64, mut write: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let mut part = filler((1 << 20).min(bytes as usize));
    for at in (0..bytes).step_by(part.len()) {
        stamp(&mut part, at, 0);
        let left = usize::try_from(bytes - at).map_or(part.len(), |left| left.min(part.len()));
        write(at, &part[..left])?;
    }
    Ok(())
}

/// Takes data that is read only if it was written with this salt.
#[derive(Debug)]
pub struct Checker {
    /// Of the writer.
    pub salt: u64,
    /// Bytes that were right.
    pub bytes: u64,
}

impl Sink for Checker {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let within = (at % BLOCK as u64) as usize;
            let (part, after) = rest.split_at(rest.len().min(BLOCK - within));
            let mut block = FILLER;
            stamp(&mut block, at - within as u64, self.salt);
            ensure!(part == &block[within..within + part.len()], "wrong data at byte {at} of the LUN");
            (at, rest) = (at + part.len() as u64, after);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_data_is_right_in_any_portions_and_nothing_else_is() {
        let mut bytes = filler(3 * BLOCK);
        stamp(&mut bytes, 8 * BLOCK as u64, 5);
        let mut checker = Checker { salt: 5, bytes: 0 };
        for (at, portion) in (8 * BLOCK as u64..).step_by(999).zip(bytes.chunks(999)) {
            checker.data(at, portion).unwrap();
        }
        assert_eq!(checker.bytes, bytes.len() as u64);
        assert!(checker.data(9 * BLOCK as u64, &bytes).is_err(), "another place");
        assert!(Checker { salt: 6, bytes: 0 }.data(8 * BLOCK as u64, &bytes).is_err(), "another writer");
        bytes[2 * BLOCK - 1] ^= 1;
        assert!(checker.data(8 * BLOCK as u64, &bytes).is_err(), "a bit");
    }
}
