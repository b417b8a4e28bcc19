//! Keeps COMPARE AND WRITE alone on a unit (SBC-3 section 5.2): nothing else changes it between comparison and write.
//!
//! Picture: changes count themselves in, on a stripe of their thread's own, and look at a flag; only who finds it set has
//! to wait, on a thread that may. Whoever wants to be alone sets the flag and waits until all stripes are zero.
//!
//! What always holds: while somebody is alone, no change is counted in; at most one is alone at a time.

use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};
use std::time::Duration;

const STRIPES: usize = 16;
/// Wake-ups are sent without the lock and can be missed; then one looks again after this.
const PAUSE: Duration = Duration::from_millis(1);

/// A count on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Count(AtomicUsize);

/// One for each unit, however many initiators see it.
#[derive(Debug, Default)]
pub(crate) struct Exclusion {
    alone: AtomicBool,
    inside: [Count; STRIPES],
    turn: Mutex<()>,
    changed: Condvar,
}

/// Where a change is counted; goes back through [`Exclusion::leave`].
#[derive(Debug)]
#[must_use = "a change that is not counted out keeps others waiting for ever"]
pub(crate) struct Inside(usize);

/// A change that is counted out when this is dropped.
#[derive(Debug)]
pub(crate) struct Scoped<'a>(&'a Exclusion, Option<Inside>);

impl Drop for Scoped<'_> {
    fn drop(&mut self) {
        if let Some(inside) = self.1.take() {
            self.0.leave(inside);
        }
    }
}

/// Being alone.
#[derive(Debug)]
pub(crate) struct Alone<'a>(&'a Exclusion, #[allow(dead_code, reason = "held")] MutexGuard<'a, ()>);

impl Exclusion {
    /// Counts a change in, unless somebody is alone. `stripe` is best the same for all of one thread.
    pub fn try_enter(&self, stripe: usize) -> Option<Inside> {
        let inside = Inside(stripe % STRIPES);
        self.inside[inside.0].0.fetch_add(1, SeqCst);
        if self.alone.load(SeqCst) {
            self.leave(inside);
            return None;
        }
        Some(inside)
    }

    /// The same, and waits.
    pub fn enter(&self, stripe: usize) -> Inside {
        loop {
            if let Some(inside) = self.try_enter(stripe) {
                return inside;
            }
            // Whoever is alone holds this; whoever will be alone lets go of it while he waits.
            let turn = self.turn();
            if self.alone.load(SeqCst) {
                drop(self.changed.wait_timeout(turn, PAUSE));
            }
        }
    }

    /// The same, until the guard is dropped.
    pub fn enter_scoped(&self, stripe: usize) -> Scoped<'_> {
        Scoped(self, Some(self.enter(stripe)))
    }

    /// Counts a change out.
    pub fn leave(&self, inside: Inside) {
        self.inside[inside.0].0.fetch_sub(1, SeqCst);
        if self.alone.load(SeqCst) {
            self.changed.notify_all();
        }
    }

    /// Waits until no change is counted in, and keeps others out.
    pub fn alone(&self) -> Alone<'_> {
        let mut turn = self.turn();
        loop {
            // Another may have been alone, and ended it, while we waited.
            self.alone.store(true, SeqCst);
            if self.inside.iter().all(|count| count.0.load(SeqCst) == 0) {
                return Alone(self, turn);
            }
            let woken = self.changed.wait_timeout(turn, PAUSE);
            turn = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.alone.store(false, SeqCst);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn nobody_is_inside_while_somebody_is_alone() {
        let (exclusion, value) = (Exclusion::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for stripe in 0..3 {
                let (exclusion, value) = (&exclusion, &value);
                scope.spawn(move || {
                    for _ in 0..2000 {
                        let inside = exclusion.enter(stripe);
                        value.fetch_add(1, SeqCst);
                        exclusion.leave(inside);
                    }
                });
            }
            for _ in 0..200 {
                let alone = exclusion.alone();
                let before = value.load(SeqCst);
                std::thread::yield_now();
                assert_eq!(value.load(SeqCst), before);
                drop(alone);
            }
        });
        assert_eq!(value.load(SeqCst), 6000);
    }
}
