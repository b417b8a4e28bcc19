//! The mark that a failed commit leaves on the pool, and how it is lifted (dm-thin format section 8.6, design A6).
//!
//! Picture: when writing metadata fails, the superblock that is on the disk gets its needs_check flag, as a kernel would
//! set it. At the next opening the independent checker looks at all of the metadata; only if it finds nothing the mark
//! goes and the pool is written again. What always holds: nothing but the flag is changed, by either.

use crate::backing::{Backing, BlockFile};
use std::io;
use umbra_base::{Error, ErrorCode, Result};
use umbra_thin::{INCOMPAT_LOG, Page, Superblock, ThinError};
use umbra_thin_check::{BLOCK_BYTES, Expect, ReadBlock, Severity, check};

/// The superblock's flag (dm-thin format section 4).
pub(crate) const NEEDS_CHECK: u32 = 1;

/// Sets the mark, as far as the disk lets us.
pub(crate) fn mark(meta: &dyn BlockFile) {
    if let Err(error) = change(meta, Superblock::set_needs_check) {
        tracing::error!(error = error.chain(), "pool.meta could not be marked as one that needs a check");
    }
}

/// Checks a marked pool and lifts the mark, or says what was found.
pub(crate) fn lift(backing: &Backing) -> Result<()> {
    tracing::warn!("pool.meta is marked needs_check: checking it");
    judge(backing, Severity::Ok, "is marked needs_check")?;
    change(&*backing.meta, Superblock::clear_needs_check)?;
    tracing::info!("pool.meta is clean: the mark is gone");
    Ok(())
}

/// Checks a pool that somebody else made, before it is written. Wrong hints and counts that are too high do no harm: the
/// engine believes no hint, and writes its own.
pub(crate) fn adopt(backing: &Backing) -> Result<()> {
    judge(backing, Severity::Repairable, "was made by somebody else")
}

fn judge(backing: &Backing, worst: Severity, why: &str) -> Result<()> {
    let size = backing.meta.size().map_err(|e| Error::io("look at pool.meta", e))?;
    let image = Image { meta: &*backing.meta, blocks: size / BLOCK_BYTES as u64 };
    let report = check(&image, Expect { known_features: INCOMPAT_LOG, ..Expect::default() });
    if report.verdict() <= worst {
        return Ok(());
    }
    report.into_result().map(drop).map_err(|found| {
        Error::new(ErrorCode::Corrupt, format!("pool.meta {why}, and is damaged: {}", found.chain()))
            .hint("look at it with `umbra pool check`; thin_repair makes a good copy of what is left")
    })
}

fn change(
    meta: &dyn BlockFile,
    change: impl FnOnce(&Page) -> std::result::Result<Box<Page>, ThinError>,
) -> Result<()> {
    let mut page: Page = [0; BLOCK_BYTES];
    meta.read_at(&mut page, 0).map_err(|e| Error::io("read the superblock of pool.meta", e))?;
    let written = meta.write_at(&change(&page)?[..], 0).and_then(|()| meta.sync());
    written.map_err(|e| Error::io("write the superblock of pool.meta", e))
}

/// The metadata file, for the checker.
struct Image<'a> {
    meta: &'a dyn BlockFile,
    blocks: u64,
}

impl ReadBlock for Image<'_> {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read_block(&self, number: u64, into: &mut Page) -> io::Result<()> {
        self.meta.read_at(into, number * BLOCK_BYTES as u64)
    }
}
