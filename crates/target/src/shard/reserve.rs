//! Reservations as the driver sees them: what worker, shards and sessions each do of a PERSISTENT RESERVE OUT.
//!
//! Picture: a worker applies the request to the unit's state, has it kept, and puts it in force. What it did to others, attentions and
//! aborted tasks, goes to every shard; when all of them have done their part the command is answered (SPC-4 section 5.13).

use super::{Server, connection::Conn};
use crate::fence::Fence;
use crate::message::{Aftermath, Message, post};
use crate::outcome::Outcome;
use crate::slot::{LunMap, Slot};
use crate::unit::LogicalUnit;
use std::sync::Arc;
use umbra_scsi::SenseFormat;
use umbra_scsi::reservation::{Legacy, Nexus};

impl<U: LogicalUnit> Server<U> {
    /// RESERVE and RELEASE: nothing to keep, nobody to tell.
    pub(super) fn reserve_legacy(
        &mut self,
        c: usize,
        slot: &Slot<U>,
        action: Legacy,
        format: SenseFormat,
    ) -> Outcome {
        let Some(nexus) = self.conns[c].nexus.as_ref() else { return Outcome::good() };
        let _no_other_change = slot.state.changing();
        let mut reservations = slot.state.reservations().clone();
        match reservations.apply_legacy(action, &nexus.scsi) {
            Ok(()) => {
                slot.state.install(reservations);
                Outcome::good()
            }
            Err(refusal) => Outcome::refused(refusal, format),
        }
    }

    /// A worker has changed a unit's reservations: everybody does his part, then the command is answered.
    pub(super) fn reserved(&mut self, t: usize, aftermath: Aftermath) {
        let Some(task) = self.tasks.get_mut(t) else { return };
        task.settle();
        let (asker, tag) = (self.conns[task.conn].id, task.tag);
        let remote = self.shard.remote();
        let fence = Fence::new(move || post(&remote, Message::Settled { task: t }));
        let aftermath = Arc::new(Aftermath { asker, tag, ..aftermath });
        for (number, remote) in self.common.remotes().iter().enumerate() {
            if number != self.number {
                post(remote, Message::Reserved { aftermath: aftermath.clone(), fence: fence.clone() });
            }
        }
        self.suffer(&aftermath, &fence);
    }

    /// This shard's part of it.
    pub(super) fn suffer(&mut self, aftermath: &Aftermath, fence: &Fence) {
        for (c, numbers) in self.seers(aftermath.unit) {
            let conn = &mut self.conns[c];
            let Some(nexus) = conn.nexus.as_mut() else { continue };
            for (_, condition) in aftermath.attentions.iter().filter(|(of, _)| *of == nexus.scsi) {
                for number in &numbers {
                    nexus.attentions.entry(*number).or_default().post(*condition);
                }
            }
            if aftermath.abort.contains(&nexus.scsi) {
                let own = (conn.id == aftermath.asker).then_some(aftermath.tag);
                self.abort_all_but(c, own, |lun| lun.is_some_and(|n| numbers.contains(&n)), fence);
            }
        }
        let preempted = |conn: &Conn<U>, tag| {
            let is_the_asker = conn.id == aftermath.asker && tag == aftermath.tag;
            !is_the_asker && conn.nexus.as_ref().is_some_and(|nexus| aftermath.abort.contains(&nexus.scsi))
        };
        if !aftermath.abort.is_empty() {
            self.abort_at(aftermath.unit, preempted, fence);
        }
    }

    /// All have done their part of what a task began.
    pub(super) fn settled(&mut self, t: usize) {
        if self.tasks.contains(t) {
            self.end_task(t, Outcome::good(), None);
        }
    }

    /// A session ended: what RESERVE reserved for it is free.
    pub(super) fn nexus_lost(luns: &LunMap<U>, nexus: &Nexus) {
        for slot in luns.values() {
            if slot.state.reserved().is_some() {
                let _no_other_change = slot.state.changing();
                let mut reservations = slot.state.reservations().clone();
                reservations.nexus_lost(nexus);
                slot.state.install(reservations);
            }
        }
    }
}
