//! A disk of three files that can die: after a set number of writes nothing is written any more, and every call fails.
//!
//! What the process wrote survives its death; what the machine loses is a random part of what was written since the
//! last sync of that file, torn at sectors.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};
use umbra_store::backing::{Backing, BlockFile};

const PAGE: u64 = 4096;
const SECTOR: u64 = 512;
type Pages = BTreeMap<u64, [u8; PAGE as usize]>;

/// A stream of pseudo-random numbers (xorshift).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

#[derive(Debug, Clone, Default)]
struct Contents {
    size: u64,
    pages: Pages,
}

impl Contents {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        self.size = self.size.max(offset + bytes.len() as u64);
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let step = (bytes.len() - done).min(PAGE as usize - within);
            let page = self.pages.entry(at / PAGE).or_insert([0; PAGE as usize]);
            page[within..within + step].copy_from_slice(&bytes[done..done + step]);
            done += step;
        }
    }

    fn read(&self, into: &mut [u8], offset: u64) {
        into.fill(0);
        let end = offset + into.len() as u64;
        for (page, content) in self.pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let (from, to) = ((page * PAGE).max(offset), ((page + 1) * PAGE).min(end));
            let part = &content[(from - page * PAGE) as usize..(to - page * PAGE) as usize];
            into[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
        }
    }

    fn cut(&mut self, size: u64) {
        self.size = size;
        drop(self.pages.split_off(&size.div_ceil(PAGE)));
        if let Some(page) = self.pages.get_mut(&(size / PAGE)) {
            page[(size % PAGE) as usize..].fill(0);
        }
    }

    fn punch(&mut self, offset: u64, len: u64) {
        for page in offset / PAGE..(offset + len) / PAGE {
            self.pages.remove(&page);
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, bytes) => self.write(bytes, *offset),
            Change::Size(size) => {
                if *size < self.size {
                    self.cut(*size);
                }
                self.size = *size;
            }
            Change::Punch(offset, len) => self.punch(*offset, *len),
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Size(u64),
    Punch(u64, u64),
}

/// What the disk does wrong: the tests must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flaw {
    #[default]
    None,
    /// A sync of the data or the metadata makes nothing durable.
    SyncsNothing,
    /// What is written to the log is thrown away.
    ForgetsLog,
}

#[derive(Debug, Default)]
struct Disk {
    flaw: Flaw,
    /// What a reader sees now, and what would survive the loss of the machine for sure.
    now: [Contents; 3],
    synced: [Contents; 3],
    since_sync: [Vec<Change>; 3],
    /// Changes left until death.
    left: Option<u64>,
}

impl Disk {
    fn change(&mut self, file: usize, change: Change) -> io::Result<()> {
        self.alive()?;
        if self.flaw == Flaw::ForgetsLog && file == 2 {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        self.now[file].apply(&change);
        self.since_sync[file].push(change);
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        if self.left == Some(0) { Err(io::Error::other("the process is dead")) } else { Ok(()) }
    }
}

/// The machine with its disk.
#[derive(Debug, Clone)]
pub struct Machine {
    disk: Arc<Mutex<Disk>>,
    boot: u8,
}

impl Machine {
    /// A machine with such a disk.
    pub fn new(flaw: Flaw) -> Machine {
        Machine { disk: Arc::new(Mutex::new(Disk { flaw, ..Disk::default() })), boot: 0 }
    }

    /// The files for a new process.
    pub fn backing(&self) -> Backing {
        let file = |index| Arc::new(SimFile { disk: self.disk.clone(), index }) as Arc<dyn BlockFile>;
        Backing { meta: file(0), data: file(1), log: file(2), boot: [self.boot; 16], identity: [7; 16] }
    }

    /// The process dies after so many more changes to its files.
    pub fn die_after(&self, changes: u64) {
        self.disk.lock().unwrap().left = Some(changes);
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.disk.lock().unwrap().alive().is_err()
    }

    /// A new process starts on what the old one wrote. The old one is gone for good: it has other handles.
    pub fn restart(&mut self) {
        let disk = std::mem::take(&mut *self.disk.lock().unwrap());
        self.disk.lock().unwrap().left = Some(0);
        self.disk = Arc::new(Mutex::new(Disk { left: None, ..disk }));
    }

    /// The machine loses power: of what was not synced some is there, some is not, one write is torn.
    pub fn lose_power(&mut self, dice: &mut Dice) {
        self.restart();
        self.boot += 1;
        let disk = &mut *self.disk.lock().unwrap();
        for file in 0..3 {
            let mut kept = std::mem::take(&mut disk.synced[file]);
            for change in std::mem::take(&mut disk.since_sync[file]) {
                match (change, dice.below(4)) {
                    (_, 0) => {}
                    (Change::Write(offset, bytes), 1) => {
                        let sectors = bytes.len() as u64 / SECTOR;
                        let (from, to) = (dice.below(sectors + 1) * SECTOR, sectors * SECTOR);
                        kept.apply(&Change::Write(offset + from, bytes[from as usize..to as usize].to_vec()));
                    }
                    (change, _) => kept.apply(&change),
                }
            }
            disk.synced[file] = kept.clone();
            disk.now[file] = kept;
        }
    }

    /// The metadata file's bytes.
    pub fn metadata(&self) -> Vec<u8> {
        let disk = self.disk.lock().unwrap();
        let mut bytes = vec![0; disk.now[0].size as usize];
        for (page, content) in &disk.now[0].pages {
            bytes[(page * PAGE) as usize..][..PAGE as usize].copy_from_slice(content);
        }
        bytes
    }

    /// Blocks of the data file.
    pub fn data_bytes(&self) -> u64 {
        self.disk.lock().unwrap().now[1].size
    }
}

#[derive(Debug)]
struct SimFile {
    disk: Arc<Mutex<Disk>>,
    index: usize,
}

impl BlockFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().unwrap().now[self.index].size)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.disk.lock().unwrap().change(self.index, Change::Size(bytes))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.disk.lock().unwrap();
        disk.alive()?;
        let file = &disk.now[self.index];
        if offset + buf.len() as u64 > file.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.read(buf, offset);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.disk.lock().unwrap().change(self.index, Change::Write(offset, buf.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        let disk = &mut *self.disk.lock().unwrap();
        disk.alive()?;
        if disk.flaw == Flaw::SyncsNothing {
            return Ok(());
        }
        for change in std::mem::take(&mut disk.since_sync[self.index]) {
            disk.synced[self.index].apply(&change);
        }
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        self.disk.lock().unwrap().alive()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.lock().unwrap().change(self.index, Change::Punch(offset, len))
    }
}
