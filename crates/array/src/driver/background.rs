//! Work that nobody waits for: doomed devices leave the pool, sets whose lease has run out are given up (S6), hosts are
//! told of sets that were given up for want of space (A7).
//!
//! What always holds: a device is handed to the reaper after the fence that hides it, never before, except those of a set
//! that is given up for want of space: its hosts meet errors until they are told. All threads end when the array stops;
//! what is left undone stands in the catalogue and is done after the next start.

use super::{Array, lock, present::thin_id};
use crate::{
    limits,
    model::{Change, Edit, Thin},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};
use umbra_base::{Error, Result};

/// Devices to delete.
#[derive(Debug, Default)]
pub struct Reaper {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    thins: VecDeque<Thin>,
    /// Of devices taken from the queue, those that are not done with.
    in_hand: usize,
    stopped: bool,
}

/// Tells stale hosts where the one who made them stale cannot wait for a fence.
#[derive(Debug, Default)]
pub struct Herald {
    call: Mutex<Call>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Call {
    #[default]
    Silent,
    Called,
    Stopped,
}

impl Herald {
    /// There are stale hosts.
    pub fn call(&self) {
        self.set(Call::Called);
    }

    fn set(&self, what: Call) {
        let mut call = lock(&self.call);
        if *call != Call::Stopped {
            *call = what;
        }
        drop(call);
        self.changed.notify_all();
    }

    /// Waits to be called; false when the array stops.
    fn next(&self) -> bool {
        let call = lock(&self.call);
        let called = self.changed.wait_while(call, |call| *call == Call::Silent);
        let mut call = called.unwrap_or_else(PoisonError::into_inner);
        let goes_on = *call != Call::Stopped;
        if goes_on {
            *call = Call::Silent;
        }
        goes_on
    }
}

impl Reaper {
    /// Hands devices over.
    pub fn push(&self, thins: Vec<Thin>) {
        if !thins.is_empty() {
            lock(&self.queue).thins.extend(thins);
            self.changed.notify_all();
        }
    }

    /// The next device; waits for one. `None` when the array stops.
    fn next(&self) -> Option<Thin> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(thin) = queue.thins.pop_front() {
                queue.in_hand += 1;
                return Some(thin);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next device, for somebody who does not wait for one.
    pub(super) fn take(&self) -> Option<Thin> {
        let mut queue = lock(&self.queue);
        let thin = queue.thins.pop_front()?;
        queue.in_hand += 1;
        Some(thin)
    }

    /// Whether somebody is deleting a device just now.
    pub(super) fn is_at_work(&self) -> bool {
        lock(&self.queue).in_hand > 0
    }

    /// A device that was taken is done with.
    pub(super) fn done(&self) {
        lock(&self.queue).in_hand -= 1;
        self.changed.notify_all();
    }

    fn pause(&self, length: Duration) {
        let queue = lock(&self.queue);
        let wait = self.changed.wait_timeout_while(queue, length, |queue| !queue.stopped);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    fn stop(&self) {
        lock(&self.queue).stopped = true;
        self.changed.notify_all();
    }

    /// Waits until nothing is left to delete, at most so long.
    pub fn wait_idle(&self, limit: Duration) -> bool {
        let queue = lock(&self.queue);
        let busy = |queue: &mut Queue| !queue.thins.is_empty() || queue.in_hand > 0;
        let wait = self.changed.wait_timeout_while(queue, limit, busy);
        let (queue, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
        drop(queue);
        !timeout.timed_out()
    }
}

/// The threads.
#[derive(Debug)]
pub struct Background {
    array: Arc<Array>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts them.
    pub fn start(array: &Arc<Array>) -> Result<Self> {
        let reaper = spawn("reaper", Arc::downgrade(array), reap)?;
        let warden = spawn("warden", Arc::downgrade(array), watch)?;
        let herald = spawn("herald", Arc::downgrade(array), tell)?;
        Ok(Background { array: array.clone(), threads: vec![reaper, warden, herald] })
    }

    /// Ends them, after what they have in hand.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.array.reaper.stop();
        self.array.herald.set(Call::Stopped);
        self.array.lease_changed.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a background thread of the array panicked");
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(name: &str, array: Weak<Array>, run: fn(&Array)) -> Result<JoinHandle<()>> {
    let body = move || {
        if let Some(array) = array.upgrade() {
            run(&array);
        }
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map_err(|source| Error::io(format!("start thread {name}"), source))
}

fn reap(array: &Array) {
    while let Some(thin) = array.reaper.next() {
        if let Err(error) = array.bury_thin(thin) {
            tracing::warn!(thin = thin.0, error = ?error, "delete a device; trying again later");
            array.reaper.push(vec![thin]);
            array.reaper.pause(limits::DELETE_RETRY);
        }
        array.reaper.done();
    }
}

fn tell(array: &Array) {
    while array.herald.next() {
        if let Err(error) = array.present_stale() {
            tracing::warn!(error = ?error, "tell hosts of what was given up");
        }
    }
}

fn watch(array: &Array) {
    while !array.is_stopping() {
        array.expire_lapsed();
        array.wait_for_lease();
    }
}

impl Array {
    /// Gives up every pending set whose lease has run out by now.
    pub(super) fn expire_lapsed(&self) {
        let lapsed = lock(&self.leases).lapsed(self.clock().now());
        for set in lapsed {
            if let Err(error) = self.expire_set(set) {
                tracing::error!(%set, error = ?error, "delete a set whose lease ran out");
            }
        }
    }

    /// Deletes a doomed device from the pool, and then from the catalogue, if that knows it.
    pub(super) fn bury_thin(&self, thin: Thin) -> Result<()> {
        self.store().delete(thin_id(thin))?;
        if self.hidden.has_left(thin) {
            return Ok(());
        }
        let changing = lock(&self.changing);
        let cat = self.catalogue();
        let mut change = Change::new();
        change.push(Edit::Undoom(thin));
        let committed = self.parts.catalogue.commit(cat.revision, &change);
        drop(changing);
        committed.map(drop)
    }

    /// Waits until every device that nobody needs has left the pool, at most so long.
    pub fn wait_reaped(&self, limit: Duration) -> bool {
        self.reaper.wait_idle(limit)
    }

    fn is_stopping(&self) -> bool {
        lock(&self.reaper.queue).stopped
    }

    fn wait_for_lease(&self) {
        let leases = lock(&self.leases);
        let now = self.clock().now();
        let left = leases.next_deadline().map_or(limits::LEASE_LOOK, |deadline| deadline.since(now));
        let pause = left.clamp(Duration::from_millis(20), limits::LEASE_LOOK);
        if !self.is_stopping() {
            drop(self.lease_changed.wait_timeout(leases, pause).unwrap_or_else(PoisonError::into_inner));
        }
    }
}
