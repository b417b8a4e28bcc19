//! Task management (SAM-5 section 7, RFC 7143 section 11.5): which tasks a function ends, and who is told when they have.
//!
//! What always holds (design A1): the answer to an abort or reset goes out only when none of the tasks that it names runs
//! any more, whichever session they belong to; tasks that did not start never will.

use crate::session::{Session, State};
use crate::slot::Slot;
use crate::target::Target;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use umbra_iscsi::pdu::request::task_function;
use umbra_iscsi::pdu::response::task_response;
use umbra_iscsi::target::{Aborted, TaskManagementRequest};
use umbra_scsi::Sense;
use umbra_scsi::mode::ModeState;

/// Tells a session when the last of some running commands is done.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Commands that still run, and one for whoever is still adding some.
    open: AtomicUsize,
    session: Weak<Session>,
    then: Then,
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Answer { tag: u32, response: u8 },
    LogOut,
}

impl Waiter {
    fn new(session: &Arc<Session>, then: Then) -> Arc<Self> {
        Arc::new(Waiter { open: AtomicUsize::new(1), session: Arc::downgrade(session), then })
    }

    /// One of the commands is done. Called with no lock held.
    pub fn one_done(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let Some(session) = self.session.upgrade() else { return };
        let mut state = session.state();
        match self.then {
            Then::Answer { tag, response } => state.connection.task_management_done(tag, response),
            Then::LogOut => state.connection.logout_done(),
        }
        let ends = state.connection.closed().is_some();
        session.flush(state);
        if ends {
            // The reader may be waiting for the peer; it clears up once the answer is sent.
            session.socket.stop_receiving();
        }
    }
}

impl State {
    /// Ends one task. What runs is marked, and `waiter` hears of its end.
    fn abort(&mut self, tag: u32, waiter: &Arc<Waiter>) -> Aborted {
        let aborted = self.connection.abort(tag);
        if aborted == Aborted::WithDriver {
            self.queue.retain(|job| job.command.tag != tag);
            for running in self.running.iter_mut().filter(|running| running.tag == tag && !running.aborted) {
                running.aborted = true;
            }
        }
        self.wait_for_aborted(tag, waiter);
        aborted
    }

    /// Commands that were aborted earlier and still run count as well.
    fn wait_for_aborted(&mut self, tag: u32, waiter: &Arc<Waiter>) {
        for running in self.running.iter_mut().filter(|running| running.tag == tag && running.aborted) {
            waiter.open.fetch_add(1, Ordering::AcqRel);
            running.waiters.push(Arc::clone(waiter));
        }
    }

    /// Ends all tasks at LUNs that `at` names.
    fn abort_all(&mut self, at: impl Fn(Option<u16>) -> bool, waiter: &Arc<Waiter>) {
        for (tag, lun) in self.connection.open_tasks() {
            if at(lun.number()) {
                self.connection.abort(tag);
            }
        }
        self.queue.retain(|job| !at(job.command.lun.number()));
        for running in self.running.iter_mut().filter(|running| at(running.number)) {
            running.aborted = true;
            waiter.open.fetch_add(1, Ordering::AcqRel);
            running.waiters.push(Arc::clone(waiter));
        }
    }
}

/// Starts a logout: all tasks end, then the answer goes out.
pub(crate) fn log_out(session: &Arc<Session>) {
    let waiter = Waiter::new(session, Then::LogOut);
    session.state().abort_all(|_| true, &waiter);
    waiter.one_done();
}

/// Carries out a task management request; the answer comes when it is due.
pub(crate) fn manage(target: &Target, session: &Arc<Session>, request: TaskManagementRequest) {
    let number = request.lun.number();
    let host = session.state().nexus.as_ref().map(|nexus| Arc::clone(&nexus.host));
    let slot = number.zip(host.as_ref()).and_then(|(number, host)| host.slot(number));
    let answer = |response| Waiter::new(session, Then::Answer { tag: request.tag, response });
    let waiter = match (request.function, slot) {
        (task_function::ABORT_TASK, _) => abort_task(session, request),
        (task_function::ABORT_TASK_SET, Some(_)) => {
            let waiter = answer(task_response::COMPLETE);
            session.state().abort_all(|at| at == number, &waiter);
            waiter
        }
        (task_function::CLEAR_TASK_SET, Some(slot)) => {
            let waiter = answer(task_response::COMPLETE);
            clear(target, session, &slot, Sense::COMMANDS_CLEARED, &waiter);
            waiter
        }
        (task_function::LOGICAL_UNIT_RESET, Some(slot)) => {
            let waiter = answer(task_response::COMPLETE);
            reset(target, session, &slot, &waiter);
            waiter
        }
        (task_function::TARGET_WARM_RESET, _) => {
            let waiter = answer(task_response::COMPLETE);
            let luns = host.map(|host| host.luns()).unwrap_or_default();
            luns.values().for_each(|slot| reset(target, session, slot, &waiter));
            waiter
        }
        (
            task_function::ABORT_TASK_SET | task_function::CLEAR_TASK_SET | task_function::LOGICAL_UNIT_RESET,
            None,
        ) => answer(task_response::LUN_DOES_NOT_EXIST),
        (task_function::TASK_REASSIGN, _) => answer(task_response::REASSIGNMENT_NOT_SUPPORTED),
        _ => answer(task_response::NOT_SUPPORTED),
    };
    waiter.one_done();
}

fn abort_task(session: &Arc<Session>, request: TaskManagementRequest) -> Arc<Waiter> {
    let answer = |response| Waiter::new(session, Then::Answer { tag: request.tag, response });
    let complete = answer(task_response::COMPLETE);
    match session.state().abort(request.referenced_tag, &complete) {
        Aborted::Unknown => answer(task_response::TASK_DOES_NOT_EXIST),
        Aborted::Dropped | Aborted::WithDriver => complete,
    }
}

/// A reset of a unit that this initiator sees; mode parameters go back to their defaults.
fn reset(target: &Target, session: &Arc<Session>, slot: &Slot, waiter: &Arc<Waiter>) {
    slot.set_mode(ModeState::default());
    clear(target, session, slot, Sense::BUS_DEVICE_RESET, waiter);
}

/// Ends the tasks of every session on the unit. Other sessions are told by a unit attention.
fn clear(target: &Target, session: &Arc<Session>, slot: &Slot, condition: Sense, waiter: &Arc<Waiter>) {
    for other in target.logged_in() {
        let mut state = other.state();
        let Some(nexus) = &mut state.nexus else { continue };
        let luns = nexus.host.luns();
        let numbers: BTreeSet<u16> = luns
            .values()
            .filter(|theirs| theirs.identity.uuid == slot.identity.uuid)
            .map(|theirs| theirs.number)
            .collect();
        if !Arc::ptr_eq(&other, session) {
            for number in &numbers {
                nexus.attentions.entry(*number).or_default().post(condition);
            }
        }
        state.abort_all(|at| at.is_some_and(|number| numbers.contains(&number)), waiter);
    }
}
