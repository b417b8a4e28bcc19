//! A metadata device in memory, commits written to it, and the outside judge `thin_check`.

use std::{
    collections::HashMap,
    io,
    os::unix::fs::FileExt,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use umbra_thin::{Commit, MetaRead, Page, Pool};
use umbra_thin_check::{Expect, ReadBlock, Report, Severity, Summary};

/// A metadata device that several pools, one after the other, read from.
#[derive(Clone, Default)]
pub struct Disk {
    blocks: Arc<Mutex<HashMap<u64, Box<Page>>>>,
    size: u64,
    reads: Arc<AtomicU64>,
}

impl Disk {
    pub fn new(size: u64) -> Self {
        Disk { size, ..Disk::default() }
    }

    pub fn from_image(image: &[u8]) -> Self {
        let disk = Disk::new(image.len() as u64 / 4096);
        for (number, bytes) in image.chunks_exact(4096).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                disk.put(number as u64, bytes.try_into().unwrap());
            }
        }
        disk
    }

    /// The same device, larger.
    pub fn grown(&self, size: u64) -> Self {
        Disk { size, ..self.clone() }
    }

    /// Blocks read so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    pub fn put(&self, number: u64, page: &Page) {
        assert!(number < self.size, "block {number} beyond the end");
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Box::new(*page));
    }

    pub fn image(&self) -> Vec<u8> {
        let mut image = vec![0; self.size as usize * 4096];
        for (number, page) in self.blocks.lock().unwrap().iter() {
            image[*number as usize * 4096..][..4096].copy_from_slice(&page[..]);
        }
        image
    }

    /// The image in a file that takes no space where nothing was written.
    fn sparse_file(&self) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(self.size * 4096).unwrap();
        for (number, page) in self.blocks.lock().unwrap().iter() {
            file.as_file().write_all_at(&page[..], number * 4096).unwrap();
        }
        file
    }

    pub fn write(&self, commit: &Commit) {
        commit.blocks.iter().for_each(|block| self.put(block.number, &block.bytes()));
        self.put(0, &commit.superblock);
    }

    pub fn commit(&self, pool: &mut Pool<Disk>) {
        let commit = pool.begin_commit(umbra_thin::LogUse::Empty).unwrap();
        self.write(&commit);
        pool.commit_durable(commit.transaction);
    }

    /// Asks our independent checker.
    pub fn check(&self) {
        self.try_check().unwrap();
    }

    pub fn try_check(&self) -> Result<(), String> {
        self.try_summary().map(drop)
    }

    /// What our checker found in a clean pool.
    pub fn summary(&self) -> Summary {
        self.try_summary().unwrap()
    }

    fn try_summary(&self) -> Result<Summary, String> {
        let report = self.report();
        match (report.verdict(), report.summary) {
            (Severity::Ok, Some(summary)) => Ok(summary),
            _ => Err(format!("{:#?}", report.findings.iter().collect::<Vec<_>>())),
        }
    }

    /// All that our checker says.
    pub fn report(&self) -> Report {
        let expect = Expect { known_features: umbra_thin::INCOMPAT_LOG, ..Expect::default() };
        umbra_thin_check::check(self, expect)
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Asks our checker and `thin_check`. Says so loudly where that one is missing.
    pub fn check_twice(&self) {
        self.check();
        let file = self.sparse_file();
        let output = match Command::new("thin_check").arg(file.path()).output() {
            Ok(output) => output,
            Err(error) => return eprintln!("SKIPPED: thin_check (thin-provisioning-tools): {error}"),
        };
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "thin_check: {text}");
    }
}

/// As large as it says, however little of it was ever written.
impl ReadBlock for Disk {
    fn blocks(&self) -> u64 {
        self.size
    }

    fn read_block(&self, number: u64, into: &mut Page) -> io::Result<()> {
        match self.blocks.lock().unwrap().get(&number) {
            Some(page) => into.copy_from_slice(&page[..]),
            None => into.fill(0),
        }
        Ok(())
    }
}

impl MetaRead for Disk {
    fn read(&self, block: u64) -> io::Result<Box<Page>> {
        if block >= self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.reads.fetch_add(1, Relaxed);
        let blocks = self.blocks.lock().unwrap();
        Ok(blocks.get(&block).cloned().unwrap_or_else(|| Box::new([0; 4096])))
    }
}
