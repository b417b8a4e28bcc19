//! Commands that wait for their data: what becomes of them when their unit goes, and whom they may not let pass.

use crate::lab::{HOST_A, HOST_B, Lab, unit};
use crate::memory::MemoryUnit;
use crate::raw::{Done, Raw};
use std::sync::Arc;
use umbra_iscsi::pdu::request::task_function;
use umbra_iscsi::pdu::response::{R2t, task_response};
use umbra_target::Access::{ReadOnly, ReadWrite};

const SIMPLE: u8 = 1;
const ORDERED: u8 = 2;
const HEAD_OF_QUEUE: u8 = 3;
const NOTHING_THERE: [u8; 3] = [5, 0x25, 0];
const CLEARED: [u8; 3] = [0xb, 0x2f, 2];
const BLOCK: usize = 512;

/// A write of one block that was asked for its data.
fn waiting(raw: &mut Raw, lun: u16, attribute: u8) -> (u32, R2t) {
    raw.attribute = attribute;
    let tag = raw.start_solicited(lun, 0, BLOCK);
    raw.attribute = SIMPLE;
    let r2t = raw.asked(tag);
    (tag, r2t)
}

fn send(raw: &mut Raw, (tag, r2t): (u32, R2t), byte: u8) -> Done {
    raw.send_data(&r2t, &[byte; BLOCK], BLOCK);
    raw.finish(tag)
}

fn is_untouched(unit: &MemoryUnit) -> bool {
    unit.contents().iter().all(|byte| *byte == 0)
}

#[test]
fn what_waits_for_its_data_never_reaches_the_lun_that_took_its_number() {
    for between in [true, false] {
        let lab = Lab::new();
        let (old, new) = (unit(), unit());
        lab.set(HOST_A, &[(1, &old, ReadWrite)]);
        let mut raw = lab.login(HOST_A);
        let write = waiting(&mut raw, 1, SIMPLE);
        if between {
            lab.set(HOST_A, &[]);
        }
        lab.set(HOST_A, &[(1, &new, ReadWrite)]);
        raw.clear_attentions();
        assert_eq!(send(&mut raw, write, 0xaa).sense, NOTHING_THERE, "with nothing between: {}", !between);
        assert!(is_untouched(&old) && is_untouched(&new));
        assert!(raw.write(1, 0, &[0xbb; BLOCK]).is_good());
        assert_eq!(new.contents()[..BLOCK], [0xbb; BLOCK]);
    }
}

