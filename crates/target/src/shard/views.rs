//! What a host sees, and where it sees nothing; a change of that, as its sessions on this shard live through it.
//!
//! What always holds (design A1): from the moment that the change is heard, no command of the host begins at a LUN that
//! went, and none that came before begins at what took its number; the fence falls when none that began before runs any more. Sessions are told by unit attentions, at
//! LUN 0 also where nothing is: a host without LUNs has no other place to hear of its first.

use super::Server;
use crate::fence::Fence;
use crate::host::Host;
use crate::outcome::Outcome;
use crate::slot::{LunMap, Slot};
use crate::unit::LogicalUnit;
use std::collections::BTreeSet;
use std::sync::Arc;
use umbra_iscsi::pdu::Lun;
use umbra_iscsi::target::Command;
use umbra_scsi::{Absence, Plan, Select, Sense, SenseFormat, plan_missing, report};

impl<U: LogicalUnit> Server<U> {
    pub(super) fn view_changed(
        &mut self,
        host: &Arc<Host<U>>,
        old: &Arc<LunMap<U>>,
        new: &Arc<LunMap<U>>,
        fence: &Fence,
    ) {
        let gone: Vec<&Arc<Slot<U>>> = old
            .values()
            .filter(|slot| !new.get(&slot.number).is_some_and(|kept| Arc::ptr_eq(kept, slot)))
            .collect();
        for (_, task) in &mut self.tasks {
            let nexus = self.conns[task.conn].nexus.as_ref();
            let copies = task.copies && nexus.is_some_and(|nexus| Arc::ptr_eq(&nexus.host, host));
            if copies || gone.iter().any(|slot| Arc::ptr_eq(slot, &task.slot)) {
                task.hold(fence);
            }
        }
        let sessions: Vec<usize> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.nexus.as_ref().is_some_and(|nexus| Arc::ptr_eq(&nexus.host, host)))
            .map(|(c, _)| c)
            .collect();
        for c in sessions {
            self.session_view_changed(c, old, new);
        }
    }

    /// What a session must be told (SPC-4 section 6.33, SBC-3 section 4.9). What it sent to a unit that went, or is another
    /// or changeable no more or again, or to nothing, and has not begun, never will: it would begin at what is there now.
    fn session_view_changed(&mut self, c: usize, old: &Arc<LunMap<U>>, new: &Arc<LunMap<U>>) {
        let numbers: BTreeSet<u16> = old.keys().chain(new.keys()).copied().collect();
        for number in numbers {
            let (before, after) = (old.get(&number), new.get(&number));
            if let Some(why) = ends_waiting(before, after) {
                let format = before.map_or(SenseFormat::Fixed, |before| before.state.mode().sense_format);
                // LUN 0 answers some whether there is a unit or not.
                let is_of_nobody = number == 0 && (before.is_none() || after.is_none());
                self.end_waiting(c, number, (why, format), |command| {
                    is_of_nobody && plan_missing(&command.cdb, Absence::LunZero).is_ok()
                });
            }
        }
        let conn = &mut self.conns[c];
        let Some(nexus) = conn.nexus.as_mut() else { return };
        nexus.luns = new.clone();
        let gone: Vec<u16> = old.keys().filter(|number| !new.contains_key(number)).copied().collect();
        for number in &gone {
            nexus.attentions.remove(number);
            nexus.copies.remove(number);
        }
        nexus.host.outdate(conn.id, gone);
        let inventory_changed = !old.keys().eq(new.keys());
        for (number, slot) in new.iter() {
            let attentions = nexus.attentions.entry(*number).or_default();
            match old.get(number) {
                Some(before) if Arc::ptr_eq(before, slot) => {}
                Some(before) => changes(before, slot).for_each(|condition| attentions.post(condition)),
                None => {}
            }
            if inventory_changed {
                attentions.post(Sense::REPORTED_LUNS_CHANGED);
            }
        }
        if inventory_changed && !new.contains_key(&0) {
            nexus.attentions.entry(0).or_default().post(Sense::REPORTED_LUNS_CHANGED);
        }
    }

    /// A command to a LUN at which there is nothing (LUN 0 always answers, design A1).
    pub(super) fn answer_for_nobody(&mut self, c: usize, command: &Command) {
        let is_zero = command.lun.number() == Some(0);
        let absence = if is_zero { Absence::LunZero } else { Absence::Other };
        if is_zero && let Some(told) = self.attention_of_nobody(c, command) {
            return self.answer(c, command.tag, Outcome::check(told, SenseFormat::Fixed), None);
        }
        let outcome = match plan_missing(&command.cdb, absence) {
            Ok(Plan::ReportLuns { select, allocation }) => {
                Outcome::reply(self.report_luns(c, select, allocation))
            }
            Ok(Plan::Reply(bytes)) => Outcome::reply(bytes),
            Ok(_) => Outcome::check(Sense::LOGICAL_UNIT_NOT_SUPPORTED, SenseFormat::Fixed),
            Err(sense) => Outcome::check(sense, SenseFormat::Fixed),
        };
        self.answer(c, command.tag, outcome, None);
    }

    /// What a session waits to be told at a LUN 0 at which there is nothing.
    fn attention_of_nobody(&mut self, c: usize, command: &Command) -> Option<Sense> {
        let nexus = self.conns[c].nexus.as_mut()?;
        nexus.attentions.get_mut(&0)?.interrupt(command.cdb[0])
    }

    /// The LUNs of now; a session that was told all of them knows the numbers that are gone no more (design A1).
    pub(super) fn report_luns(&mut self, c: usize, select: Select, allocation: usize) -> Vec<u8> {
        let conn = &mut self.conns[c];
        let Some(nexus) = &mut conn.nexus else { return Vec::new() };
        if select == Select::All && report::luns_bytes(nexus.luns.len()) <= allocation {
            nexus.host.forget_session(conn.id);
            nexus.attentions.values_mut().for_each(|attentions| attentions.luns_reported());
        }
        let fields = nexus.luns.keys().filter_map(|number| Lun::from_number(*number)).map(|lun| lun.0);
        report::luns(fields, select, allocation)
    }
}

/// Why a command that waits for what was at a number must not begin at what is there now.
fn ends_waiting<U>(before: Option<&Arc<Slot<U>>>, after: Option<&Arc<Slot<U>>>) -> Option<Sense> {
    match (before, after) {
        (Some(before), Some(after)) if before.identity == after.identity => {
            // Its initiator may try again, and finds the unit as it is.
            (before.access != after.access).then_some(Sense::COMMAND_CLEARED)
        }
        _ => Some(Sense::LOGICAL_UNIT_NOT_SUPPORTED),
    }
}

/// The conditions that tell the difference between two slots of one number.
fn changes<U>(before: &Slot<U>, after: &Slot<U>) -> impl Iterator<Item = Sense> {
    let replaced = before.identity != after.identity;
    let access = before.access != after.access;
    let size = before.announced_bytes != after.announced_bytes;
    [
        replaced.then_some(Sense::INQUIRY_DATA_CHANGED),
        replaced.then_some(Sense::REPORTED_LUNS_CHANGED),
        (access && !replaced).then_some(Sense::MODE_PARAMETERS_CHANGED),
        size.then_some(Sense::CAPACITY_CHANGED),
    ]
    .into_iter()
    .flatten()
}
