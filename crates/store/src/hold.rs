//! Gates: one per device, through which every write and discard passes, and which a [`Hold`] closes.
//!
//! Picture: a striped count of the writers inside, and a flag. A writer adds itself and looks at the flag; only when
//! it finds it set does it take the slow path and sleep until the hold ends. A hold sets the flags of all its gates,
//! in ascending order of id, and waits until each count is zero.
//!
//! What always holds: while a hold is live no writer is inside its gates; a hold ends once, by release or by its
//! deadline, under its own lock, and a cut runs under the same lock, so a cut never meets a writer. Nobody needs to
//! run for a lease to end: the writers that wait are the ones that end it.

use crate::stripes::{Stripe, Stripes, mine};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::SeqCst},
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

/// The gate of one device.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    held: AtomicBool,
    inside: Stripes,
    holder: Mutex<Option<Arc<Live>>>,
    changed: Condvar,
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
        if self.held.load(SeqCst) {
            // The lock orders this wake-up after the holder's look at the count.
            drop(lock(&self.holder));
            self.changed.notify_all();
        }
    }

    fn wait_until_open(&self) {
        let mut holder = lock(&self.holder);
        while let Some(live) = holder.clone() {
            let left = live.deadline.since(now());
            if left.is_zero() {
                drop(holder);
                live.end(End::Expired);
                holder = lock(&self.holder);
            } else {
                holder = self.changed.wait_timeout(holder, left).unwrap_or_else(|p| p.into_inner()).0;
            }
        }
    }

    /// Closes the gate for `live` and waits until nobody is inside. False if the deadline came first.
    fn close(&self, live: &Arc<Live>) -> bool {
        let mut holder = lock(&self.holder);
        loop {
            let left = live.deadline.since(now());
            match holder.clone() {
                _ if left.is_zero() => return false,
                Some(other) if Arc::ptr_eq(&other, live) => {
                    if self.inside.sum() == 0 {
                        return true;
                    }
                }
                Some(other) if other.deadline <= now() => {
                    drop(holder);
                    other.end(End::Expired);
                    holder = lock(&self.holder);
                    continue;
                }
                Some(_) => {}
                None => {
                    *holder = Some(live.clone());
                    self.held.store(true, SeqCst);
                    continue;
                }
            }
            // Another hold's deadline may come before ours; look again at least every 10 ms.
            let pause = left.min(Duration::from_millis(10));
            holder = self.changed.wait_timeout(holder, pause).unwrap_or_else(|p| p.into_inner()).0;
        }
    }

    fn open(&self, live: &Live) {
        let mut holder = lock(&self.holder);
        if holder.as_ref().is_some_and(|held| std::ptr::eq(&**held, live)) {
            *holder = None;
            self.held.store(false, SeqCst);
            self.changed.notify_all();
        }
    }
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
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Live {
    fn end(&self, how: End) {
        let mut ended = lock(&self.ended);
        if ended.is_none() {
            *ended = Some(how);
            self.gates.iter().for_each(|gate| gate.open(self));
        }
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
        let gates = gates.into_iter().map(|(_, gate)| gate).collect();
        let live = Arc::new(Live { deadline: now() + lease, lease, gates, ended: Mutex::new(None) });
        let hold = Hold { live: live.clone(), ids };
        match live.gates.iter().all(|gate| gate.close(&live)) {
            true => Ok(hold),
            false => {
                live.end(End::Expired);
                Err(live.timed_out())
            }
        }
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
