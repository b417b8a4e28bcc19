//! Gates: one per device, through which every write and discard passes, and which a [`Hold`] closes.
//!
//! Picture: a striped count of the writers inside, and a flag. A writer adds itself and looks at the flag; only when
//! it finds it set does it take the slow path and sleep until the hold ends. A hold sets the flags of all its gates,
//! in ascending order of id, and only then waits until each count is zero: the writers inside leave side by side, and
//! none comes in behind them. It ends in the same two steps: when every flag is clear, all who sleep at any of its gates are
//! woken by one call. Woken gate by gate, the first would take the processor from the one who has to wake the others, and
//! those would wait for the scheduler's next turn, some milliseconds.
//!
//! What always holds: while a hold is live no writer is inside its gates; a hold ends once, by release or by its
//! deadline, under its own lock, and a cut runs under the same lock, so a cut never meets a writer. It closes each gate under
//! that lock too: one that has ended closes nothing, which nobody would open again. Nobody needs to run for a lease to
//! end: the writers that wait are the ones that end it.

use crate::stripes::{Stripe, Stripes, mine};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use umbra_base::{Deadline, Error, ErrorCode, Instant, Result};
use umbra_thin::ThinId;

pub(crate) fn now() -> Instant {
    Instant::from_nanos(umbra_sys::clock::boottime_nanos())
}

/// Takes a lock whose holders never leave their data half changed, even by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Looks at a gate before its holder sleeps, some 20 us: most writers write in place, and are gone in less time than it
/// takes to sleep and to be woken.
const LOOKS: u32 = 200;

/// The gate of one device.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    held: AtomicBool,
    /// Holders that wait for writers to leave, the one that has the gate and those that have lost it; while there are none,
    /// leaving wakes nobody.
    draining: AtomicUsize,
    inside: Stripes,
    holder: Mutex<Option<Arc<Live>>>,
    left: Condvar,
}

/// A writer inside a gate; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Gate, Stripe);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

impl Gate {
    /// Passes, waiting for a hold to end first.
    pub(crate) fn enter(&self) -> Inside<'_> {
        loop {
            match self.try_enter() {
                Some(stripe) => return Inside(self, stripe),
                None => self.wait_until_open(),
            }
        }
    }

    /// Passes without a guard, if nobody holds the gate; [`Gate::leave`] must follow.
    pub(crate) fn try_enter(&self) -> Option<Stripe> {
        let stripe = mine();
        self.inside.add(stripe);
        if self.held.load(SeqCst) {
            self.leave(stripe);
            return None;
        }
        Some(stripe)
    }

    pub(crate) fn leave(&self, stripe: Stripe) {
        self.inside.sub(stripe);
        if self.draining.load(SeqCst) > 0 {
            // The lock orders this wake-up after the holder's look at the count.
            drop(lock(&self.holder));
            self.left.notify_all();
        }
    }

    fn wait_until_open(&self) {
        while let Some(live) = self.holder() {
            live.wait(live.deadline);
        }
    }

    fn holder(&self) -> Option<Arc<Live>> {
        lock(&self.holder).clone()
    }

    /// Closes the gate for `live`, when it is nobody else's. False if the deadline came first, or the end: a writer at
    /// another of its gates may have seen the deadline pass.
    fn close(&self, live: &Arc<Live>) -> bool {
        loop {
            let ended = lock(&live.ended);
            if ended.is_some() {
                return false;
            }
            let mut holder = lock(&self.holder);
            let Some(other) = holder.clone() else {
                *holder = Some(live.clone());
                self.held.store(true, SeqCst);
                return true;
            };
            drop((holder, ended));
            if live.deadline <= now() {
                return false;
            }
            other.wait(live.deadline.min(other.deadline));
        }
    }

    /// Waits until nobody is inside the gate, which `live` has closed. False if the deadline came first, or the end.
    fn drain(&self, live: &Live) -> bool {
        for _ in 0..LOOKS {
            if self.inside.sum() == 0 {
                return true;
            }
            std::hint::spin_loop();
        }
        let mut holder = lock(&self.holder);
        self.draining.fetch_add(1, SeqCst);
        let emptied = loop {
            if !is_of(&holder, live) {
                break false;
            }
            if self.inside.sum() == 0 {
                break true;
            }
            let left = live.deadline.since(now());
            if left.is_zero() {
                break false;
            }
            // Whoever leaves wakes us; the limit is for the sum's sake, which is not one moment of all stripes.
            let limit = left.min(Duration::from_millis(10));
            holder = self.left.wait_timeout(holder, limit).unwrap_or_else(|p| p.into_inner()).0;
        };
        self.draining.fetch_sub(1, SeqCst);
        emptied
    }

    fn open(&self, live: &Live) {
        let mut holder = lock(&self.holder);
        if is_of(&holder, live) {
            *holder = None;
            self.held.store(false, SeqCst);
        }
    }
}

