//! Task management (SAM-5 section 7, RFC 7143 section 11.5): which tasks a function ends, and who is told when they have.
//!
//! What always holds (design A1): the answer to an abort or reset goes out only when none of the tasks that it names runs
//! any more, whichever session and shard they belong to; tasks that did not start never will.

use super::{
    Server,
    connection::{Conn, Queued},
    task::Task,
};
use crate::fence::Fence;
use crate::message::{AtUnit, Message, post};
use crate::outcome::Outcome;
use crate::slot::Slot;
use crate::unit::LogicalUnit;
use std::collections::BTreeSet;
use std::sync::Arc;
use umbra_iscsi::pdu::request::task_function;
use umbra_iscsi::pdu::response::task_response;
use umbra_iscsi::target::{Aborted, Command, TaskManagementRequest};
use umbra_scsi::mode::ModeState;
use umbra_scsi::{Sense, SenseFormat};

impl<U: LogicalUnit> Server<U> {
    /// Carries out a task management request; the answer comes when it is due.
    pub(super) fn manage(&mut self, c: usize, request: &TaskManagementRequest) {
        let number = request.lun.number();
        let luns = self.conns[c].nexus.as_ref().map(|nexus| nexus.luns.clone()).unwrap_or_default();
        let slot = number.and_then(|number| luns.get(&number).cloned());
        let response = match (request.function, &slot) {
            (task_function::ABORT_TASK, _) => return self.abort_task(c, request),
            // Each session has a task set of its own (TST), so that both are the same.
            (task_function::ABORT_TASK_SET | task_function::CLEAR_TASK_SET, Some(_)) => {
                let fence = self.answer_later(c, request.tag, task_response::COMPLETE);
                return self.abort_all(c, |at| at == number, &fence);
            }
            (task_function::LOGICAL_UNIT_RESET, Some(slot)) => {
                let fence = self.answer_later(c, request.tag, task_response::COMPLETE);
                return self.reset(slot, &fence);
            }
            (task_function::TARGET_WARM_RESET, _) => {
                let fence = self.answer_later(c, request.tag, task_response::COMPLETE);
                return luns.values().for_each(|slot| self.reset(slot, &fence));
            }
            (
                task_function::ABORT_TASK_SET
                | task_function::CLEAR_TASK_SET
                | task_function::LOGICAL_UNIT_RESET,
                None,
            ) => task_response::LUN_DOES_NOT_EXIST,
            (task_function::TASK_REASSIGN, _) => task_response::REASSIGNMENT_NOT_SUPPORTED,
            _ => task_response::NOT_SUPPORTED,
        };
        self.conns[c].core.task_management_done(request.tag, response);
    }

    /// A fence behind which a request is answered.
    fn answer_later(&self, c: usize, tag: u32, response: u8) -> Fence {
        let (id, remote) = (self.conns[c].id, self.shard.remote());
        Fence::new(move || post(&remote, Message::Managed { id, tag, response }))
    }

    fn abort_task(&mut self, c: usize, request: &TaskManagementRequest) {
        let fence = self.answer_later(c, request.tag, task_response::COMPLETE);
        if self.abort(c, request.referenced_tag, &fence) == Aborted::Unknown
            && !self.runs(c, request.referenced_tag)
        {
            // The request is answered here: what the fence would say comes too late, and is ignored.
            self.conns[c].core.task_management_done(request.tag, task_response::TASK_DOES_NOT_EXIST);
        }
    }

    /// Whether a task of that tag, aborted earlier, still runs.
    fn runs(&self, c: usize, tag: u32) -> bool {
        self.tasks.iter().any(|(_, task)| task.conn == c && task.tag == tag)
    }

    /// Ends one task. Fences fall when nothing of it runs any more, also where it was aborted earlier.
    fn abort(&mut self, c: usize, tag: u32, fence: &Fence) -> Aborted {
        let aborted = self.conns[c].core.abort(tag);
        self.forget(c, tag);
        for (_, task) in self.tasks.iter_mut().filter(|(_, task)| task.conn == c && task.tag == tag) {
            task.aborted = true;
            task.give_up();
            task.hold(fence);
        }
        aborted
    }

    /// Drops what is here of a command that has not begun.
    fn forget(&mut self, c: usize, tag: u32) {
        let conn = &mut self.conns[c];
        conn.incoming.remove(&tag);
        conn.receiving.forget(tag);
        conn.soliciting.retain(|(waiting, _)| *waiting != tag);
        conn.queue.retain(|queued| queued.command.tag != tag);
        conn.waiting.retain(|queued| queued.command.tag != tag);
    }

    /// Ends the commands of a session at a LUN that have not begun, those that wait for their data included: they were meant
    /// for what was there, as it was. Those that `spared` names go on waiting.
    pub(super) fn end_waiting(
        &mut self,
        c: usize,
        number: u16,
        (why, format): (Sense, SenseFormat),
        spared: impl Fn(&Command) -> bool,
    ) {
        for (tag, lun) in self.conns[c].core.open_tasks() {
            let runs = |task: &Task<U>| task.conn == c && task.tag == tag && !task.aborted;
            let waits = |queued: &Queued| queued.command.tag == tag && spared(&queued.command);
            let goes_on =
                self.tasks.iter().any(|(_, task)| runs(task)) || self.conns[c].queue.iter().any(waits);
            if lun.number() == Some(number) && !goes_on {
                self.forget(c, tag);
                self.answer(c, tag, Outcome::check(why, format), None);
            }
        }
    }

