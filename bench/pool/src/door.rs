//! What requests are put to: a volume of the pool, a plain range of a file, a file that workers write. One loop drives all.

use anyhow::{Context, Result};
use std::{fs::File, os::unix::fs::FileExt, sync::Arc};
use umbra_store::{Extent, LunStore, Volume};

/// Reading or writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the file.
    Read,
    /// To the file.
    Write,
}

/// Something that requests are put to.
pub trait Door: Clone + Send + Sync + 'static {
    /// What stands for a planned request until it is done.
    type Ticket;

    /// The file that planned requests go to. All doors of one run share it.
    fn file(&self) -> &File;

    /// Plans a request without waiting: appends its extents. None: the caller has a worker call the other door.
    fn plan(&self, way: Way, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Self::Ticket>;

    /// Ends a planned request that was carried out.
    fn finish(&self, ticket: Self::Ticket) -> Result<()>;

    /// Reads all of `bytes`; may wait.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()>;

    /// Writes all of `bytes`; may wait.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()>;
}

/// An opened device of a pool.
#[derive(Clone)]
pub struct Lun {
    file: Arc<File>,
    volume: Arc<dyn Volume>,
}

impl Lun {
    /// A device of `store`.
    pub fn new(store: &dyn LunStore, volume: Arc<dyn Volume>) -> Result<Lun> {
        let file = store.data_file().context("the store has no data file of its own")?;
        Ok(Lun { file, volume })
    }
}

impl Door for Lun {
    type Ticket = umbra_store::Ticket;

    fn file(&self) -> &File {
        &self.file
    }

    fn plan(&self, way: Way, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<Self::Ticket> {
        match way {
            Way::Read => self.volume.direct_read(offset, len, extents),
            Way::Write => self.volume.direct_write(offset, len, extents),
        }
    }

    fn finish(&self, ticket: Self::Ticket) -> Result<()> {
        Ok(self.volume.finish(ticket, true)?)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(self.volume.read(offset, bytes)?)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.volume.write(offset, bytes)?)
    }
}

/// A part of a file, without any pool.
#[derive(Debug, Clone)]
pub struct Raw {
    /// The file.
    pub file: Arc<File>,
    /// Its first byte.
    pub base: u64,
}

impl Door for Raw {
    type Ticket = ();

    fn file(&self) -> &File {
        &self.file
    }

    fn plan(&self, _way: Way, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<()> {
        extents.push(Extent { at: Some(self.base + offset), len });
        Some(())
    }

    fn finish(&self, (): ()) -> Result<()> {
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(self.file.read_exact_at(bytes, self.base + offset)?)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.file.write_all_at(bytes, self.base + offset)?)
    }
}

/// A file of its own that only workers write: where a write may wait for what others do.
#[derive(Debug, Clone)]
pub struct Called(pub Arc<File>);

impl Door for Called {
    type Ticket = ();

    fn file(&self) -> &File {
        &self.0
    }

    fn plan(&self, _way: Way, _offset: u64, _len: u64, _extents: &mut Vec<Extent>) -> Option<()> {
        None
    }

    fn finish(&self, (): ()) -> Result<()> {
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(self.0.read_exact_at(bytes, offset)?)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all_at(bytes, offset)?)
    }
}
