//! One at a time by name: requests that change the same set or LUN wait for one another, others do not.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::OwnedMutexGuard;

/// Locks by name; a name that nobody holds costs nothing.
#[derive(Debug, Default)]
pub struct Locks(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Locks {
    /// Waits for the lock of that name.
    pub async fn lock(&self, name: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            table.retain(|_, lock| lock.strong_count() > 0);
            let known = table.get(name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let fresh = Arc::new(tokio::sync::Mutex::new(()));
                table.insert(name.to_owned(), Arc::downgrade(&fresh));
                fresh
            })
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_name_excludes_and_another_does_not() {
        let locks = Locks::default();
        let held = locks.lock("a").await;
        drop(locks.lock("b").await);
        let soon = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, locks.lock("a")).await.is_err());
        drop(held);
        drop(locks.lock("a").await);
    }
}
