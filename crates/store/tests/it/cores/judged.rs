//! A metadata file that has the independent checker look at every commit.

use crate::judge::{Judges, check_image};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};
use umbra_store::backing::{Backing, BlockFile};

/// The feature bit of a pool whose log may hold writes.
const INCOMPAT_LOG: u32 = 1 << 31;

/// What was found, by threads that nobody hears when they panic.
#[derive(Default)]
pub struct Verdicts {
    /// Commits that were looked at.
    pub commits: AtomicU64,
    /// Whether one was not clean; what was wrong is printed.
    pub unclean: AtomicBool,
}

struct Judged {
    file: Arc<dyn BlockFile>,
    has_new_superblock: AtomicBool,
    verdicts: Arc<Verdicts>,
}

/// The same files, under the checker's eyes.
pub fn judged(backing: Backing, verdicts: &Arc<Verdicts>) -> Backing {
    let (file, verdicts) = (backing.meta.clone(), verdicts.clone());
    let meta = Arc::new(Judged { file, has_new_superblock: AtomicBool::new(false), verdicts });
    Backing { meta, ..backing }
}

impl BlockFile for Judged {
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
        self.has_new_superblock.fetch_or(offset == 0, SeqCst);
        self.file.write_at(buf, offset)
    }

    /// The one who commits is here, and nobody else commits meanwhile.
    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        if self.has_new_superblock.swap(false, SeqCst) {
            let mut image = vec![0; self.file.size()? as usize];
            self.file.read_at(&mut image, 0)?;
            let sample = self.verdicts.commits.fetch_add(1, SeqCst).is_multiple_of(32);
            let judges = if sample { Judges::AlsoThinCheck } else { Judges::Ours };
            let look = AssertUnwindSafe(|| check_image(image, judges, INCOMPAT_LOG));
            self.verdicts.unclean.fetch_or(catch_unwind(look).is_err(), SeqCst);
        }
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch(offset, len)
    }

    fn file(&self) -> Option<Arc<std::fs::File>> {
        self.file.file()
    }
}
