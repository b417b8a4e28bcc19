//! A unit in memory, for the target: thin in pages, on a file that has no name; with a direct door, or without, or with one
//! that is often shut.

use super::marks::{UnitId, WITNESS, marked};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;
use umbra_target::{Extent, LogicalUnit, MappedRun, MediumError, Space};

pub(super) const BYTES: u64 = 64 << 10;
const PAGE: u64 = 4096;
const PAGES: usize = (BYTES / PAGE) as usize;
const LOCKED: &str = "nobody panics under it";
const FILE: &str = "the file is in memory";

/// How long a slow unit takes before a change.
const LINGER: Duration = Duration::from_micros(300);

/// What units are full of, made once.
static FULL: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| (0..=WITNESS).map(|id| marked(id, 0, Some(0), BYTES as usize)).collect());

/// How a unit answers at its direct door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// For pages of odd number only.
    Ajar,
    Missing,
}

#[derive(Debug)]
pub(super) struct FuzzUnit {
    file: Arc<File>,
    door: Door,
    slow: bool,
    mapped: Mutex<[bool; PAGES]>,
}

impl FuzzUnit {
    /// A unit that is full of its own marks.
    pub(super) fn new(id: UnitId, door: Door, slow: bool) -> FuzzUnit {
        let file = rustix::fs::memfd_create("umbra-fuzz-unit", rustix::fs::MemfdFlags::CLOEXEC);
        let file = File::from(file.expect("there is memory"));
        file.write_all_at(&FULL[usize::from(id)], 0).expect(FILE);
        FuzzUnit { file: Arc::new(file), door, slow, mapped: Mutex::new([true; PAGES]) }
    }

    pub(super) fn contents(&self) -> Vec<u8> {
        let mut bytes = vec![0; BYTES as usize];
        let mapped = self.mapped();
        self.file.read_exact_at(&mut bytes, 0).expect(FILE);
        let pages = bytes.chunks_exact_mut(PAGE as usize).zip(*mapped);
        pages.filter(|(_, mapped)| !mapped).for_each(|(page, _)| page.fill(0));
        bytes
    }

    /// Before a change at the slow door: it takes about as long as it takes others to do something.
    fn linger(&self) {
        if self.slow {
            std::thread::sleep(LINGER);
        }
    }

    fn mapped(&self) -> MutexGuard<'_, [bool; PAGES]> {
        self.mapped.lock().expect(LOCKED)
    }

    /// The parts of a range by pages: page, first byte, bytes.
    fn parts(offset: u64, len: u64) -> impl Iterator<Item = (usize, u64, u64)> {
        let end = offset + len;
        let mut at = offset;
        std::iter::from_fn(move || {
            let part = (PAGE - at % PAGE).min(end - at);
            let found = (at < end).then_some(((at / PAGE) as usize, at, part));
            at += part;
            found
        })
    }

    fn inside(offset: u64, len: u64) -> Result<(), MediumError> {
        match offset.checked_add(len) {
            Some(end) if end <= BYTES => Ok(()),
            _ => panic!("the target went beyond its unit: {len} bytes at {offset}"),
        }
    }

    fn is_open(&self, page: usize) -> bool {
        match self.door {
            Door::Open => true,
            Door::Ajar => page % 2 == 1,
            Door::Missing => false,
        }
    }
}

impl LogicalUnit for FuzzUnit {
    type Ticket = ();

    fn size_bytes(&self) -> u64 {
        BYTES
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), MediumError> {
        Self::inside(offset, buf.len() as u64)?;
        let mapped = self.mapped();
        for (page, at, len) in Self::parts(offset, buf.len() as u64) {
            let from = (at - offset) as usize;
            let part = &mut buf[from..from + len as usize];
            match mapped[page] {
                true => self.file.read_exact_at(part, at).expect(FILE),
                false => part.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        Self::inside(offset, buf.len() as u64)?;
        self.linger();
        let mut mapped = self.mapped();
        for (page, at, len) in Self::parts(offset, buf.len() as u64) {
            if !std::mem::replace(&mut mapped[page], true) {
                self.file.write_all_at(&[0; PAGE as usize], page as u64 * PAGE).expect(FILE);
            }
            let from = (at - offset) as usize;
            self.file.write_all_at(&buf[from..from + len as usize], at).expect(FILE);
        }
        Ok(())
    }

    fn write_atomic(&self, offset: u64, buf: &[u8]) -> Result<(), MediumError> {
        self.write(offset, buf)
    }

    fn atomic_bytes(&self) -> u32 {
        PAGE as u32
    }

    fn flush(&self) -> Result<(), MediumError> {
        Ok(())
    }

    fn unmap(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        Self::inside(offset, len)?;
        for (page, at, len) in Self::parts(offset, len) {
            match len {
                PAGE => self.mapped()[page] = false,
                _ => self.write(at, &vec![0; len as usize])?,
            }
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), MediumError> {
        self.unmap(offset, len)
    }

    fn mapped(&self, offset: u64, len: u64) -> Result<Vec<MappedRun>, MediumError> {
        Self::inside(offset, len)?;
        let mapped = self.mapped();
        let run = |(page, offset, len): (usize, u64, u64)| MappedRun { offset, len, mapped: mapped[page] };
        Ok(Self::parts(offset, len).map(run).collect())
    }

    fn space(&self) -> Option<Space> {
        let used = self.mapped().iter().filter(|mapped| **mapped).count() as u64 * PAGE;
        Some(Space { available: BYTES - used, used })
    }

    fn data_file(&self) -> Option<Arc<File>> {
        (self.door != Door::Missing).then(|| self.file.clone())
    }

    fn direct_read(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<()> {
        Self::inside(offset, len).ok()?;
        let mapped = self.mapped();
        if !Self::parts(offset, len).all(|(page, ..)| self.is_open(page)) {
            return None;
        }
        extents.extend(
            Self::parts(offset, len).map(|(page, at, len)| Extent { at: mapped[page].then_some(at), len }),
        );
        Some(())
    }

    fn direct_write(&self, offset: u64, len: u64, extents: &mut Vec<Extent>) -> Option<()> {
        Self::inside(offset, len).ok()?;
        let mapped = self.mapped();
        if !Self::parts(offset, len).all(|(page, ..)| self.is_open(page) && mapped[page]) {
            return None;
        }
        extents.extend(Self::parts(offset, len).map(|(_, at, len)| Extent { at: Some(at), len }));
        Some(())
    }

    fn finish(&self, (): (), _done: bool) -> Result<(), MediumError> {
        Ok(())
    }
}
