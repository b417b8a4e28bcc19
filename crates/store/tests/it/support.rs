//! What the tests on real files share: a small pool, short words for its calls.

use std::{path::Path, sync::Arc, time::Duration};
use umbra_store::{
    Background, LunStore, PoolParams, Share, Snapshot, ThinId, ThinPoolStore, Thresholds, Volume,
};

pub const BLOCK: u64 = 64 << 10;
/// Blocks that any pool must do with: the least, no power of two, as much as is copied at a time, somewhat more.
const BLOCK_SIZES: [u64; 4] = [BLOCK, 192 << 10, 1 << 20, (1 << 20) + BLOCK];
pub const SECOND: Duration = Duration::from_secs(1);

/// A pool that commits only when it is asked to, and does not wait for room.
pub fn params() -> PoolParams {
    let thresholds = Thresholds { full_wait: Duration::ZERO, ..Thresholds::default() };
    PoolParams { background: Background::Off, devices: 16, thresholds, ..PoolParams::new(64 << 20) }
}

/// Tries a promise on pools with blocks of each of these sizes, each in a folder of its own.
pub fn each_size(promise: impl Fn(&Path, u64)) {
    for block in BLOCK_SIZES {
        eprintln!("blocks of {block} bytes");
        promise(tempfile::tempdir().unwrap().path(), block);
    }
}

/// A pool with blocks of that size.
pub fn open_of(dir: &Path, block_bytes: u64) -> ThinPoolStore {
    ThinPoolStore::create_or_open(dir, PoolParams { block_bytes, ..params() }).unwrap()
}

pub fn open(dir: &Path) -> ThinPoolStore {
    ThinPoolStore::create_or_open(dir, params()).unwrap()
}

pub fn volume(store: &ThinPoolStore, id: u32) -> Arc<dyn Volume> {
    store.open(ThinId(id), 16 << 20).unwrap()
}

pub fn read(volume: &Arc<dyn Volume>, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xEE; len];
    volume.read(offset, &mut buf).unwrap();
    buf
}

/// The wish that `to` share blocks of `from`: device, first block.
pub fn share(from: (u32, usize), to: (u32, usize), blocks: usize) -> Share {
    let offset = |block: usize| block as u64 * BLOCK;
    Share {
        from: ThinId(from.0),
        from_offset: offset(from.1),
        to: ThinId(to.0),
        to_offset: offset(to.1),
        len: offset(blocks),
    }
}

pub fn cut(store: &ThinPoolStore, pairs: &[(u32, u32)]) {
    let ids: Vec<_> = pairs.iter().map(|(origin, _)| ThinId(*origin)).collect();
    let pairs: Vec<_> =
        pairs.iter().map(|(o, c)| Snapshot { origin: ThinId(*o), copy: ThinId(*c) }).collect();
    let hold = store.hold(&ids, SECOND).unwrap();
    let cut = store.cut(&hold, &pairs).unwrap();
    drop(hold);
    store.wait_durable(&cut).unwrap();
}
