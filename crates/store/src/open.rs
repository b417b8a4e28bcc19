//! Making a pool on its files, and opening one: check, enter the log, commit.

use crate::{
    backing::{Backing, allocate_if_possible},
    context::during,
    core::{Core, MetaFile},
    journal::{self, Journal, Left},
    needs_check,
    params::PoolParams,
    provision::Content,
};
use umbra_base::{Error, ErrorCode, Result};
use umbra_thin::{Format, INCOMPAT_LOG, Owner, Pool, format};

/// The store on these files, ready for use: the log entered, the pool marked as one that may be behind its log. A
/// damaged pool is served read-only, as far as that is safe (A6).
pub(crate) fn open(backing: Backing, params: &PoolParams) -> Result<Core> {
    let made = is_unformatted(&backing)?;
    if made {
        check_may_make(&backing, params)?;
        make(&backing, params)?;
    }
    let content = if made && !backing.data.is_device() { Content::Zeroes } else { Content::Unknown };
    match open_sound(&backing, params) {
        Ok((pool, journal)) => {
            // The superblock that was read may be in the page cache alone: what it freed is not free before it is durable.
            backing.meta.sync().map_err(|e| Error::io("flush pool.meta", e))?;
            journal.provision();
            let core = Core::new(backing, pool, journal, params, content);
            core.commit_anyway()?;
            Ok(core)
        }
        Err(error) if error.code() == ErrorCode::Corrupt => open_damaged(backing, params, error),
        Err(error) => Err(error),
    }
}

fn open_sound(backing: &Backing, params: &PoolParams) -> Result<(Pool<MetaFile>, Journal)> {
    let read = || Pool::open(MetaFile(backing.meta.clone())).map_err(|e| during("open pool.meta", e));
    let mut pool = read()?;
    if pool.superblock().flags & needs_check::NEEDS_CHECK != 0 {
        needs_check::lift(backing)?;
        pool = read()?;
    }
    pool.superblock().check_writable().map_err(|e| during("open pool.meta for writing", e))?;
    check_sizes(backing, &pool)?;
    if pool.owner() == Owner::Foreign {
        if !params.foreign {
            let text =
                "pool.meta holds a pool that LVM, a kernel or a tool made: an array serves none but its own";
            return Err(Error::new(ErrorCode::Unsupported, text)
                .hint("nothing was changed; use the pool where it was made, or copy its volumes into LUNs"));
        }
        needs_check::adopt(backing)?;
    }
    let journal = enter_log(backing, &mut pool, params.accept_lost_log)?;
    Ok((pool, journal))
}

/// Serves what can be read of a pool that must not be written. Devices with writes in the log, which cannot be entered,
/// are not served: what is on the disk is older than what was acknowledged.
fn open_damaged(backing: Backing, params: &PoolParams, damage: Error) -> Result<Core> {
    let meta = MetaFile(backing.meta.clone());
    // Where not even that is possible, the first error says more.
    let Ok((pool, losses)) = Pool::open_damaged(meta) else { return Err(damage) };
    let (identity, generation) = (pool.log_identity(), pool.generation());
    let left = journal::read(&backing, identity, generation).map_err(|e| Error::io("read pool.log", e))?;
    if is_lost(&backing, &pool, &left) && !params.accept_lost_log {
        return Err(lost_log().because(damage));
    }
    let behind = left.records.iter().map(|record| record.change).filter(|change| !change.is_nothing());
    let behind = behind.map(|change| change.device()).collect();
    let journal = Journal::new(&backing, identity, &left);
    let core = Core::new(backing, pool, journal, params, Content::Unknown);
    core.serve_damaged(behind, &damage, &losses);
    Ok(core)
}

/// Whether there is no pool yet: no metadata, or a superblock of zeroes (making it was cut short; block 0 comes last).
/// Metadata that is missing beside data that is there is a loss, not a new pool.
fn is_unformatted(backing: &Backing) -> Result<bool> {
    let size = backing.meta.size().map_err(|e| Error::io("look at pool.meta", e))?;
    let mut page = [0; 4096];
    if size >= 4096 {
        backing.meta.read_at(&mut page, 0).map_err(|e| Error::io("read pool.meta", e))?;
    }
    if page.iter().any(|byte| *byte != 0) {
        return Ok(false);
    }
    if backing.data.is_device() || backing.data.is_blank().map_err(|e| Error::io("look at pool.data", e))? {
        return Ok(true);
    }
    Err(Error::new(
        ErrorCode::BadState,
        "pool.data holds data, but pool.meta holds no pool: none is made over it",
    )
    .hint("put the metadata back (is its disk there? is the path right?), or remove pool.data to start anew"))
}

