//! Task management (SAM-5 section 7, RFC 7143 section 11.5): whose tasks a function ends, whose go on, and who is told.

use crate::lab::{HOST_A, HOST_B, Lab, eventually, unit};
use crate::memory::MemoryUnit;
use crate::raw::Raw;
use std::sync::Arc;
use std::thread;
use umbra_iscsi::pdu::RESERVED_TAG;
use umbra_iscsi::pdu::request::task_function;
use umbra_iscsi::pdu::response::task_response;
use umbra_target::Access;
use umbra_target::limits::CALLS_PER_SESSION;

const RESET: [u8; 3] = [6, 0x29, 0x03];
const NOTHING: [u8; 3] = [0; 3];

/// What REQUEST SENSE tells; it waits for no command that runs, and ends none.
fn pending(raw: &mut Raw, lun: u16) -> [u8; 3] {
    let sense = raw.run(lun, &[0x03, 0, 0, 0, 18, 0], None, 18).data;
    [sense[2], sense[12], sense[13]]
}

/// Starts a write of one block that is held inside its unit.
fn held_write(raw: &mut Raw, lun: u16, lba: u8, unit: &MemoryUnit, inside: usize) -> u32 {
    let tag = raw.start_write(lun, lba, &[0xaa; 512]);
    unit.wait_for_held(inside);
    tag
}

/// Hosts A and B share `both` and `also`; only A has `foreign`. All writes are held.
struct Shared {
    lab: Lab,
    both: Arc<MemoryUnit>,
    also: Arc<MemoryUnit>,
    foreign: Arc<MemoryUnit>,
}

impl Shared {
    fn new() -> Shared {
        let (lab, both, also, foreign) = (Lab::new(), unit(), unit(), unit());
        let write = Access::ReadWrite;
        lab.set(HOST_A, &[(0, &both, write), (1, &also, write), (2, &foreign, write)]);
        lab.set(HOST_B, &[(5, &both, write), (6, &also, write)]);
        for unit in [&both, &also, &foreign] {
            unit.hold_writes();
        }
        Shared { lab, both, also, foreign }
    }
}

/// A reset that host B asks for at LUN 5; `whole` is whether it is one of all units that B sees.
fn check_reset(function: u8, whole: bool) {
    let Shared { lab, both, also, foreign } = Shared::new();
    let (mut a, mut second, mut b) = (lab.login(HOST_A), lab.login(HOST_A), lab.login(HOST_B));
    let ended = held_write(&mut a, 0, 0, &both, 1);
    let at_also = held_write(&mut a, 1, 0, &also, 1);
    let at_foreign = held_write(&mut a, 2, 0, &foreign, 1);
    let own = held_write(&mut b, 5, 1, &both, 2);
    b.start_management(function, 5, RESERVED_TAG);
    // An answer here would be a surprise.
    b.ping();
    let beside = if whole { RESET } else { NOTHING };
    for session in [&mut a, &mut second] {
        // Their shard has heard of it, too.
        session.ping();
        assert_eq!([0, 1, 2].map(|lun| pending(session, lun)), [RESET, beside, NOTHING]);
    }
    thread::scope(|scope| {
        let reset = scope.spawn(|| b.managed());
        // Of what it ends, one after another is still inside.
        for unit in [&both, &also].into_iter().take(1 + usize::from(whole)) {
            a.give_others_time();
            assert!(!reset.is_finished(), "a write that it ends is still inside");
            unit.release_writes();
        }
        assert_eq!(reset.join().unwrap(), task_response::COMPLETE);
    });
    [&also, &foreign].iter().for_each(|unit| unit.release_writes());
    assert!(a.finish(at_foreign).is_good(), "not a unit of who asked");
    if !whole {
        assert!(a.finish(at_also).is_good(), "another unit");
    }
    a.ping();
    assert_eq!((a.has_finished(ended), a.has_finished(at_also)), (false, false), "no status after a reset");
    b.ping();
    assert!(!b.has_finished(own), "tasks of who asked end as well");
    assert_eq!([5, 6].map(|lun| pending(&mut b, lun)), [RESET, beside], "who asked is told as well");
    for (session, lun) in [(&mut a, 0), (&mut second, 0), (&mut b, 5)] {
        assert!(session.test_unit_ready(lun).is_good(), "told once");
        assert!(session.write(lun, 2, &[1; 512]).is_good());
    }
}

#[test]
fn a_reset_of_a_unit_ends_the_tasks_of_every_host_at_it_and_tells_them() {
    check_reset(task_function::LOGICAL_UNIT_RESET, false);
}

