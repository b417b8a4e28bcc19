//! Where buffers come from: a pool with size classes, a bound on its total, and one owner.
//!
//! The owner takes; any thread gives back, by dropping. What always holds: the pool never has more bytes allocated than
//! its limit; taking and giving back need no lock, and no system call once the pool is warm; buffers that outlive the
//! pool stay valid, and free their memory themselves.
//!
//! Takers who know nothing of each other share it by dynamic thresholds (Choudhury and Hahne, 1998, for the buffers of
//! switches): each may have as much as is free. One gets half of the pool, two a third each, and there is always some
//! left for who comes next.

use crate::buf::{Block, Buf, PAGE};
use std::{
    fmt, io,
    ptr::{self, NonNull},
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicUsize, Ordering},
    },
};

/// Size classes: 4 KiB, 8 KiB, ... 4 MiB.
const CLASSES: usize = 11;

/// Bytes of the largest buffer: what one command may carry. Larger transfers are gathered.
pub const LARGEST: usize = PAGE << (CLASSES - 1);

/// Head of the lists of a pool that is gone.
const CLOSED: *mut Block = ptr::without_provenance_mut(1);

/// Blocks on their way back to the owner: one list for each class, pushed to by anyone, emptied at once by the owner.
pub(crate) struct Home {
    returned: [AtomicPtr<Block>; CLASSES],
    /// Bytes of the blocks that somebody has parts of.
    out: AtomicUsize,
}

/// What one of several takers has out of a pool.
#[derive(Debug, Default)]
pub struct Account(AtomicUsize);

impl Account {
    /// Bytes of the blocks of which parts are out in its name.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Home {
    /// Gives a block back to its pool, or frees it if the pool is gone.
    ///
    /// # Safety
    /// `block` is valid, in no list, and nobody has parts of it.
    pub(crate) unsafe fn take_back(mut block: NonNull<Block>) {
        // SAFETY: the caller hands over the block, so this reference is the only one.
        let (class, home, account) = unsafe {
            let block = block.as_mut();
            (block.class, Arc::as_ptr(&block.home), block.account.take())
        };
        // SAFETY: the block keeps its home alive, and the block is ours until the exchange below succeeds.
        let Home { returned, out } = unsafe { &*home };
        out.fetch_sub(PAGE << class, Ordering::Relaxed);
        if let Some(Account(bytes)) = account.as_deref() {
            bytes.fetch_sub(PAGE << class, Ordering::Relaxed);
        }
        let list = &returned[class];
        let mut head = list.load(Ordering::Relaxed);
        while head != CLOSED {
            // SAFETY: the block is still ours alone.
            unsafe { block.as_mut() }.next = head;
            match list.compare_exchange_weak(head, block.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
        // SAFETY: `Block::allocate` made it with Box, and nobody else knows it.
        drop(unsafe { Box::from_raw(block.as_ptr()) });
    }
}

/// Buffers for one owner.
pub struct BufPool {
    home: Arc<Home>,
    /// Lists of blocks that nobody has parts of.
    idle: [*mut Block; CLASSES],
    allocated: usize,
    limit: usize,
}

// SAFETY: the lists hold blocks that nobody else reaches; everything shared goes through the atomics of `Home`.
unsafe impl Send for BufPool {}

/// A pool had no buffer to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoBuffer {
    /// Bytes that were asked for.
    pub asked: usize,
    /// Bytes that the pool may allocate.
    pub limit: usize,
    /// Whether there would be one for somebody who has less.
    pub over_share: bool,
}

impl fmt::Display for NoBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoBuffer { asked, limit, over_share } = self;
        match (*asked > LARGEST, over_share) {
            (true, _) => write!(f, "a buffer of {asked} bytes was asked for, and the largest has {LARGEST}"),
            (false, true) => {
                write!(f, "a buffer of {asked} bytes would be more than one's share of {limit}")
            }
            (false, false) => {
                write!(f, "no buffer of {asked} bytes is free among {limit}; try when others were dropped")
            }
        }
    }
}

impl std::error::Error for NoBuffer {}

impl From<NoBuffer> for io::Error {
    fn from(why: NoBuffer) -> io::Error {
        io::Error::new(io::ErrorKind::OutOfMemory, why)
    }
}

impl BufPool {
    /// An empty pool that will allocate at most `limit` bytes.
    pub fn new(limit: usize) -> BufPool {
        let returned = [const { AtomicPtr::new(ptr::null_mut()) }; CLASSES];
        let home = Home { returned, out: AtomicUsize::new(0) };
        BufPool { home: Arc::new(home), idle: [ptr::null_mut(); CLASSES], allocated: 0, limit }
    }

