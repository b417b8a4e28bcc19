//! Waiting for things that happen in several places, without anybody who waits.
//!
//! Picture: a [`Fence`] is handed to everything that must be over first: commands that run, sessions that end, shards that have
//! heard of a change. Each drops its clone when it is over; the last one does what the fence was made for.
//!
//! What always holds: that happens exactly once, also if one of them panics.

use std::{
    fmt,
    sync::{Arc, mpsc},
};

type Then = Box<dyn FnOnce() + Send + Sync>;

/// A share in a fence.
#[derive(Clone)]
pub(crate) struct Fence(#[allow(dead_code, reason = "dropping it is what it is for")] Arc<Last>);

struct Last(Option<Then>);

impl Fence {
    /// Does `then` when the last clone is dropped. It may run on any thread, and must not wait.
    pub fn new(then: impl FnOnce() + Send + Sync + 'static) -> Fence {
        Fence(Arc::new(Last(Some(Box::new(then)))))
    }

    /// Gives a fence to `place`, and waits until it is over everywhere.
    pub fn wait(place: impl FnOnce(Fence)) {
        let (done, over) = mpsc::sync_channel::<()>(1);
        place(Fence::new(move || {
            let _nobody_waits_any_more = done.send(());
        }));
        let _told_or_dropped = over.recv();
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then();
        }
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fence")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_it_is_for_happens_once_when_the_last_has_let_go() {
        let times = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&times);
        let fence = Fence::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let other = fence.clone();
        drop(fence);
        assert_eq!(times.load(Ordering::SeqCst), 0);
        drop(other);
        assert_eq!(times.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn whoever_waits_goes_on_when_it_is_over_everywhere() {
        Fence::wait(|fence| {
            let other = fence.clone();
            std::thread::spawn(move || drop(other));
        });
    }
}
