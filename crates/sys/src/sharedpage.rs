//! A page of memory that several processes, and a file, share. All access is atomic.

use std::{
    fs::File,
    io,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

/// Bytes of a [`SharedPage`].
pub const PAGE: usize = 4096;

/// The first page of a file, mapped shared. Children of a fork see it at the same place.
#[derive(Debug)]
pub struct SharedPage {
    base: NonNull<u8>,
}

// SAFETY: the page is reached through atomics only, so it may be used from any thread.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// Maps the first page of `file`, which must be open for reading and writing and at least a page long.
    pub fn map(file: &File) -> io::Result<SharedPage> {
        if file.metadata()?.len() < PAGE as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is shorter than a page"));
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice, of a file that has the whole page. Should the
        // file be truncated later, access raises SIGBUS and ends the process; memory stays sound.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                PAGE,
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED,
                file,
                0,
            )?
        };
        Ok(SharedPage { base: NonNull::new(base.cast()).expect("mmap never returns null without MAP_FIXED") })
    }

    /// The byte at `offset`. Panics if it lies outside the page.
    pub fn byte(&self, offset: usize) -> &AtomicU8 {
        assert!(offset < PAGE, "offset {offset} lies outside the page");
        // SAFETY: inside the mapping, which lives as long as self; any byte is a valid AtomicU8, and nobody in this
        // process makes plain references to it. Offsets of bytes and words are kept apart by the users' layouts.
        unsafe { AtomicU8::from_ptr(self.base.as_ptr().add(offset)) }
    }

    /// The 64-bit word at `offset`. Panics if it is not aligned or lies outside the page.
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < PAGE, "offset {offset} is no word of the page");
        // SAFETY: inside the mapping and aligned, since the page is; otherwise as for bytes.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// Changes the byte at `offset` from `from` to `to`; false if it was not `from`.
    pub fn change(&self, offset: usize, from: u8, to: u8) -> bool {
        self.byte(offset).compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: unmaps what `map` mapped; references handed out borrow self and are gone.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_one_mapping_changes_the_other_and_the_file_see() {
        let path = std::env::temp_dir().join(format!("umbra-sharedpage-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(SharedPage::map(&file).is_err(), "an empty file has no page");
        file.set_len(PAGE as u64).unwrap();
        let (one, other) = (SharedPage::map(&file).unwrap(), SharedPage::map(&file).unwrap());
        assert!(one.change(5, 0, 7) && !other.change(5, 0, 8));
        one.word(16).store(u64::MAX, Ordering::SeqCst);
        assert_eq!(other.word(16).load(Ordering::SeqCst), u64::MAX);
        let mut byte = [0];
        file.read_exact_at(&mut byte, 5).unwrap();
        assert_eq!(byte, [7]);
    }
}