fn is_of(holder: &Option<Arc<Live>>, live: &Live) -> bool {
    holder.as_ref().is_some_and(|held| std::ptr::eq(&**held, live))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Released,
    Expired,
}

/// What gates and the [`Hold`] share.
struct Live {
    deadline: Deadline,
    lease: Duration,
    gates: Vec<Arc<Gate>>,
    ended: Mutex<Option<End>>,
    /// Whether all gates are open again. Its lock is nobody's for long, as that of `ended` is during a cut.
    open: Mutex<bool>,
    opened: Condvar,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Live {
    fn new(gates: Vec<Arc<Gate>>, lease: Duration) -> Arc<Live> {
        Arc::new(Live {
            deadline: now() + lease,
            lease,
            gates,
            ended: Mutex::new(None),
            open: Mutex::new(false),
            opened: Condvar::new(),
        })
    }

    fn end(&self, how: End) {
        let mut ended = lock(&self.ended);
        if ended.is_some() {
            return;
        }
        *ended = Some(how);
        self.gates.iter().for_each(|gate| gate.open(self));
        drop(ended);
        *lock(&self.open) = true;
        self.opened.notify_all();
    }

    /// Sleeps until the hold ends, or until `end`; ends it if its lease is over.
    fn wait(&self, end: Deadline) {
        if self.deadline <= now() {
            return self.end(End::Expired);
        }
        let (open, limit) = (lock(&self.open), end.since(now()));
        drop(self.opened.wait_timeout_while(open, limit, |open| !*open));
    }

    fn timed_out(&self) -> Error {
        let limit_ms = self.lease.as_millis();
        Error::new(
            ErrorCode::HoldWritesTimeout,
            format!("writes could not be held longer than {limit_ms} ms"),
        )
        .hint("the array or its disk is overloaded; try again")
        .param("limit_ms", limit_ms)
    }
}

/// Writes held on some devices, until dropped or until its lease runs out.
#[derive(Debug)]
pub struct Hold {
    live: Arc<Live>,
    ids: BTreeSet<ThinId>,
}

impl Hold {
    /// Closes the gates, which stand in ascending order of id so that two holds never wait for each other in a ring.
    pub(crate) fn take(gates: Vec<(ThinId, Arc<Gate>)>, lease: Duration) -> Result<Hold> {
        let ids = gates.iter().map(|(id, _)| *id).collect();
        let live = Live::new(gates.into_iter().map(|(_, gate)| gate).collect(), lease);
        let hold = Hold { live: live.clone(), ids };
        if live.gates.iter().all(|gate| gate.close(&live)) && live.gates.iter().all(|gate| gate.drain(&live))
        {
            return Ok(hold);
        }
        // Dropping what came about of it opens the gates again.
        Err(live.timed_out())
    }

    /// The held devices.
    pub fn ids(&self) -> &BTreeSet<ThinId> {
        &self.ids
    }

    /// When the lease ends, on the boot-time clock.
    pub fn deadline(&self) -> Deadline {
        self.live.deadline
    }

    /// Runs `cut` while the hold cannot end; `hold_writes_timeout` if it has.
    pub(crate) fn while_held<T>(&self, cut: impl FnOnce() -> Result<T>) -> Result<T> {
        let ended = lock(&self.live.ended);
        if ended.is_some() || self.live.deadline <= now() {
            return Err(self.live.timed_out());
        }
        cut()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.live.end(End::Released);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::atomic::Ordering::Relaxed, thread};

    const LEASE: Duration = Duration::from_secs(5);

    fn gates<const N: usize>() -> [Arc<Gate>; N] {
        std::array::from_fn(|_| Arc::default())
    }