    /// Bytes that are allocated, in use or not.
    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// Bytes of the blocks of which parts are out.
    pub fn in_use(&self) -> usize {
        self.home.out.load(Ordering::Relaxed)
    }

    /// An empty buffer with room for exactly `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<Buf, NoBuffer> {
        self.take_charged(len, None)
    }

    fn take_charged(&mut self, len: usize, account: Option<Arc<Account>>) -> Result<Buf, NoBuffer> {
        let none = NoBuffer { asked: len, limit: self.limit, over_share: false };
        if len > LARGEST {
            return Err(none);
        }
        let class = class_of(len);
        let block = self.pop(class).or_else(|| self.allocate(class)).ok_or(none)?;
        for out in [Some(&self.home.out), account.as_ref().map(|account| &account.0)].into_iter().flatten() {
            out.fetch_add(PAGE << class, Ordering::Relaxed);
        }
        // SAFETY: the block was just popped or made: valid, in no list, without parts; its class has `len` bytes.
        Ok(unsafe { Buf::whole(block, len, account) })
    }

    /// The same in somebody's name, who gets none if he would then have more than is left for all others. His first
    /// he always gets, if there is one.
    pub fn take_for(&mut self, account: &Arc<Account>, len: usize) -> Result<Buf, NoBuffer> {
        let size = PAGE << class_of(len.min(LARGEST));
        let has = account.bytes();
        let free = self.limit.saturating_sub(self.home.out.load(Ordering::Relaxed));
        if has > 0 && has + 2 * size > free {
            return Err(NoBuffer { asked: len, limit: self.limit, over_share: size <= free });
        }
        self.take_charged(len, Some(account.clone()))
    }

    fn pop(&mut self, class: usize) -> Option<NonNull<Block>> {
        if self.idle[class].is_null() {
            self.idle[class] = self.home.returned[class].swap(ptr::null_mut(), Ordering::Acquire);
        }
        let block = NonNull::new(self.idle[class])?;
        // SAFETY: blocks in an idle list are valid and reached from here alone.
        self.idle[class] = unsafe { block.as_ref() }.next;
        Some(block)
    }

    fn allocate(&mut self, class: usize) -> Option<NonNull<Block>> {
        let size = PAGE << class;
        for other in (0..CLASSES).rev() {
            if self.allocated + size <= self.limit {
                break;
            }
            self.free_idle(other, size);
        }
        if self.allocated + size > self.limit {
            return None;
        }
        let block = Block::allocate(class, self.home.clone())?;
        self.allocated += size;
        Some(block)
    }

    /// Frees idle blocks of a class until `size` bytes more fit.
    fn free_idle(&mut self, class: usize, size: usize) {
        while self.allocated + size > self.limit {
            let Some(block) = self.pop(class) else { return };
            // SAFETY: popped: nobody else reaches it, and `Block::allocate` made it with Box.
            drop(unsafe { Box::from_raw(block.as_ptr()) });
            self.allocated -= PAGE << class;
        }
    }
}

/// The smallest class whose blocks have room for `len` bytes, [`LARGEST`] at most.
fn class_of(len: usize) -> usize {
    len.div_ceil(PAGE).next_power_of_two().trailing_zeros() as usize
}

impl Drop for BufPool {
    fn drop(&mut self) {
        for class in 0..CLASSES {
            let returned = self.home.returned[class].swap(CLOSED, Ordering::Acquire);
            for mut list in [self.idle[class], returned] {
                while let Some(block) = NonNull::new(list) {
                    // SAFETY: both lists are this function's alone now; each block was made with Box.
                    let block = unsafe { Box::from_raw(block.as_ptr()) };
                    list = block.next;
                }
            }
        }
    }
}

