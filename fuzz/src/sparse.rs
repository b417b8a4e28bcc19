//! A store's file in memory. Pages that were never written cost nothing; clones share pages until one is written.

use crate::disk::{Pages, blank};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use umbra_store::backing::BlockFile;

const PAGE: u64 = 4096;
type Page = [u8; PAGE as usize];

/// The file.
#[derive(Debug, Default)]
pub(crate) struct SparseFile(Mutex<Content>);

#[derive(Debug, Clone, Default)]
struct Content {
    size: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl SparseFile {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file with the same content.
    pub(crate) fn copy(&self) -> SparseFile {
        SparseFile(Mutex::new(self.content().clone()))
    }

    /// All whole pages, for the checker.
    pub(crate) fn pages(&self) -> Pages {
        let content = self.content();
        let mut all = blank(content.size / PAGE);
        let inside = content.pages.range(..content.size / PAGE);
        inside.for_each(|(number, page)| all[*number as usize] = page.clone());
        all
    }

    /// Calls `each` with every piece of a range that lies in one page: page, offset in it, bytes, place in the range.
    fn pieces(offset: u64, len: usize, mut each: impl FnMut(u64, usize, std::ops::Range<usize>)) {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let step = (PAGE as usize - within).min(len - done);
            each(at / PAGE, within, done..done + step);
            done += step;
        }
    }
}

impl BlockFile for SparseFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content().size)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        let mut content = self.content();
        content.size = bytes;
        content.pages.retain(|page, _| page * PAGE < bytes);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.content();
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > content.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        SparseFile::pieces(offset, buf.len(), |page, within, part| match content.pages.get(&page) {
            Some(page) => buf[part.clone()].copy_from_slice(&page[within..within + part.len()]),
            None => buf[part].fill(0),
        });
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.content();
        let content = &mut *content;
        SparseFile::pieces(offset, buf.len(), |page, within, part| {
            let page = content.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[within..within + part.len()].copy_from_slice(&buf[part]);
        });
        content.size = content.size.max(offset + buf.len() as u64);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.saturating_add(len).min(self.content().size);
        let zeroes = vec![0; end.saturating_sub(offset) as usize];
        self.write_at(&zeroes, offset.min(end))
    }
}