    fn take(gates: &[Arc<Gate>], lease: Duration) -> Result<Hold> {
        Hold::take((1..).map(ThinId).zip(gates.iter().cloned()).collect(), lease)
    }

    fn is_open(gate: &Gate) -> bool {
        gate.try_enter().map(|stripe| gate.leave(stripe)).is_some()
    }

    #[test]
    fn all_gates_are_closed_before_any_writer_is_waited_for() {
        let gates: [_; 3] = gates();
        let inside = gates[0].enter();
        thread::scope(|scope| {
            let taking = scope.spawn(|| take(&gates, LEASE));
            while gates.iter().any(|gate| is_open(gate)) {
                assert!(
                    !taking.is_finished(),
                    "it waited for the writer at the first gate, with others open"
                );
                thread::yield_now();
            }
            assert!(!taking.is_finished(), "it did not wait for the writer");
            drop(inside);
            drop(taking.join().unwrap().unwrap());
        });
        assert!(gates.iter().all(|gate| is_open(gate)));
    }

    #[test]
    fn a_hold_that_does_not_come_about_leaves_all_gates_open() {
        let gates: [_; 2] = gates();
        let inside = gates[1].enter();
        assert_eq!(take(&gates, Duration::from_millis(20)).unwrap_err().code(), ErrorCode::HoldWritesTimeout);
        drop(inside);
        assert!(gates.iter().all(|gate| is_open(gate)));
    }

    #[test]
    fn a_hold_that_ended_while_it_waited_for_a_gate_closes_none() {
        let gates: [_; 2] = gates();
        let live = Live::new(gates.to_vec(), Duration::ZERO);
        assert!(gates[0].close(&live));
        // A writer finds that the lease is over, and ends it.
        drop(gates[0].enter());
        assert!(!gates[1].close(&live));
        live.end(End::Released);
        assert!(gates.iter().all(|gate| is_open(gate)));
    }

    #[test]
    fn leases_that_run_out_while_holds_overlap_leave_no_gate_closed_and_no_writer_in_a_cut() {
        let gates: [_; 4] = gates();
        let inside = [(); 4].map(|()| AtomicBool::new(false));
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for (gate, inside) in gates.iter().zip(&inside) {
                let over = &over;
                scope.spawn(move || {
                    while !over.load(Relaxed) {
                        let _inside = gate.enter();
                        inside.store(true, SeqCst);
                        thread::yield_now();
                        inside.store(false, SeqCst);
                    }
                });
            }
            let holders = [0..2, 1..4, 0..4].map(|range| {
                let (gates, inside) = (&gates[range.clone()], &inside[range]);
                scope.spawn(move || {
                    for round in 0..300 {
                        // From one that hardly ever comes about to one that mostly does.
                        let lease = Duration::from_micros(50 + round * 37 % 2000);
                        let Ok(hold) = take(gates, lease) else { continue };
                        let cut = hold.while_held(|| {
                            assert!(inside.iter().all(|inside| !inside.load(SeqCst)));
                            Ok(())
                        });
                        drop((cut, hold));
                    }
                })
            });
            let held = holders.map(|holder| holder.join().is_ok());
            over.store(true, Relaxed);
            assert_eq!(held, [true, true, true]);
        });
        assert!(gates.iter().all(|gate| is_open(gate)));
    }

    #[test]
    fn holds_that_overlap_follow_each_other_with_no_writer_in_any() {
        let gates: [_; 4] = gates();
        let inside = [(); 4].map(|()| AtomicBool::new(false));
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for (gate, inside) in gates.iter().zip(&inside) {
                let over = &over;
                scope.spawn(move || {
                    while !over.load(Relaxed) {
                        let _inside = gate.enter();
                        inside.store(true, SeqCst);
                        thread::yield_now();
                        inside.store(false, SeqCst);
                    }
                });
            }
            let holders = [0..3, 1..4].map(|range| {
                let (gates, inside) = (&gates[range.clone()], &inside[range]);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let hold = take(gates, LEASE).unwrap();
                        assert!(inside.iter().all(|inside| !inside.load(SeqCst)));
                        drop(hold);
                    }
                })
            });
            let held = holders.map(|holder| holder.join().is_ok());
            over.store(true, Relaxed);
            assert_eq!(held, [true, true]);
        });
    }
}
