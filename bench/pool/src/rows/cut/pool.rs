//! LUNs of a pool: hold, cut, release, and what follows until the cut is durable.

use super::subject::Subject;
use crate::{
    door::Lun,
    lab::{Lab, Stage},
};
use anyhow::{Result, ensure};
use std::{
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use umbra_ring::Workers;
use umbra_store::{Cut, LunStore, Snapshot, ThinId};

/// Deleted copies give their space back before that, or something is wrong.
const LONGEST: Duration = Duration::from_secs(120);
const LEASE: Duration = Duration::from_secs(5);
/// Ids of the copies of one cut are so far from their origins', and from the next cut's.
const COPIES: u32 = 1000;

/// The LUNs of a stage.
pub struct Luns {
    stage: Stage,
    last: Option<Cut>,
    /// Blocks in use when a round begins.
    used: u64,
}

impl Luns {
    /// All LUNs of `stage`.
    pub fn new(stage: Stage) -> Luns {
        Luns { stage, last: None, used: 0 }
    }

    fn ids(&self) -> impl Iterator<Item = ThinId> + use<> {
        (1..=self.stage.luns.len() as u32).map(ThinId)
    }
}

fn copy_of(origin: ThinId, cut: u32) -> ThinId {
    ThinId(origin.0 + cut * COPIES)
}

impl Subject for Luns {
    type Door = Lun;

    fn begin(&mut self, lab: &Lab) -> Result<(Vec<Lun>, Arc<Workers>)> {
        self.used = self.stage.store.usage().data_used;
        Ok((self.stage.luns.clone(), lab.workers.clone()))
    }

    /// A freeze of file systems ends with a flush of what they are on.
    fn prepare(&mut self, _: u32) -> Result<()> {
        Ok(self.stage.store.flush()?)
    }

    fn cut(&mut self, number: u32) -> Result<Option<Duration>> {
        let ids: Vec<ThinId> = self.ids().collect();
        let pairs = ids.iter().map(|id| Snapshot { origin: *id, copy: copy_of(*id, number) });
        let pairs: Vec<_> = pairs.collect();
        let hold = self.stage.store.hold(&ids, LEASE)?;
        let cutting = Instant::now();
        self.last = Some(self.stage.store.cut(&hold, &pairs)?);
        Ok(Some(cutting.elapsed()))
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(cut) = self.last.take() {
            self.stage.store.wait_durable(&cut)?;
        }
        Ok(self.stage.store.flush()?)
    }

    /// Deletes the copies, and waits until the pool is as it was.
    fn end(&mut self, cuts: u32) -> Result<()> {
        for copy in (1..=cuts).flat_map(|cut| self.ids().map(move |id| copy_of(id, cut))) {
            self.stage.store.delete(copy)?;
        }
        let begun = Instant::now();
        while self.stage.store.usage().data_used > self.used {
            ensure!(begun.elapsed() < LONGEST, "the space of deleted copies is not back after {LONGEST:?}");
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}
