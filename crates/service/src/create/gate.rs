//! One set at a time is created on this host (S4): the async side of [`umbra_vss::Creation`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use umbra_base::{Result, SetId};
use umbra_vss::{Admission, Creation, IfBusy};

/// The gate of a service.
#[derive(Debug, Default)]
pub struct Gate {
    creation: Mutex<Creation>,
    moved: Notify,
}

/// The right to create; given back by drop.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    set: SetId,
}

impl Gate {
    fn creation(&self) -> MutexGuard<'_, Creation> {
        self.creation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The set that is being created.
    pub fn current(&self) -> Option<SetId> {
        self.creation().current()
    }

    /// Waits for the turn of `set`, or is refused. Dropping the future leaves the queue.
    pub async fn enter(self: &Arc<Gate>, set: SetId, if_busy: IfBusy) -> Result<Pass> {
        let mut moved = std::pin::pin!(self.moved.notified());
        moved.as_mut().enable();
        let mut admission = self.creation().ask(set, if_busy)?;
        // From here on whatever happens, the place in the queue is given back.
        let pass = Pass { gate: self.clone(), set };
        while admission != Admission::Granted {
            moved.as_mut().await;
            moved.set(self.moved.notified());
            moved.as_mut().enable();
            admission = self.creation().ask(set, if_busy)?;
        }
        Ok(pass)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.creation().release(self.set);
        self.gate.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use umbra_base::ErrorCode;

    fn set(n: u128) -> SetId {
        SetId(uuid::Uuid::from_u128(n))
    }

    #[tokio::test]
    async fn a_second_is_refused_or_waits_until_the_first_has_ended() {
        let gate = Arc::new(Gate::default());
        let first = gate.enter(set(1), IfBusy::Refuse).await.unwrap();
        let refused = gate.enter(set(2), IfBusy::Refuse).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::SnapshotSetInProgress);
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter(set(3), IfBusy::Wait).await.map(|pass| pass.set) }
        });
        tokio::task::yield_now().await;
        assert_eq!(gate.current(), Some(set(1)));
        drop(first);
        assert_eq!(waiting.await.unwrap().unwrap(), set(3));
        assert_eq!(gate.current(), None);
    }

    #[tokio::test]
    async fn one_that_waits_and_goes_away_does_not_block_the_others() {
        let gate = Arc::new(Gate::default());
        let first = gate.enter(set(1), IfBusy::Refuse).await.unwrap();
        let gone =
            tokio::time::timeout(std::time::Duration::from_millis(5), gate.enter(set(2), IfBusy::Wait));
        assert!(gone.await.is_err());
        drop(first);
        gate.enter(set(3), IfBusy::Refuse).await.unwrap();
    }
}
