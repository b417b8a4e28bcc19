//! Counters that many cores change at once without passing a cache line to and fro.
//!
//! Picture: one counter in several stripes, each on cache lines of its own. A thread keeps to one stripe for its life;
//! whoever wants the sum reads them all. What always holds: what was added to a stripe is taken from the same stripe.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
};

/// More than most machines give an array cores; threads beyond it share stripes, which costs speed only.
const STRIPES: usize = 16;

/// Two lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// A striped counter.
#[derive(Debug, Default)]
pub(crate) struct Stripes([Line; STRIPES]);

/// Which stripe was added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stripe(u8);

/// The stripe of this thread.
pub(crate) fn mine() -> Stripe {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<Option<Stripe>> = const { Cell::new(None) });
    MINE.with(|mine| match mine.get() {
        Some(stripe) => stripe,
        None => {
            let stripe = Stripe((NEXT.fetch_add(1, Relaxed) % STRIPES) as u8);
            mine.set(Some(stripe));
            stripe
        }
    })
}

impl Stripes {
    /// Ordered with every other `SeqCst` operation: an entrant that counts itself and then looks at a flag, and a
    /// closer that sets the flag and then looks at the sum, cannot both miss the other.
    pub(crate) fn add(&self, stripe: Stripe) {
        self.0[usize::from(stripe.0)].0.fetch_add(1, SeqCst);
    }

    /// Takes back what was added.
    pub(crate) fn sub(&self, stripe: Stripe) {
        self.0[usize::from(stripe.0)].0.fetch_sub(1, SeqCst);
    }

    /// The sum, if nobody adds meanwhile; zero only if there was nobody inside at some moment of each stripe.
    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|line| line.0.load(SeqCst)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_thread_adds_is_in_the_sum() {
        let stripes = Stripes::default();
        std::thread::scope(|scope| {
            for _ in 0..STRIPES + 3 {
                scope.spawn(|| (0..100).for_each(|_| stripes.add(mine())));
            }
        });
        assert_eq!(stripes.sum(), 100 * (STRIPES as u64 + 3));
        stripes.sub(mine());
        assert_eq!(mine(), mine());
    }
}
