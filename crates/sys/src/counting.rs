//! An allocator that counts, for tests of what allocates and what does not.
//!
//! A test program names it its `#[global_allocator]`; a program that does not pays nothing. What always holds: the
//! system's allocator does the work, and each thread counts for itself, so that tests may run side by side.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

/// The system's allocator, and a count of how often each thread asks it for memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

/// How often this thread has allocated so far; a block that is made larger counts once more.
pub fn allocations_of_this_thread() -> u64 {
    ALLOCATIONS.get()
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every method hands its arguments to `System` as they are and returns what that returns. The count is a
// constant-initialised cell without a destructor: looking at it neither allocates nor can fail.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `alloc`; `block` came from `System`, as every block does.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as for `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
