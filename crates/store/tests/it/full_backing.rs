//! A file system under the pool that has less room than the pool (A5).

use crate::support::{BLOCK, params};
use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    sync::{Arc, Mutex},
};
use umbra_base::ErrorCode;
use umbra_store::{
    LunStore, PoolParams, ThinId, ThinPoolStore, Volume,
    backing::{Backing, BlockFile},
};

/// A data file on a file system that has room for so many blocks.
struct Small {
    file: Arc<dyn BlockFile>,
    taken: Mutex<BTreeSet<u64>>,
    room: usize,
    /// It takes space without a write.
    allocates: bool,
}

impl Small {
    fn take(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut taken = self.taken.lock().unwrap();
        let blocks = offset / BLOCK..(offset + len).div_ceil(BLOCK);
        let more: Vec<u64> = blocks.filter(|block| !taken.contains(block)).collect();
        if taken.len() + more.len() > self.room {
            return Err(ErrorKind::StorageFull.into());
        }
        taken.extend(more);
        Ok(())
    }
}

impl BlockFile for Small {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.file.set_size(bytes)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.take(offset, buf.len() as u64)?;
        self.file.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        match self.allocates {
            true => self.take(offset, len),
            false => Err(ErrorKind::Unsupported.into()),
        }
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch(offset, len)?;
        let blocks = offset / BLOCK..(offset + len) / BLOCK;
        self.taken.lock().unwrap().retain(|block| !blocks.contains(block));
        Ok(())
    }
}

/// A pool of `blocks` blocks with room for `room`, with an empty device.
fn pool(blocks: u64, room: usize, allocates: bool) -> (tempfile::TempDir, ThinPoolStore, Arc<dyn Volume>) {
    let dir = tempfile::tempdir().unwrap();
    let mut backing = Backing::in_dir(dir.path()).unwrap();
    let (file, taken) = (backing.data.clone(), Mutex::default());
    backing.data = Arc::new(Small { file, taken, room, allocates });
    let store = ThinPoolStore::on(backing, PoolParams { data_bytes: blocks * BLOCK, ..params() }).unwrap();
    store.create(ThinId(1)).unwrap();
    let volume = store.open(ThinId(1), 2 * blocks * BLOCK).unwrap();
    (dir, store, volume)
}

/// Blocks from `first` on that can be written.
fn fill(volume: &Arc<dyn Volume>, first: u64, bytes: u64) -> u64 {
    let blocks = first..volume.size_bytes() / BLOCK;
    blocks.take_while(|block| volume.write(block * BLOCK, &vec![1; bytes as usize]).is_ok()).count() as u64
}

/// In more runs than the commits give back to the file system.
#[test]
fn what_is_given_up_can_be_used_again_when_the_file_system_is_full() {
    const ROOM: u64 = 400;
    for bytes in [512, BLOCK] {
        let (_dir, store, volume) = pool(1024, ROOM as usize, true);
        assert_eq!(fill(&volume, 0, bytes), ROOM);
        (0..ROOM).step_by(2).for_each(|block| volume.discard(block * BLOCK, BLOCK).unwrap());
        store.flush().unwrap();
        assert_eq!(fill(&volume, 1024, bytes), ROOM / 2, "in pieces of {bytes} bytes");
        let full = volume.write(1023 * BLOCK, &[1; 512]).unwrap_err();
        assert_eq!(full.code(), ErrorCode::InsufficientStorage);
    }
}

/// A block that is mapped can be written from then on (A5).
#[test]
fn a_first_write_writes_the_whole_block_where_space_cannot_be_taken_otherwise() {
    let (_dir, _store, volume) = pool(64, 8, false);
    assert_eq!(fill(&volume, 0, 512), 8);
    (0..8).for_each(|block| volume.write(block * BLOCK, &vec![2; BLOCK as usize]).unwrap());
}