impl fmt::Debug for BufPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BufPool { allocated, limit, .. } = self;
        f.debug_struct("BufPool").field("allocated", allocated).field("limit", limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_exactly_the_room_asked_for_and_is_aligned() {
        let mut pool = BufPool::new(8 << 20);
        for len in [0, 1, PAGE, PAGE + 1, 3 * PAGE, LARGEST] {
            let mut buf = pool.take(len).unwrap();
            assert_eq!((buf.room(), buf.spare(), buf.len()), (len, len, 0));
            assert!(buf.spare_mut().as_ptr().addr().is_multiple_of(PAGE));
        }
    }

    #[test]
    fn the_total_is_bounded_and_what_was_dropped_comes_back() {
        let mut pool = BufPool::new(4 * PAGE);
        let held: Vec<Buf> = (0..4).map(|_| pool.take(PAGE).unwrap()).collect();
        let why = pool.take(1).unwrap_err();
        assert!(why.to_string().contains("no buffer of 1 bytes is free among 16384"), "{why}");
        drop(held);
        let wide = pool.take(4 * PAGE).unwrap();
        assert_eq!(pool.allocated(), 4 * PAGE, "idle blocks make way for another class");
        assert!(pool.take(1).is_err());
        drop(wide);
        assert!(pool.take(LARGEST + 1).unwrap_err().to_string().contains("the largest has"));
    }

    #[test]
    fn nobody_has_more_than_is_left_for_all_others() {
        let mut pool = BufPool::new(12 * PAGE);
        let [greedy, modest] = [(); 2].map(|()| Arc::new(Account::default()));
        let mut held = Vec::new();
        while let Ok(buf) = pool.take_for(&greedy, PAGE) {
            held.push(buf);
        }
        assert_eq!(greedy.bytes(), 6 * PAGE);
        let others: Vec<Buf> = (0..3).map(|_| pool.take_for(&modest, PAGE).unwrap()).collect();
        let why = pool.take_for(&modest, PAGE).unwrap_err();
        assert!(why.over_share && why.to_string().contains("more than one's share of 49152"), "{why}");
        // Half a buffer that is still out counts as all of it, on whatever thread it is.
        let half = held[0].split_off(PAGE / 2);
        std::thread::spawn(move || drop(held)).join().unwrap();
        assert_eq!(greedy.bytes(), PAGE);
        drop((half, others));
        assert_eq!((greedy.bytes(), modest.bytes()), (0, 0));
        assert_eq!(
            pool.take_for(&modest, 8 * PAGE).unwrap().room(),
            8 * PAGE,
            "the first may be the only one"
        );
    }

    #[test]
    fn what_the_last_user_left_is_not_visible() {
        let mut pool = BufPool::new(PAGE);
        let mut buf = pool.take(PAGE).unwrap();
        assert_eq!(buf.append(&[7; PAGE + 5]), PAGE);
        drop(buf);
        let mut buf = pool.take(100).unwrap();
        assert!(buf.is_empty());
        buf.append(b"ab");
        assert_eq!(&buf[..], b"ab");
        buf.fill_zero();
        assert_eq!(&buf[2..], &[0; 98]);
    }

    #[test]
    fn parts_are_disjoint_and_join_only_with_their_neighbours() {
        let mut pool = BufPool::new(4 * PAGE);
        let mut first = pool.take(10).unwrap();
        first.append(b"0123456");
        let mut third = first.split_off(6);
        let second = first.split_off(3);
        assert_eq!((&first[..], &second[..], &third[..]), (&b"012"[..], &b"345"[..], &b"6"[..]));
        let third = {
            third.append(b"789");
            first.join(third).unwrap_err()
        };
        first.join(second).unwrap();
        first.join(third).unwrap();
        assert_eq!(&first[..], b"0123456789");
        let mut head = first.split_to(4);
        assert_eq!((&head[..], &first[..]), (&b"0123"[..], &b"456789"[..]));
        head.truncate(3);
        let tail = head.join(first).unwrap_err();
        let stranger = pool.take(6).unwrap();
        head.append(b"3");
        assert!(head.join(stranger).is_err());
        head.join(tail).unwrap();
        assert_eq!(head.len(), 10);
    }

    #[test]
    fn parts_of_one_block_are_used_and_dropped_by_many_threads() {
        let mut pool = BufPool::new(16 * PAGE);
        for round in 0..200_u8 {
            let mut whole = pool.take(16 * PAGE).expect("the block of the round before is home");
            let parts: Vec<Buf> = (0..4).map(|_| whole.split_to(PAGE)).collect();
            std::thread::scope(|scope| {
                for mut part in parts {
                    scope.spawn(move || {
                        part.spare_mut().fill(round);
                        part.advance(PAGE);
                        assert!(part.iter().all(|byte| *byte == round));
                    });
                }
            });
        }
    }

    #[test]
    fn a_buffer_outlives_its_pool() {
        let mut pool = BufPool::new(2 * PAGE);
        let (mut late, early) = (pool.take(PAGE).unwrap(), pool.take(PAGE).unwrap());
        drop(early);
        drop(pool);
        late.append(b"still here");
        assert_eq!(&late[..], b"still here");
    }
}
