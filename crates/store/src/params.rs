//! What a store is made with.

use crate::{Thresholds, limits};
use std::time::Duration;
use umbra_base::{Error, ErrorCode, Result, size::format_size};
use umbra_thin::limits::META_BLOCKS_MAX;

/// Whether commits happen by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// A thread commits what was changed, once in this time and when the log has grown.
    Every(Duration),
    /// Only flushes commit (tests that count every write).
    Off,
}

/// Parameters of a store. Sizes matter when its pool is made; later the pool knows them itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolParams {
    /// Bytes of the data file; rounded down to whole blocks. It is sparse: space is taken as it is written.
    pub data_bytes: u64,
    /// Bytes of a data block: a multiple of 64 KiB.
    pub block_bytes: u64,
    /// Thin devices that the metadata is sized for; not a limit.
    pub devices: u64,
    /// Commits without a flush.
    pub background: Background,
    /// Memory for metadata, in bytes: 5 MiB for 64 GiB of 64 KiB blocks that are in use. What a transaction changes comes
    /// on top.
    pub cache_bytes: u64,
    /// Whether a pool that somebody else made (LVM, a kernel, thin_restore) is served; if not, it is refused before
    /// anything of it is written.
    pub foreign: bool,
    /// Whether a pool is made where there is none; if not, that is refused before anything is written.
    pub make: bool,
    /// Whether a pool is served whose log is missing or damaged though the kernel under which it was written still runs. What
    /// was acknowledged and not flushed is lost then, as by a loss of the machine; if not, the pool is refused.
    pub accept_lost_log: bool,
    /// When space is low, and how long a full pool queues writes.
    pub thresholds: Thresholds,
}

impl PoolParams {
    /// A pool of `data_bytes` with 64 KiB blocks.
    pub fn new(data_bytes: u64) -> Self {
        PoolParams {
            data_bytes,
            block_bytes: limits::BLOCK_BYTES_MIN,
            devices: 1024,
            background: Background::Every(limits::COMMIT_PERIOD),
            cache_bytes: limits::CACHE_BYTES,
            foreign: true,
            make: true,
            accept_lost_log: false,
            thresholds: Thresholds::default(),
        }
    }

    /// Whether a pool can be made with these.
    pub fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(ErrorCode::InvalidArgument, text));
        let block = self.block_bytes;
        if !(limits::BLOCK_BYTES_MIN..=limits::BLOCK_BYTES_MAX).contains(&block)
            || !block.is_multiple_of(limits::BLOCK_BYTES_MIN)
        {
            return refuse(format!("a block size of {block} bytes is no multiple of 64 KiB up to 1 GiB"));
        }
        if self.data_bytes < block || self.data_bytes > limits::DATA_BYTES_MAX {
            let (size, max) = (format_size(self.data_bytes), format_size(limits::DATA_BYTES_MAX));
            return refuse(format!("a pool of {size} is not between one block and {max}"));
        }
        Ok(())
    }

    /// Metadata blocks: thin_metadata_size's formula, a quarter more for snapshots that share nothing any longer, and
    /// a base for the reserve.
    pub(crate) fn metadata_blocks(&self) -> u64 {
        let formula = 1 + self.devices + 2 * (self.data_bytes / self.block_bytes) / 252;
        (formula + formula / 4 + 1024).min(META_BLOCKS_MAX)
    }
}