    /// Ends all tasks of a session at LUNs that `at` names.
    fn abort_all(&mut self, c: usize, at: impl Fn(Option<u16>) -> bool, fence: &Fence) {
        self.abort_all_but(c, None, at, fence);
    }

    /// The same, with one exception.
    pub(super) fn abort_all_but(
        &mut self,
        c: usize,
        except: Option<u32>,
        at: impl Fn(Option<u16>) -> bool,
        fence: &Fence,
    ) {
        for (tag, lun) in self.conns[c].core.open_tasks() {
            if at(lun.number()) && Some(tag) != except {
                self.abort(c, tag, fence);
            }
        }
        // Those that were aborted earlier still run, and count as well.
        let still = |task: &Task<U>| task.conn == c && task.aborted && at(Some(task.slot.number));
        for (_, task) in self.tasks.iter_mut().filter(|(_, task)| still(task)) {
            task.hold(fence);
        }
        self.touch(c);
    }

    /// Starts a logout: all tasks end, then the answer goes out.
    pub(super) fn log_out(&mut self, c: usize) {
        let (id, remote) = (self.conns[c].id, self.shard.remote());
        let fence = Fence::new(move || post(&remote, Message::LoggedOut { id }));
        self.abort_all(c, |_| true, &fence);
    }

    /// A reset of a unit that this initiator sees; mode parameters go back to their defaults.
    fn reset(&mut self, slot: &Arc<Slot<U>>, fence: &Fence) {
        slot.state.set_mode(ModeState::default());
        let changing = slot.state.changing();
        let mut reservations = slot.state.reservations().clone();
        reservations.reset();
        slot.state.install(reservations);
        drop(changing);
        self.clear_everywhere(slot, Sense::BUS_DEVICE_RESET, fence);
    }

    /// Ends the tasks of every session on the unit. All of them, the one that asked for it included, are told by a unit
    /// attention (SAM-5 section 6.3.3).
    fn clear_everywhere(&mut self, slot: &Arc<Slot<U>>, condition: Sense, fence: &Fence) {
        let unit = slot.identity.uuid;
        for (number, remote) in self.common.remotes().iter().enumerate() {
            if number != self.number {
                post(remote, Message::Clear { unit, condition, fence: fence.clone() });
            }
        }
        self.clear(unit, condition, fence);
    }

    /// This shard's part of it.
    pub(super) fn clear(&mut self, unit: [u8; 16], condition: Sense, fence: &Fence) {
        for (c, numbers) in self.seers(unit) {
            self.post_attention(c, &numbers, condition);
            if let Some(nexus) = &mut self.conns[c].nexus {
                nexus.copies.retain(|number, _| !numbers.contains(number));
            }
            self.abort_all(c, |lun| lun.is_some_and(|number| numbers.contains(&number)), fence);
        }
        self.abort_at(unit, |_, _| true, fence);
    }

    /// Ends the tasks that run at a unit, of those that `whose` names by connection and tag: also where their session
    /// has just lost the unit, or sees it as another number.
    pub(super) fn abort_at(&mut self, unit: [u8; 16], whose: impl Fn(&Conn<U>, u32) -> bool, fence: &Fence) {
        for (_, task) in self.tasks.iter_mut().filter(|(_, task)| task.slot.identity.uuid == unit) {
            let conn = &mut self.conns[task.conn];
            if whose(conn, task.tag) {
                if !std::mem::replace(&mut task.aborted, true) {
                    conn.core.abort(task.tag);
                }
                task.give_up();
                task.hold(fence);
            }
        }
    }

    /// Tells the other sessions that see a unit, on all shards.
    pub(super) fn tell_others(&mut self, c: usize, slot: &Arc<Slot<U>>, condition: Sense) {
        let at = AtUnit { uuid: slot.identity.uuid, asker: self.conns[c].id };
        for (number, remote) in self.common.remotes().iter().enumerate() {
            if number != self.number {
                post(remote, Message::Tell { at, condition });
            }
        }
        self.tell(at, condition);
    }

    pub(super) fn tell(&mut self, at: AtUnit, condition: Sense) {
        for (c, numbers) in self.seers(at.uuid) {
            if self.conns[c].id != at.asker {
                self.post_attention(c, &numbers, condition);
            }
        }
    }

    fn post_attention(&mut self, c: usize, numbers: &BTreeSet<u16>, condition: Sense) {
        let Some(nexus) = self.conns[c].nexus.as_mut() else { return };
        for number in numbers {
            nexus.attentions.entry(*number).or_default().post(condition);
        }
    }

    /// The connections that see a unit, and as which numbers.
    pub(super) fn seers(&self, uuid: [u8; 16]) -> Vec<(usize, BTreeSet<u16>)> {
        let numbers = |luns: &crate::slot::LunMap<U>| -> BTreeSet<u16> {
            luns.values().filter(|slot| slot.identity.uuid == uuid).map(|slot| slot.number).collect()
        };
        let nexuses = self.conns.iter().filter_map(|(c, conn)| conn.nexus.as_ref().map(|nexus| (c, nexus)));
        nexuses
            .map(|(c, nexus)| (c, numbers(&nexus.luns)))
            .filter(|(_, numbers)| !numbers.is_empty())
            .collect()
    }
}