#[test]
fn a_reset_of_the_target_ends_what_runs_at_the_units_that_the_host_sees_and_nothing_else() {
    check_reset(task_function::TARGET_WARM_RESET, true);
}

/// Each session has a task set of its own (TST 001b), so that CLEAR TASK SET is what ABORT TASK SET is: no other session
/// loses anything, and nobody is told.
fn check_abort_of_set(function: u8) {
    let Shared { lab, both, also, .. } = Shared::new();
    let (mut a, mut second, mut b) = (lab.login(HOST_A), lab.login(HOST_A), lab.login(HOST_B));
    let elsewhere = held_write(&mut a, 1, 0, &also, 1);
    let others = held_write(&mut second, 0, 100, &both, 1);
    let foreign = held_write(&mut b, 5, 101, &both, 2);
    // As many as can run are inside, one waits for them, one has none of its data yet.
    let running = CALLS_PER_SESSION - 1;
    let mut tags: Vec<u32> = (0..=running as u8).map(|lba| a.start_write(0, lba, &[0xaa; 512])).collect();
    both.wait_for_held(2 + running);
    tags.push(a.start_solicited(0, 102, 64 << 10));
    assert_eq!(a.requests_until_ping(), 1);
    a.start_management(function, 0, RESERVED_TAG);
    // An answer here would be a surprise.
    a.give_others_time();
    both.release_writes();
    assert_eq!(a.managed(), task_response::COMPLETE);
    let at_answer = both.contents();
    let block = |lba: usize| at_answer[lba * 512];
    assert!((0..running).all(|lba| block(lba) == 0xaa), "those inside had done their work");
    assert_eq!(block(running), 0, "the one that waited never ran");
    assert!(second.finish(others).is_good(), "another session of the host");
    assert!(b.finish(foreign).is_good(), "another host");
    also.release_writes();
    assert!(a.finish(elsewhere).is_good(), "another LUN");
    a.ping();
    assert!(!tags.iter().any(|tag| a.has_finished(*tag)), "no status after an abort");
    assert_eq!(both.contents()[..100 * 512], at_answer[..100 * 512], "nothing of it changes the unit later");
    for (session, lun) in [(&mut a, 0), (&mut second, 0), (&mut b, 5)] {
        assert_eq!(pending(session, lun), NOTHING, "nobody is told");
    }
    assert!(a.write(0, 103, &[1; 512]).is_good(), "the next one runs");
}

#[test]
fn abort_task_set_ends_the_tasks_of_the_session_at_the_lun_and_no_others() {
    check_abort_of_set(task_function::ABORT_TASK_SET);
}

#[test]
fn clear_task_set_ends_the_tasks_of_the_session_at_the_lun_and_no_others() {
    check_abort_of_set(task_function::CLEAR_TASK_SET);
}

#[test]
fn functions_at_a_lun_that_is_not_there_and_those_that_are_not_offered_say_so() {
    let lab = Lab::new();
    lab.set(HOST_A, &[(0, &unit(), Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    for function in
        [task_function::ABORT_TASK_SET, task_function::CLEAR_TASK_SET, task_function::LOGICAL_UNIT_RESET]
    {
        assert_eq!(raw.manage(function, 9, RESERVED_TAG), task_response::LUN_DOES_NOT_EXIST, "{function}");
    }
    let cold = raw.manage(task_function::TARGET_COLD_RESET, 0, RESERVED_TAG);
    assert_eq!(cold, task_response::NOT_SUPPORTED, "it would end every host's sessions at one host's wish");
    assert!(raw.test_unit_ready(0).is_good(), "nothing was reset");
}

#[test]
fn a_reset_waits_for_the_writes_of_a_host_that_is_losing_the_unit() {
    let Shared { lab, both, .. } = Shared::new();
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    held_write(&mut a, 0, 0, &both, 1);
    thread::scope(|scope| {
        let mask = scope.spawn(|| lab.set(HOST_A, &[]));
        eventually("the unit has gone from the view", || a.report_luns().is_empty());
        let reset = scope.spawn(|| b.manage(task_function::LOGICAL_UNIT_RESET, 5, RESERVED_TAG));
        a.give_others_time();
        assert!(!reset.is_finished() && !mask.is_finished(), "a write is still inside");
        both.release_writes();
        assert_eq!(reset.join().unwrap(), task_response::COMPLETE);
        mask.join().unwrap();
        let contents = both.contents();
        both.wait_until_idle();
        assert!(contents == both.contents(), "a write landed after the answer");
    });
}
