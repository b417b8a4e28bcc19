//! A pool in a folder: carrying a history out on it, comparing it with one, and describing its devices.

use crate::history::{History, Op, SECTOR, Writer};
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use umbra_base::{Error, ErrorCode, Result};
use umbra_store::{LunStore, PoolParams, Snapshot, ThinId, ThinPoolStore, Volume};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
const HOLD: Duration = Duration::from_secs(10);

/// A device as it is printed.
#[derive(Debug)]
pub struct Description {
    id: u32,
    bytes: u64,
    mapped_blocks: u64,
    sha256: String,
}

impl Description {
    /// One object of JSON, on one line.
    pub fn json(&self) -> String {
        let Description { id, bytes, mapped_blocks, sha256 } = self;
        format!(r#"{{"id": {id}, "bytes": {bytes}, "mapped_blocks": {mapped_blocks}, "sha256": "{sha256}"}}"#)
    }
}

/// Opens the pool of a folder; makes one with blocks of `block_bytes` if there is none.
pub fn open(dir: &Path, data_bytes: u64, block_bytes: u64) -> Result<ThinPoolStore> {
    ThinPoolStore::create_or_open(dir, PoolParams { block_bytes, devices: 64, ..PoolParams::new(data_bytes) })
}

/// Does operation `number` of `history`.
pub fn carry_out(store: &ThinPoolStore, history: &History, number: u32, op: &Op) -> Result<()> {
    // The true size, not just one that holds the range: a discard up to the end gives the last block up.
    let volume =
        |id: &u32| store.open(ThinId(*id), history.writers(*id).map_or(0, <[_]>::len) as u64 * SECTOR);
    match op {
        Op::Create { id, .. } => store.create(ThinId(*id)),
        Op::Write { id, at, count } => {
            let sectors = (*at..at + count).flat_map(|sector| history.pattern((*id, number), sector));
            volume(id)?.write(at * SECTOR, &sectors.collect::<Vec<_>>())
        }
        Op::Discard { id, at, count } => volume(id)?.discard(at * SECTOR, count * SECTOR),
        Op::Zero { id, at, count } => volume(id)?.write_zeroes(at * SECTOR, count * SECTOR),
        Op::Cut { pairs } => cut(store, pairs),
        Op::Delete { id } => store.delete(ThinId(*id)),
        Op::Flush => store.flush(),
    }
}

fn cut(store: &ThinPoolStore, pairs: &[(u32, u32)]) -> Result<()> {
    let copies: Vec<_> = pairs.iter().map(|(_, copy)| *copy).collect();
    let origins = pairs.iter().map(|(origin, _)| *origin).filter(|id| !copies.contains(id));
    let hold = store.hold(&origins.map(ThinId).collect::<Vec<_>>(), HOLD)?;
    let pairs = pairs.iter().map(|(origin, copy)| Snapshot { origin: ThinId(*origin), copy: ThinId(*copy) });
    let cut = store.cut(&hold, &pairs.collect::<Vec<_>>())?;
    drop(hold);
    store.wait_durable(&cut)
}

/// Fails unless the pool holds what `before` or `after` says, each sector for itself; the devices are exactly those of one.
/// `after` is one operation further: the one that was under way when the process died.
pub fn compare(store: &ThinPoolStore, before: &History, after: &History) -> Result<()> {
    let devices = |history: &History| history.devices().iter().map(|(id, _)| ThinId(*id)).collect::<Vec<_>>();
    let found = store.device_ids()?;
    let Some(own) = [after, before].into_iter().find(|history| devices(history) == found) else {
        let text = format!("devices {found:?}, expected {:?} or {:?}", devices(before), devices(after));
        return Err(Error::new(ErrorCode::Corrupt, text));
    };
    for (id, bytes) in own.devices() {
        let [old, new] = [before, after].map(|history| history.writers(id));
        each_chunk(&*store.open(ThinId(id), bytes)?, |offset, chunk| {
            for (i, sector) in chunk.chunks_exact(SECTOR as usize).enumerate() {
                let at = offset / SECTOR + i as u64;
                let held = |writers: Option<&[Writer]>| {
                    writers.and_then(|w| w.get(at as usize)).is_some_and(|w| own.pattern(*w, at) == sector)
                };
                if !held(new) && !held(old) {
                    let want = [old, new].map(|writers| writers.and_then(|w| w.get(at as usize)).copied());
                    let text = String::from_utf8_lossy(&sector[..64]).into_owned();
                    let what = format!("device {id} sector {at} holds {text:?}; expected of {want:?}");
                    return Err(Error::new(ErrorCode::Corrupt, what));
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Describes these devices (id, bytes), which must be all that there are.
pub fn describe(store: &ThinPoolStore, devices: &[(u32, u64)]) -> Result<Vec<Description>> {
    let mut named: Vec<_> = devices.iter().map(|(id, _)| ThinId(*id)).collect();
    named.sort();
    let found = store.device_ids()?;
    if found != named {
        return Err(Error::new(ErrorCode::Corrupt, format!("the pool has devices {found:?}, not {named:?}")));
    }
    let describe = |(id, bytes): &(u32, u64)| {
        let volume = store.open(ThinId(*id), *bytes)?;
        let mapped_blocks = store.mapped_blocks(ThinId(*id))?;
        Ok(Description { id: *id, bytes: *bytes, mapped_blocks, sha256: sha256(&*volume)? })
    };
    devices.iter().map(describe).collect()
}

/// The checksum of all of a device, by the program that the guest uses too.
fn sha256(volume: &dyn Volume) -> Result<String> {
    let failed = |error| Error::io("run sha256sum", error);
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        each_chunk(volume, |_, chunk| input.write_all(chunk).map_err(failed))?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    Ok(String::from_utf8_lossy(&output.stdout).chars().take(64).collect())
}

fn each_chunk(volume: &dyn Volume, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let (size, mut buffer) = (volume.size_bytes(), vec![0; CHUNK]);
    for offset in (0..size).step_by(CHUNK) {
        let chunk = &mut buffer[..(size - offset).min(CHUNK as u64) as usize];
        volume.read(offset, chunk)?;
        each(offset, chunk)?;
    }
    Ok(())
}
