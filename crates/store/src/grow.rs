//! Growing a pool while it serves (dm-thin format section 9.7).
//!
//! What always holds: the file grows before the map that names its blocks is committed, so that no committed state names
//! space that is not there; a failure in between leaves a file that is larger than its map, which is legal.

use crate::{core::Core, limits};
use umbra_base::{Error, ErrorCode, Result, size::format_size};
use umbra_thin::limits::META_BLOCK_BYTES;

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
        self.check_writable()?;
        if let Some(bytes) = to.metadata_bytes {
            self.extend_metadata(bytes / META_BLOCK_BYTES as u64)?;
        }
        if let Some(bytes) = to.data_bytes {
            self.extend_data(bytes)?;
        }
        self.commit()?;
        self.room_came();
        Ok(())
    }

    fn extend_data(&self, bytes: u64) -> Result<()> {
        let blocks = bytes / self.block_bytes;
        let now = self.pool().data_fill().total;
        check("data", bytes, now * self.block_bytes, limits::DATA_BYTES_MAX)?;
        grow(&*self.backing.data, blocks * self.block_bytes, "pool.data")?;
        // No writer gets one of the new blocks before the commit: the engine keeps them back.
        self.provision.grow(blocks.max(now));
        let grow = || {
            self.pool().extend_data(blocks)?;
            Ok(0)
        };
        self.change("extend the pool's data", grow).map(drop)
    }

    fn extend_metadata(&self, blocks: u64) -> Result<()> {
        let block = META_BLOCK_BYTES as u64;
        let now = self.pool().metadata_fill().total;
        check("metadata", blocks * block, now * block, umbra_thin::limits::META_BLOCKS_MAX * block)?;
        grow(&*self.backing.meta, blocks * block, "pool.meta")?;
        if blocks > now {
            let allocated = self.backing.meta.allocate(now * block, (blocks - now) * block);
            allocated.map_err(|e| Error::io("make room for pool.meta", e))?;
        }
        let grow = || {
            self.pool().extend_metadata(blocks)?;
            Ok(0)
        };
        self.change("extend the pool's metadata", grow).map(drop)
    }
}

fn check(what: &str, bytes: u64, now: u64, max: u64) -> Result<()> {
    if (now..=max).contains(&bytes) {
        return Ok(());
    }
    let (wish, now, max) = (format_size(bytes), format_size(now), format_size(max));
    let text = format!("extend the pool's {what} to {wish}: it has {now}, cannot shrink, and ends at {max}");
    Err(Error::new(ErrorCode::InvalidArgument, text))
}

fn grow(file: &dyn crate::backing::BlockFile, bytes: u64, name: &str) -> Result<()> {
    let size = file.size().map_err(|e| Error::io(format_args!("look at {name}"), e))?;
    match size < bytes {
        true => file.set_size(bytes).map_err(|e| Error::io(format_args!("extend {name}"), e)),
        false => Ok(()),
    }
}
