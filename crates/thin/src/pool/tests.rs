//! The metadata device at its largest, where the engine's own search for free blocks would come only after it had
//! filled 16 GiB.

use super::{LogUse, Plan, Pool};
use crate::{
    Format, ThinId, format,
    limits::{ENTRIES_PER_BITMAP, META_BLOCKS_MAX},
    meta::MetaRead,
    page::Page,
    pool::Commit,
};
use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};
use umbra_thin_check::{Expect, ReadBlock, Severity};

/// A device of the largest size, of which what was written is in memory.
#[derive(Debug, Clone, Default)]
struct Sparse(Rc<RefCell<BTreeMap<u64, Page>>>);

impl MetaRead for Sparse {
    fn read(&self, block: u64) -> io::Result<Box<Page>> {
        self.0.borrow().get(&block).map(|page| Box::new(*page)).ok_or(io::ErrorKind::NotFound.into())
    }
}

impl ReadBlock for Sparse {
    fn blocks(&self) -> u64 {
        META_BLOCKS_MAX
    }

    fn read_block(&self, number: u64, into: &mut Page) -> io::Result<()> {
        *into = *MetaRead::read(self, number)?;
        Ok(())
    }
}

impl Sparse {
    fn write(&self, commit: &Commit) {
        let mut blocks = self.0.borrow_mut();
        blocks.extend(commit.blocks.iter().map(|block| (block.number, block.bytes())));
        blocks.insert(0, *commit.superblock);
    }

    fn commit(&self, pool: &mut Pool<Sparse>) {
        let commit = pool.begin_commit(LogUse::Empty).unwrap();
        self.write(&commit);
        pool.commit_durable(commit.transaction);
    }

    fn check(&self) {
        let report = umbra_thin_check::check(self, Expect::default());
        let found: Vec<_> = report.findings.iter().collect();
        assert_eq!(report.verdict(), Severity::Ok, "{found:#?}");
    }
}

fn write(pool: &mut Pool<Sparse>, vblocks: impl Iterator<Item = u64>) {
    for vblock in vblocks {
        match pool.plan_write(ThinId(1), vblock).unwrap() {
            Plan::Fresh { to } | Plan::Copy { to, .. } => pool.finish_write(ThinId(1), vblock, to).unwrap(),
            Plan::InPlace(_) => {}
        }
    }
}

#[test]
fn the_last_bitmap_of_the_largest_metadata_is_used_up_to_its_end() {
    const LAST: u64 = META_BLOCKS_MAX - 1;
    let disk = Sparse::default();
    let wish = Format {
        uuid: [1; 16],
        data_block_sectors: 128,
        data_blocks: 1 << 20,
        metadata_blocks: META_BLOCKS_MAX + 1,
    };
    disk.write(&format(&wish).unwrap());
    let mut pool = Pool::open(disk.clone()).unwrap();
    pool.create(ThinId(1)).unwrap();
    // As if all before were taken: the next blocks are the last there are, and then the first again.
    pool.meta.blocks.search_from(META_BLOCKS_MAX - 20);
    write(&mut pool, (0..5000).map(|i| i * 3));
    disk.commit(&mut pool);
    disk.check();
    let last = META_BLOCKS_MAX - ENTRIES_PER_BITMAP;
    let written: Vec<_> = disk.0.borrow().range(last..).map(|(block, _)| *block).collect();
    assert_eq!(written, (LAST - 19..=LAST).collect::<Vec<_>>());
    let mapped = pool.mappings(ThinId(1), 0..15_000).unwrap();
    let mut again = Pool::open(disk.clone()).unwrap();
    assert_eq!(again.mappings(ThinId(1), 0..15_000).unwrap(), mapped);
    assert_eq!(again.metadata_fill(), pool.metadata_fill());
    // What is given up there is found free again.
    again.delete(ThinId(1)).unwrap();
    disk.commit(&mut again);
    disk.check();
    assert_eq!((LAST - 19..=LAST).filter(|block| again.meta.blocks.count(*block).unwrap() > 0).count(), 0);
    again.create(ThinId(1)).unwrap();
    again.meta.blocks.search_from(LAST);
    write(&mut again, 0..300);
    disk.commit(&mut again);
    assert_eq!(again.meta.blocks.count(LAST).unwrap(), 1);
    disk.check();
}
