//! Growing a pool while it serves (dm-thin format section 9.7).
//!
//! What always holds: the file grows before the map that names its blocks is committed, so that no committed state names
//! space that is not there; a failure in between leaves a file that is larger than its map, which is legal.

use crate::{
    backing::{BlockFile, allocate_if_possible},
    core::Core,
    hold::lock,
    limits,
};
use umbra_base::{Error, ErrorCode, Result, size::format_size};
use umbra_thin::{ThinError, limits::META_BLOCK_BYTES};

/// Sizes that a pool is to have, in bytes; `None` leaves one as it is. Neither can shrink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extend {
    /// Of the data file; rounded down to whole blocks.
    pub data_bytes: Option<u64>,
    /// Of the metadata file; rounded down to blocks of 4096 bytes.
    pub metadata_bytes: Option<u64>,
}

impl Core {
    pub(crate) fn extend(&self, to: Extend) -> Result<()> {
        // One after the other: a size that was looked at must still be the size when the file is given another.
        let _growing = lock(&self.growing);
        self.check_writable()?;
        let metadata = to.metadata_bytes.map(|bytes| bytes / META_BLOCK_BYTES as u64);
        let data = to.data_bytes.map(|bytes| bytes / self.block_bytes);
        // A wish is refused as a whole: metadata that has grown cannot shrink again.
        metadata.map_or(Ok(()), |blocks| self.check_metadata(blocks))?;
        to.data_bytes.map_or(Ok(()), |bytes| self.check_data(bytes, metadata.unwrap_or(0)))?;
        if let Some(blocks) = metadata {
            self.extend_metadata(blocks)?;
        }
        if let Some(blocks) = data {
            // The new metadata can be used once it is committed; most data grows without it.
            if self.pool().can_extend_data(blocks, 0).is_err() {
                self.commit()?;
            }
            self.extend_data(blocks)?;
        }
        self.commit()?;
        self.room_came();
        Ok(())
    }

    fn check_metadata(&self, blocks: u64) -> Result<()> {
        let block = META_BLOCK_BYTES as u64;
        let now = self.pool().metadata_fill().total;
        check("metadata", blocks * block, now * block, umbra_thin::limits::META_BLOCKS_MAX * block)?;
        check_device(&*self.backing.meta, blocks * block, "pool.meta")
    }

    fn check_data(&self, bytes: u64, metadata: u64) -> Result<()> {
        let (block, now) = (self.block_bytes, self.pool().data_fill().total);
        check("data", bytes, now * block, limits::DATA_BYTES_MAX)?;
        check_device(&*self.backing.data, bytes / block * block, "pool.data")?;
        let possible = || self.pool().can_extend_data(bytes / block, metadata).map(|()| 0).map_err(refused);
        self.change("extend the pool's data", possible).map(drop)
    }

    fn extend_data(&self, blocks: u64) -> Result<()> {
        let grow = || {
            // All under one lock: where the engine refuses, the file keeps its size.
            let mut pool = self.pool_to_change()?;
            pool.can_extend_data(blocks, 0).map_err(refused)?;
            grow(&*self.backing.data, blocks * self.block_bytes, "pool.data")?;
            // No writer gets one of the new blocks before the commit: the engine keeps them back.
            self.provision.grow(blocks);
            pool.extend_data(blocks)?;
            Ok(0)
        };
        self.change("extend the pool's data", grow).map(drop)
    }

    fn extend_metadata(&self, blocks: u64) -> Result<()> {
        let block = META_BLOCK_BYTES as u64;
        let now = self.pool().metadata_fill().total;
        grow(&*self.backing.meta, blocks * block, "pool.meta")?;
        if blocks > now {
            let allocated = allocate_if_possible(&*self.backing.meta, now * block, (blocks - now) * block);
            allocated.map_err(|e| Error::io("make room for pool.meta", e))?;
        }
        let grow = || {
            self.pool_to_change()?.extend_metadata(blocks)?;
            Ok(0)
        };
        self.change("extend the pool's metadata", grow).map(drop)
    }
}

/// The bitmaps of more data blocks are metadata.
fn refused(error: ThinError) -> Error {
    let full = error.is_full();
    let error = Error::from(error);
    if full { error.hint("more data needs more metadata: extend that as well (--metadata)") } else { error }
}

fn check(what: &str, bytes: u64, now: u64, max: u64) -> Result<()> {
    if (now..=max).contains(&bytes) {
        return Ok(());
    }
    let (wish, now, max) = (format_size(bytes), format_size(now), format_size(max));
    let text = format!("extend the pool's {what} to {wish}: it has {now}, cannot shrink, and ends at {max}");
    Err(Error::new(ErrorCode::InvalidArgument, text))
}

/// A device does not grow for us: whether it has is known before anything is changed.
fn check_device(file: &dyn BlockFile, bytes: u64, name: &str) -> Result<()> {
    if file.is_device() { grow(file, bytes, name) } else { Ok(()) }
}

fn grow(file: &dyn BlockFile, bytes: u64, name: &str) -> Result<()> {
    let size = file.size().map_err(|e| Error::io(format_args!("look at {name}"), e))?;
    match size < bytes {
        true => file.set_size(bytes).map_err(|e| Error::io(format_args!("extend {name}"), e)),
        false => Ok(()),
    }
}
