//! Fences (design A1): when they return, nothing that was issued before can change the LUN.

use crate::lab::{HOST_A, HOST_B, Lab, eventually, unit};
use crate::raw::Raw;
use std::sync::Arc;
use std::thread;
use umbra_iscsi::pdu::request::task_function;
use umbra_iscsi::pdu::response::task_response;
use umbra_target::Access;

/// More than there are workers: some run, some wait in the queue.
const WRITES: u8 = 20;
const RUNNING: usize = umbra_target::limits::WORKERS;

/// Starts writes of which as many as can run are held inside the unit.
fn writes_in_flight(raw: &mut Raw, unit: &Arc<crate::memory::MemoryUnit>) -> Vec<u32> {
    unit.hold_writes();
    let tags = (0..WRITES).map(|i| raw.start_write(0, i, &[0xaa; 512])).collect();
    unit.wait_for_held(RUNNING);
    // The others have come as well.
    raw.ping();
    tags
}

/// A view change while writes are in flight; `queued` is what those must answer that have not begun, `becomes` later ones.
fn check_fence(after: Option<Access>, queued: [u8; 3], becomes: [u8; 3]) {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    let tags = writes_in_flight(&mut raw, &unit);
    thread::scope(|scope| {
        let fence = scope.spawn(|| {
            let luns: Vec<_> = after.iter().map(|access| (0, &unit, *access)).collect();
            lab.set(HOST_A, &luns);
            unit.contents()
        });
        // The new view is in force, and the fence still waits.
        let mut other = Raw::connect(lab.addr);
        other.login(HOST_A, &[]);
        other.clear_attentions();
        eventually("the new view", || {
            let mode = other.run(0, &[0x1a, 0x08, 0x3f, 0, 255, 0], None, 255);
            mode.sense == becomes || mode.data.get(2).is_some_and(|device| device & 0x80 != 0)
        });
        other.give_others_time();
        assert!(!fence.is_finished(), "the fence returned with {RUNNING} writes inside the unit");
        unit.release_writes();
        let at_return = fence.join().unwrap();
        let outcomes: Vec<_> = tags.iter().map(|tag| raw.finish(*tag)).collect();
        let good = outcomes.iter().filter(|done| done.is_good()).count();
        let refused = outcomes.iter().filter(|done| done.sense == queued).count();
        assert_eq!((good, refused), (RUNNING, WRITES as usize - RUNNING), "{outcomes:?}");
        unit.wait_until_idle();
        assert!(at_return == unit.contents(), "the unit changed after the fence had returned");
    });
}

#[test]
fn removing_a_lun_is_a_fence() {
    check_fence(None, [5, 0x25, 0], [5, 0x25, 0]);
}

#[test]
fn making_a_lun_read_only_is_a_fence() {
    check_fence(Some(Access::ReadOnly), [0xb, 0x2f, 2], [7, 0x27, 0]);
}

#[test]
fn a_change_elsewhere_waits_for_nothing() {
    let lab = Lab::new();
    let (held, other) = (unit(), unit());
    lab.set(HOST_A, &[(0, &held, Access::ReadWrite), (1, &other, Access::ReadWrite)]);
    lab.set(HOST_B, &[(0, &held, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    writes_in_flight(&mut raw, &held);
    lab.set(HOST_A, &[(0, &held, Access::ReadWrite)]);
    lab.set(HOST_B, &[]);
    held.release_writes();
}

#[test]
fn dropping_a_hosts_sessions_is_a_fence() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    writes_in_flight(&mut raw, &unit);
    thread::scope(|scope| {
        let fence = scope.spawn(|| {
            lab.target.drop_sessions(HOST_A);
            unit.contents()
        });
        raw.expect_closed();
        lab.login(HOST_B).give_others_time();
        assert!(!fence.is_finished(), "the fence returned with {RUNNING} writes inside the unit");
        unit.release_writes();
        let at_return = fence.join().unwrap();
        unit.wait_until_idle();
        assert!(at_return == unit.contents(), "the unit changed after the fence had returned");
    });
    assert!(!lab.target.sessions().iter().any(|session| session.initiator == HOST_A));
}

#[test]
fn an_abort_is_answered_when_the_command_can_change_nothing_more() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    let tags = writes_in_flight(&mut raw, &unit);
    // One that has not started is gone at once.
    let queued = *tags.last().unwrap();
    assert_eq!(raw.manage(task_function::ABORT_TASK, 0, queued), task_response::COMPLETE);
    assert_eq!(raw.manage(task_function::ABORT_TASK, 0, queued), task_response::TASK_DOES_NOT_EXIST);
    // One that runs is answered when it is done, and gets no status.
    raw.start_management(task_function::ABORT_TASK, 0, tags[0]);
    raw.give_others_time();
    unit.release_writes();
    assert_eq!(raw.managed(), task_response::COMPLETE);
    let untouched = unit.contents();
    for tag in &tags[1..tags.len() - 1] {
        assert!(raw.finish(*tag).is_good());
    }
    let last = usize::from(WRITES - 1) * 512;
    assert_eq!(
        untouched[..512],
        [0xaa; 512],
        "the running one had done its work when the abort was answered"
    );
    assert_eq!(unit.contents()[last..last + 512], [0; 512], "the queued one never ran");
}

/// An initiator whose patience ended asks again; "does not exist" would let it write to the place at once.
#[test]
fn an_abort_that_is_asked_for_again_waits_as_well() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    let tags = writes_in_flight(&mut raw, &unit);
    raw.start_management_as(0x2000, task_function::ABORT_TASK, 0, tags[0]);
    raw.start_management_as(0x2001, task_function::ABORT_TASK, 0, tags[0]);
    // An answer to either would be a surprise here.
    raw.give_others_time();
    unit.release_writes();
    assert_eq!([raw.managed(), raw.managed()], [task_response::COMPLETE; 2]);
}

#[test]
fn a_session_that_is_replaced_has_ended_when_the_new_login_completes() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut old = lab.login(HOST_A);
    unit.hold_writes();
    old.start_write(0, 0, &[0xaa; 512]);
    unit.wait_for_held(1);
    let mut new = Raw::connect(lab.addr);
    new.isid = old.isid;
    thread::scope(|scope| {
        let login = scope.spawn(|| new.login(HOST_A, &[]));
        old.expect_closed();
        lab.login(HOST_B).give_others_time();
        assert!(!login.is_finished(), "logged in while a write of the old session could still land");
        unit.release_writes();
        login.join().unwrap();
    });
    let of_host_a = lab.target.sessions().into_iter().filter(|session| session.initiator == HOST_A);
    assert_eq!(of_host_a.count(), 1);
}

#[test]
fn logout_is_answered_when_nothing_runs_any_more() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    unit.hold_writes();
    raw.start_write(0, 0, &[0xaa; 512]);
    unit.wait_for_held(1);
    thread::scope(|scope| {
        let logout = scope.spawn(|| raw.logout());
        lab.login(HOST_B).give_others_time();
        assert!(!logout.is_finished());
        unit.release_writes();
        logout.join().unwrap();
        assert_eq!(unit.contents()[..512], [0xaa; 512]);
    });
}
