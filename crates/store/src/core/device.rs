//! What all openings of one device share: its gate, its locked ranges, and what the cache of mappings knows it by.

use super::Core;
use crate::{
    hold::{Gate, lock},
    map_cache::{CacheKey, Known, MapCache},
    ranges::Ranges,
};
use std::sync::{
    Arc,
    atomic::{
        AtomicU32,
        Ordering::{Relaxed, SeqCst},
    },
};
use umbra_thin::{ThinError, ThinId};

/// What all openings of one device share. It outlives the device: an opening that is left over must find the gate.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) gate: Arc<Gate>,
    pub(crate) ranges: Ranges,
    /// The device's snapshotted_time; changes only while the gate is closed.
    stamp: AtomicU32,
    /// Its [`CacheKey`]; another one for each life of the id.
    key: AtomicU32,
}

impl Shared {
    pub(crate) fn stamp(&self) -> u32 {
        self.stamp.load(SeqCst)
    }

    /// Takes over the device's snapshot time; under the engine's lock, with the gate closed.
    pub(crate) fn restamp(&self, stamp: u32) {
        self.stamp.store(stamp, SeqCst);
    }

    pub(crate) fn key(&self) -> CacheKey {
        CacheKey(self.key.load(SeqCst))
    }
}

impl Core {
    pub(crate) fn shared(&self, id: ThinId) -> Arc<Shared> {
        let mut devices = lock(&self.devices);
        let shared = devices.entry(id).or_insert_with(|| {
            let stamp = self.pool().details(id).map_or(0, |details| details.snapshotted_time);
            Arc::new(Shared {
                gate: Arc::default(),
                ranges: Ranges::default(),
                stamp: AtomicU32::new(stamp),
                key: AtomicU32::new(self.new_key()),
            })
        });
        shared.clone()
    }

    /// A device is gone: it will be forgotten.
    pub(crate) fn note_gone(&self, id: ThinId) {
        lock(&self.gone).push(id);
        self.forget_gone();
    }

    /// Forgets devices that are gone and of which nobody has anything any more.
    pub(crate) fn forget_gone(&self) {
        lock(&self.gone).retain(|id| {
            let mut devices = lock(&self.devices);
            let Some(shared) = devices.get(id) else { return false };
            // Whoever wants to have it waits for the table.
            let is_left = Arc::strong_count(shared) == 1 && Arc::strong_count(&shared.gate) == 1;
            if is_left && matches!(self.pool().details(*id), Err(ThinError::Unknown(_))) {
                devices.remove(id);
            }
            !is_left
        });
    }

    fn new_key(&self) -> u32 {
        self.next_key.fetch_add(1, Relaxed) % (1 << 28)
    }

    /// The id is another device from now on, or none. Called under the engine's lock, so that no commit can hand its
    /// blocks out while the cache still knows them.
    pub(crate) fn rekey(&self, shared: &Shared, stamp: u32) {
        shared.key.store(self.new_key(), SeqCst);
        shared.restamp(stamp);
    }

    /// Reads the mappings around a block into the cache.
    pub(crate) fn learn(&self, id: ThinId, shared: &Shared, vblock: u64) -> Result<(), ThinError> {
        let line = MapCache::line_of(vblock);
        let mut pool = self.pool();
        let runs = pool.lookup(id, line.clone())?;
        let known = |at: &umbra_thin::Mapped, i: u64| Known::At { block: at.block + i, private: !at.shared };
        let mapped = runs
            .iter()
            .filter_map(|run| run.at.as_ref().map(|at| (run, at)))
            .flat_map(|(run, at)| (0..run.len).map(move |i| (run.vblock + i, known(at, i))));
        shared.ranges.while_steady(|is_locked| {
            self.cache.fill(shared.key(), shared.stamp(), line, mapped, is_locked);
        });
        drop(pool);
        Ok(())
    }

    /// Devices that are kept in mind.
    #[cfg(test)]
    pub(crate) fn known_devices(&self) -> usize {
        lock(&self.devices).len()
    }

    /// The gates of every device that somebody has to do with.
    pub(crate) fn all_gates(&self) -> Vec<(ThinId, Arc<Gate>)> {
        let mut gates: Vec<_> =
            lock(&self.devices).iter().map(|(id, shared)| (*id, shared.gate.clone())).collect();
        gates.sort_by_key(|(id, _)| *id);
        gates
    }
}
