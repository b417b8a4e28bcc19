//! Small steps that most tests take: a new pool, a block written, a snapshot.

use crate::disk::Disk;
use umbra_thin::{Format, Plan, Pool, Snapshot, ThinError, ThinId, format};

pub fn new_pool(data_blocks: u64, metadata_blocks: u64) -> (Disk, Pool<Disk>) {
    new_pool_of([3; 16], data_blocks, metadata_blocks)
}

pub fn new_pool_of(uuid: [u8; 16], data_blocks: u64, metadata_blocks: u64) -> (Disk, Pool<Disk>) {
    let disk = Disk::new(metadata_blocks);
    let wish = Format { uuid, data_block_sectors: 128, data_blocks, metadata_blocks };
    disk.write(&format(&wish).unwrap());
    (disk.clone(), Pool::open(disk).unwrap())
}

/// Writes one block, as a driver does.
pub fn write(pool: &mut Pool<Disk>, id: u32, vblock: u64) -> Result<Plan, ThinError> {
    let plan = pool.plan_write(ThinId(id), vblock)?;
    match plan {
        Plan::InPlace(_) => {}
        Plan::Fresh { to } | Plan::Copy { to, .. } => {
            pool.finish_write(ThinId(id), vblock, to).inspect_err(|_| pool.abort_write(plan))?;
        }
    }
    Ok(plan)
}

pub fn snapshot(pool: &mut Pool<Disk>, origin: u32, copy: u32) {
    pool.snapshot(&[Snapshot { origin: ThinId(origin), copy: ThinId(copy) }]).unwrap();
}

/// Writes each of these blocks.
pub fn fill(pool: &mut Pool<Disk>, id: u32, vblocks: impl IntoIterator<Item = u64>) {
    for vblock in vblocks {
        write(pool, id, vblock).unwrap();
    }
}