/// Whether nothing speaks for a pool that was here: making one empties its log and writes over its metadata.
fn check_may_make(backing: &Backing, params: &PoolParams) -> Result<()> {
    let refuse = |why: &str| {
        let text = format!("pool.meta holds no pool, but {why}: none is made over it");
        Err(Error::new(ErrorCode::BadState, text)
            .hint("nothing was changed; put the metadata back (is its disk there? is the path right?), or remove what is left of that pool to start anew"))
    };
    if !params.make {
        return refuse("the array has one");
    }
    if journal::is_used(backing).map_err(|e| Error::io("read pool.log", e))? {
        return refuse("pool.log is that of one");
    }
    Ok(())
}

fn make(backing: &Backing, params: &PoolParams) -> Result<()> {
    params.check()?;
    let data_blocks = params.data_bytes / params.block_bytes;
    let metadata_blocks = params.metadata_blocks();
    let data_block_sectors = (params.block_bytes / umbra_thin::limits::SECTOR) as u32;
    let wish = Format { uuid: backing.identity, data_block_sectors, data_blocks, metadata_blocks };
    let commit = format(&wish)?;
    let meta_bytes = metadata_blocks * 4096;
    let grow =
        |file: &dyn crate::backing::BlockFile, bytes| file.set_size(0).and_then(|()| file.set_size(bytes));
    grow(&*backing.log, 0).map_err(|e| Error::io("empty pool.log", e))?;
    grow(&*backing.data, data_blocks * params.block_bytes).map_err(|e| Error::io("size pool.data", e))?;
    grow(&*backing.meta, meta_bytes).map_err(|e| Error::io("size pool.meta", e))?;
    allocate_if_possible(&*backing.meta, 0, meta_bytes).map_err(|e| {
        Error::new(ErrorCode::InsufficientStorage, format!("no room for {meta_bytes} bytes of pool.meta"))
            .hint("choose a folder on a file system with more room, or a smaller pool")
            .because(e)
    })?;
    write_format(backing, &commit).map_err(|e| Error::io("write pool.meta", e))
}

fn write_format(backing: &Backing, commit: &umbra_thin::Commit) -> std::io::Result<()> {
    backing.data.sync()?;
    commit.blocks.iter().try_for_each(|block| backing.meta.write_at(&block.bytes(), block.number * 4096))?;
    backing.meta.sync()?;
    backing.meta.write_at(&commit.superblock[..], 0)?;
    backing.meta.sync()
}

fn check_sizes(backing: &Backing, pool: &Pool<MetaFile>) -> Result<()> {
    let meta = backing.meta.size().map_err(|e| Error::io("look at pool.meta", e))?;
    let data = backing.data.size().map_err(|e| Error::io("look at pool.data", e))?;
    Ok(pool.check_sizes(meta / 4096, data / pool.block_bytes())?)
}

/// Enters what the log has (A2), or says that it cannot be used.
fn enter_log(backing: &Backing, pool: &mut Pool<MetaFile>, accept_lost_log: bool) -> Result<Journal> {
    // A log of an earlier use of a foreign pool must not fit; its counter starts anywhere.
    pool.seed_generation(u64::from_le_bytes(std::array::from_fn(|i| backing.identity[i])));
    let (identity, generation) = (pool.log_identity(), pool.generation());
    let left = journal::read(backing, identity, generation).map_err(|e| Error::io("read pool.log", e))?;
    if is_lost(backing, pool, &left) {
        if !accept_lost_log {
            return Err(lost_log());
        }
        tracing::warn!(
            generation,
            "pool.log is missing or damaged: what was not flushed is lost, as was accepted"
        );
    }
    if left.dropped {
        tracing::warn!(generation, "pool.log is of an earlier boot: what was not flushed then is lost");
    }
    for record in &left.records {
        pool.replay(record).map_err(|e| during("enter pool.log", e))?;
    }
    if !left.records.is_empty() {
        tracing::info!(records = left.records.len(), generation, "pool.log entered");
    }
    pool.end_replay();
    Ok(Journal::new(backing, identity, &left))
}

/// Whether something of the log is gone that the running kernel must have kept. It is not flushed, so that after a loss of the
/// machine anything may be gone, and nothing of it is owed.
fn is_lost(backing: &Backing, pool: &Pool<MetaFile>, left: &Left) -> bool {
    let superblock = pool.superblock();
    let owed = superblock.incompat & INCOMPAT_LOG != 0 && superblock.log_boot == backing.boot;
    owed && (!left.fits || left.has_hole)
}

fn lost_log() -> Error {
    let text =
        "pool.log is missing or damaged: writes that were acknowledged since the last commit are not in it";
    Error::new(ErrorCode::BadState, text).hint(
        "nothing was changed; put the array's own pool.log back, or go on without those writes, as after a power failure: \
         --accept-lost-log",
    )
}