#[test]
fn what_was_sent_to_a_number_without_a_unit_never_reaches_what_comes_there() {
    let lab = Lab::new();
    let (old, new) = (unit(), unit());
    lab.set(HOST_A, &[(1, &old, ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    lab.set(HOST_A, &[]);
    raw.report_luns();
    let writes = [waiting(&mut raw, 1, SIMPLE), waiting(&mut raw, 1, SIMPLE)];
    assert!(lab.target.number_is_forgotten(HOST_A, 1));
    lab.set(HOST_A, &[(1, &new, ReadWrite)]);
    let senses = writes.map(|write| send(&mut raw, write, 0xaa).sense);
    assert_eq!((senses, is_untouched(&new)), ([NOTHING_THERE; 2], true));
    raw.clear_attentions();
    assert!(raw.write(1, 0, &[0xbb; BLOCK]).is_good());
}

/// Between, another host had the LUN.
#[test]
fn what_waited_before_a_takeover_changes_nothing_after_it() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(1, &unit, ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    let write = waiting(&mut raw, 1, SIMPLE);
    lab.set(HOST_A, &[]);
    lab.set(HOST_B, &[(1, &unit, ReadWrite)]);
    assert!(lab.login(HOST_B).write(1, 0, &[0xbb; BLOCK]).is_good());
    lab.set(HOST_A, &[(1, &unit, ReadWrite)]);
    raw.clear_attentions();
    assert_eq!(send(&mut raw, write, 0xaa).sense, NOTHING_THERE);
    assert_eq!(unit.contents()[..BLOCK], [0xbb; BLOCK]);
}

#[test]
fn what_waited_while_a_lun_was_made_read_only_changes_nothing_later() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(1, &unit, ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    let write = waiting(&mut raw, 1, SIMPLE);
    lab.set(HOST_A, &[(1, &unit, ReadOnly)]);
    lab.set(HOST_A, &[(1, &unit, ReadWrite)]);
    raw.clear_attentions();
    assert_eq!(send(&mut raw, write, 0xaa).sense, CLEARED);
    assert!(is_untouched(&unit));
}

#[test]
fn what_waits_at_a_lun_that_stays_as_it_is_goes_on() {
    let lab = Lab::new();
    let (unit, other) = (unit(), unit());
    lab.set(HOST_A, &[(1, &unit, ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    let write = waiting(&mut raw, 1, SIMPLE);
    lab.set(HOST_A, &[(1, &unit, ReadWrite), (2, &other, ReadWrite)]);
    raw.clear_attentions();
    assert!(send(&mut raw, write, 0xaa).is_good());
    assert_eq!(unit.contents()[..BLOCK], [0xaa; BLOCK]);
}

fn one_lun() -> (Lab, Arc<MemoryUnit>, Raw) {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(1, &unit, ReadWrite)]);
    let raw = lab.login(HOST_A);
    (lab, unit, raw)
}

fn start_read(raw: &mut Raw) -> u32 {
    raw.start(1, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], None, BLOCK as u32)
}

#[test]
fn an_ordered_command_does_not_pass_an_older_one_that_waits_for_its_data() {
    let (_lab, unit, mut raw) = one_lun();
    let first = waiting(&mut raw, 1, SIMPLE);
    raw.attribute = ORDERED;
    let second = raw.start_write(1, 0, &[0xbb; BLOCK]);
    raw.attribute = SIMPLE;
    let third = start_read(&mut raw);
    raw.ping();
    assert!(!raw.has_finished(second) && !raw.has_finished(third) && is_untouched(&unit));
    assert!(send(&mut raw, first, 0xaa).is_good());
    assert!(raw.finish(second).is_good());
    assert_eq!(raw.finish(third).data, [0xbb; BLOCK]);
    assert_eq!(unit.contents()[..BLOCK], [0xbb; BLOCK]);
}

#[test]
fn nothing_but_the_head_of_the_queue_passes_an_ordered_command_that_waits_for_its_data() {
    let (_lab, _unit, mut raw) = one_lun();
    let ordered = waiting(&mut raw, 1, ORDERED);
    let simple = start_read(&mut raw);
    raw.attribute = HEAD_OF_QUEUE;
    let head = start_read(&mut raw);
    raw.attribute = SIMPLE;
    assert_eq!(raw.finish(head).data, [0; BLOCK]);
    assert!(!raw.has_finished(simple));
    assert!(send(&mut raw, ordered, 0xaa).is_good());
    assert_eq!(raw.finish(simple).data, [0xaa; BLOCK]);
}

#[test]
fn what_an_ordered_command_keeps_waiting_goes_on_when_that_is_aborted() {
    let (_lab, _unit, mut raw) = one_lun();
    let (ordered, _) = waiting(&mut raw, 1, ORDERED);
    let simple = start_read(&mut raw);
    assert_eq!(raw.manage(task_function::ABORT_TASK, 1, ordered), task_response::COMPLETE);
    assert!(raw.finish(simple).is_good());

    let (simple, _) = waiting(&mut raw, 1, SIMPLE);
    raw.attribute = ORDERED;
    let ordered = start_read(&mut raw);
    assert_eq!(raw.manage(task_function::ABORT_TASK, 1, simple), task_response::COMPLETE);
    assert!(raw.finish(ordered).is_good());
}

/// LUN 0 answers whether something is there or not: its first unit is no reason not to.
#[test]
fn who_waits_to_be_told_the_luns_is_told_them_when_the_first_comes_to_number_0() {
    let (lab, unit, mut raw) = one_lun();
    let new = self::unit();
    let first = waiting(&mut raw, 1, ORDERED);
    let mut report = [0; 12];
    (report[0], report[8]) = (0xa0, 1);
    let told = raw.start(0, &report, None, 256);
    raw.ping();
    lab.set(HOST_A, &[(0, &new, ReadWrite), (1, &unit, ReadWrite)]);
    // Whatever becomes of that, it is told of the change.
    send(&mut raw, first, 0xaa);
    assert!(raw.finish(told).is_good());
}
