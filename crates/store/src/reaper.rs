//! Deleted devices go away piece by piece, so that no deletion holds anybody up (dm-thin format section 16.6).
//!
//! Picture: a deletion takes the device out of sight in one small transaction. What it mapped is then dropped in pieces of
//! a bounded number of leaves, each under the engine's lock for a moment, by the background thread, by whoever looks for
//! room, or, in a store without that thread, by the deletion itself. Every state in between is valid metadata; after a
//! crash the rest is found again.

use crate::{
    core::{Core, PoolGuard},
    limits,
};
use umbra_base::{Error, Result};
use umbra_thin::ThinError;

impl Core {
    /// Drops one piece; false if there is nothing left that can be dropped now.
    pub(crate) fn reap_some(&self) -> Result<bool> {
        for _ in 0..2 {
            let mut pool = self.pool();
            if !pool.has_doomed() {
                return Ok(false);
            }
            let step = pool.delete_step(limits::LEAVES_PER_STEP);
            PoolGuard::unlock_fair(pool);
            match step {
                Ok(_) => return Ok(true),
                // Dropping takes metadata first; a commit gives back what the pieces before freed.
                Err(error) if error.is_full() => drop(self.commit_anyway()?),
                // It keeps what cannot be read; the engine goes on with the next device.
                Err(error @ ThinError::Damaged { .. }) => {
                    let error = Error::from(self.met(error)).chain();
                    tracing::error!(error, "a deleted device is damaged and keeps its space");
                    return Ok(true);
                }
                Err(error) => {
                    let error = Error::from(error);
                    self.fail(&error);
                    return Err(error);
                }
            }
        }
        Ok(false)
    }

    /// Drops everything that is left of deleted devices.
    pub(crate) fn reap_all(&self) -> Result<()> {
        while self.reap_some()? {}
        Ok(())
    }
}
