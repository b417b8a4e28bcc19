//! What the calls of a running service share: configuration, the way to the array, the gate, locks, records.
//!
//! The node holds no truth (design section 1): sets live in the array, attachments are processes of their own found by
//! their folders, mounts are the kernel's. What always holds: before the first call that needs the array is served,
//! this host is known to the array and what an earlier service left half done is undone ([`Node::settle`]).

use crate::{
    array::Array,
    config::Config,
    create::{Gate, Operations},
    locks::Locks,
    mounts::Mounts,
    provider::{ArrayProvider, Provider},
    recovery,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock, watch};
use umbra_base::Result;

/// A running service.
#[derive(Debug)]
pub struct Node {
    /// What it was told.
    pub config: Config,
    /// The way to the array.
    pub array: Arc<Array>,
    /// The provider of the array.
    pub provider: Arc<ArrayProvider>,
    /// One creation at a time (S4).
    pub gate: Arc<Gate>,
    /// What became of creations (P2).
    pub operations: Arc<Operations>,
    /// One change at a time for each set and LUN.
    pub locks: Locks,
    /// What it mounted.
    pub mounts: Mounts,
    settled: Mutex<bool>,
    stop: watch::Receiver<bool>,
    busy: Arc<RwLock<()>>,
}

impl Node {
    /// A service with `config` that runs until `stop` says so.
    pub fn new(config: Config, stop: watch::Receiver<bool>) -> Result<Node> {
        let array = Arc::new(Array::new(config.array.clone()));
        Ok(Node {
            provider: Arc::new(ArrayProvider::new(array.clone(), &config.host_name)),
            mounts: Mounts::open(&config.runtime)?,
            array,
            config,
            gate: Arc::default(),
            operations: Arc::default(),
            locks: Locks::default(),
            settled: Mutex::new(false),
            stop,
            busy: Arc::default(),
        })
    }

    /// Every provider, in the order in which they are asked.
    pub fn providers(&self) -> [Arc<dyn Provider>; 1] {
        [self.provider.clone()]
    }

    /// Makes this host known to the array, and undoes what an earlier service of this host left half done; once.
    pub async fn settle(&self) -> Result<()> {
        let mut settled = self.settled.lock().await;
        if !*settled {
            recovery::in_array(self).await?;
            *settled = true;
        }
        Ok(())
    }

    /// Returns when the service is to stop.
    pub async fn stopping(&self) {
        let mut stop = self.stop.clone();
        // A sender that is gone means the same.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

impl Node {
    /// Held by work that must come to its end before the process does: creations, and the sessions of volatile sets.
    pub async fn busy(&self) -> OwnedRwLockReadGuard<()> {
        self.busy.clone().read_owned().await
    }

    /// Waits until no such work is left, at most for `limit`.
    pub async fn quiesce(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.busy.write()).await.is_err() {
            tracing::error!("stopping in the middle of work; the next start cleans up");
        }
    }
}

/// Blocking work, off the threads that serve calls.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(umbra_base::Error::new(umbra_base::ErrorCode::Internal, "blocking work").because(panic))
    })
}
