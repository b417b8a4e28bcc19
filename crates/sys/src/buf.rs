//! Page-aligned buffers that own their memory, can be split into disjoint parts and joined again.
//!
//! A block of memory comes from a [`crate::bufpool::BufPool`] and goes back to it when the last of its parts is
//! dropped, from whatever thread. What always holds: no two parts overlap, so each is the only way to its bytes; a part
//! shows no byte that was not filled since the part was taken, although memory is not zeroed between two uses (only
//! [`Buf::spare_mut`] reaches the rest, and says so).

use crate::bufpool::{Account, Home};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering, fence},
    },
};

/// Alignment of every block, and the bytes of the smallest.
pub const PAGE: usize = 4096;

/// A block of memory and who still has parts of it.
pub(crate) struct Block {
    memory: NonNull<u8>,
    /// Size class: the block has `PAGE << class` bytes.
    pub(crate) class: usize,
    parts: AtomicU32,
    /// The next block of the list that this one is in; nobody has parts of a block in a list.
    pub(crate) next: *mut Block,
    pub(crate) home: Arc<Home>,
    /// In whose name it is out.
    pub(crate) account: Option<Arc<Account>>,
}

impl Block {
    /// A new block of `PAGE << class` zero bytes; none if the system has no memory.
    pub(crate) fn allocate(class: usize, home: Arc<Home>) -> Option<NonNull<Block>> {
        // SAFETY: the layout has a size above zero.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout(class)) })?;
        let block = Block {
            memory,
            class,
            parts: AtomicU32::new(0),
            next: std::ptr::null_mut(),
            home,
            account: None,
        };
        Some(NonNull::from(Box::leak(Box::new(block))))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `allocate` got this memory with the same layout, and a block dies once.
        unsafe { dealloc(self.memory.as_ptr(), layout(self.class)) }
    }
}

fn layout(class: usize) -> Layout {
    Layout::from_size_align(PAGE << class, PAGE).expect("a class is small and a page a power of two")
}

/// A part of a block: `room` bytes, of which the first `len()` are filled and visible as a slice.
pub struct Buf {
    block: NonNull<Block>,
    start: u32,
    room: u32,
    filled: u32,
}

// SAFETY: a part is the only way to its bytes; the block's count is atomic, its other fields are only read while parts
// exist, and its way home is made for any thread (see `Home::take_back`).
unsafe impl Send for Buf {}
// SAFETY: through a shared reference a part can only be read.
unsafe impl Sync for Buf {}

impl Buf {
    /// The only part of a block that nobody has parts of, `room` bytes long. It is out in the name of `account`.
    ///
    /// # Safety
    /// `block` is valid, in no list, without parts, and has at least `room` bytes.
    pub(crate) unsafe fn whole(mut block: NonNull<Block>, room: usize, account: Option<Arc<Account>>) -> Buf {
        // SAFETY: the caller promises that the block is valid and no one else's.
        let whole = unsafe { block.as_mut() };
        (*whole.parts.get_mut(), whole.account) = (1, account);
        Buf { block, start: 0, room: room as u32, filled: 0 }
    }

    /// Bytes that this part has room for, filled ones included.
    pub fn room(&self) -> usize {
        self.room as usize
    }

    /// Bytes that can still be filled.
    pub fn spare(&self) -> usize {
        (self.room - self.filled) as usize
    }

    /// The bytes that are not filled. They may be any earlier user's: write them, tell [`Buf::advance`], never read.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let (pointer, len) = self.spare_raw();
        // SAFETY: inside the block, initialised since its allocation was zeroed, and this part's alone, borrowed as
        // long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(pointer, len) }
    }

    /// Declares the next `bytes` bytes filled. Panics if there are not as many.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.spare(), "{bytes} bytes do not fit in the {} that are left", self.spare());
        self.filled += bytes as u32;
    }

    /// Fills with as much of `bytes` as there is room for, and says how many that were.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.spare());
        self.spare_mut()[..len].copy_from_slice(&bytes[..len]);
        self.advance(len);
        len
    }

    /// Fills the rest with zeroes.
    pub fn fill_zero(&mut self) {
        self.spare_mut().fill(0);
        self.filled = self.room;
    }

    /// Nothing is filled any more.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// At most the first `len` bytes stay filled.
    pub fn truncate(&mut self, len: usize) {
        self.filled = self.filled.min(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// Keeps the first `at` bytes of the room and returns the others as a part of its own; each keeps what is filled
    /// of it. Panics if there are not as many.
    #[must_use = "the part that is split off is lost until the block goes home"]
    pub fn split_off(&mut self, at: usize) -> Buf {
        assert!(at <= self.room(), "cannot split {} bytes at {at}", self.room);
        let at = at as u32;
        // SAFETY: the block lives as long as any of its parts, and this is one.
        unsafe { self.block.as_ref() }.parts.fetch_add(1, Ordering::Relaxed);
        let tail = Buf {
            block: self.block,
            start: self.start + at,
            room: self.room - at,
            filled: self.filled.saturating_sub(at),
        };
        self.room = at;
        self.filled = self.filled.min(at);
        tail
    }

    /// Returns the first `at` bytes of the room as a part of its own and keeps the others.
    #[must_use = "the part that is split off is lost until the block goes home"]
    pub fn split_to(&mut self, at: usize) -> Buf {
        let tail = self.split_off(at);
        std::mem::replace(self, tail)
    }

    /// Takes back the part that follows this one. Given back if it is not that part, or if there would be a gap in what
    /// is filled.
    pub fn join(&mut self, next: Buf) -> Result<(), Buf> {
        let follows = self.block == next.block && self.start + self.room == next.start;
        if !follows || (self.spare() > 0 && next.filled > 0) {
            return Err(next);
        }
        self.filled += next.filled;
        self.room += next.room;
        Ok(()) // `next` is dropped: one part less, and never the last.
    }

    /// Where the bytes that are not filled begin, and how many they are.
    pub(crate) fn spare_raw(&mut self) -> (*mut u8, usize) {
        // SAFETY: start + filled <= start + room, which lies inside the block.
        (unsafe { self.base().add(self.filled as usize) }, self.spare())
    }

    fn base(&self) -> *mut u8 {
        // SAFETY: the block lives as long as any of its parts, and start lies inside its memory.
        unsafe { self.block.as_ref().memory.as_ptr().add(self.start as usize) }
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: filled <= room bytes from start are inside the block, initialised, and this part's alone.
        unsafe { std::slice::from_raw_parts(self.base(), self.filled as usize) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and self is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.base(), self.filled as usize) }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        // SAFETY: the block lives as long as any of its parts, and this is one.
        if unsafe { self.block.as_ref() }.parts.fetch_sub(1, Ordering::Release) == 1 {
            // What the other parts' owners did with their bytes happened before the block's next use.
            fence(Ordering::Acquire);
            // SAFETY: the last part is gone, so nobody else reaches the block.
            unsafe { Home::take_back(self.block) }
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buf").field("filled", &self.filled).field("room", &self.room).finish_non_exhaustive()
    }
}
