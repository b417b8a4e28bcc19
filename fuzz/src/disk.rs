//! A metadata device in memory, which engine and checker read alike. Copies share their pages until one is written.

use std::{cell::RefCell, fmt, io, rc::Rc, sync::Arc};
use umbra_thin::{Commit, INCOMPAT_LOG, MetaRead, Page};
use umbra_thin_check::{Expect, ReadBlock, Report, Severity, check};

/// The pages of a metadata device.
pub(crate) type Pages = Vec<Arc<Page>>;

/// Pages of zeroes: one in memory, whatever the number.
pub(crate) fn blank(blocks: u64) -> Pages {
    let page = Arc::new([0; 4096]);
    (0..blocks).map(|_| page.clone()).collect()
}

/// A metadata device. Clones are handles of the same one.
#[derive(Clone)]
pub(crate) struct Disk(Rc<RefCell<Pages>>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({} blocks)", self.len())
    }
}

impl Disk {
    pub(crate) fn new(pages: Pages) -> Self {
        Disk(Rc::new(RefCell::new(pages)))
    }

    /// What it holds now.
    pub(crate) fn pages(&self) -> Pages {
        self.0.borrow().clone()
    }

    /// A block that exists.
    pub(crate) fn page(&self, block: usize) -> Page {
        *self.0.borrow()[block]
    }

    /// Blocks.
    pub(crate) fn len(&self) -> u64 {
        self.0.borrow().len() as u64
    }

    /// Writes a block. Block numbers come from an engine that was told the device's size.
    pub(crate) fn write(&self, block: u64, page: &Page) {
        self.0.borrow_mut()[block as usize] = Arc::new(*page);
    }

    /// Writes a whole commit.
    pub(crate) fn write_commit(&self, commit: &Commit) {
        commit.blocks.iter().for_each(|block| self.write(block.number, &block.bytes()));
        self.write(0, &commit.superblock);
    }

    /// What the checker says. A log beside the pool is no surprise here.
    pub(crate) fn check(&self) -> Report {
        check(self, Expect { data_blocks: None, known_features: INCOMPAT_LOG })
    }

    /// Panics unless the checker is content: an invariant of this fuzzer is broken.
    pub(crate) fn assert_clean(&self, when: &str) {
        let report = self.check();
        if report.verdict() != Severity::Ok {
            let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
            panic!("not clean {when}:\n{}", findings.join("\n"));
        }
    }
}

impl MetaRead for Disk {
    fn read(&self, block: u64) -> io::Result<Box<Page>> {
        let pages = self.0.borrow();
        let page = usize::try_from(block).ok().and_then(|block| pages.get(block));
        page.map(|page| Box::new(**page)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl ReadBlock for Disk {
    fn blocks(&self) -> u64 {
        self.len()
    }

    fn read_block(&self, number: u64, into: &mut Page) -> io::Result<()> {
        let pages = self.0.borrow();
        let page = usize::try_from(number).ok().and_then(|number| pages.get(number));
        into.copy_from_slice(&page.ok_or(io::ErrorKind::UnexpectedEof)?[..]);
        Ok(())
    }
}
