//! What a session sees of its view, and how it is told of changes (design A1).

use crate::lab::{HOST_A, HOST_B, Lab, entry_named, eventually, unit};
use crate::memory::MemoryUnit;
use crate::raw::Raw;
use std::sync::Arc;
use std::thread;
use umbra_target::Access;

const POWER_ON: [u8; 3] = [6, 0x29, 0];
const LUNS_CHANGED: [u8; 3] = [6, 0x3f, 0x0e];
const INQUIRY_CHANGED: [u8; 3] = [6, 0x3f, 0x03];
const MODE_CHANGED: [u8; 3] = [6, 0x2a, 0x01];
const CAPACITY_CHANGED: [u8; 3] = [6, 0x2a, 0x09];
const NOT_SUPPORTED: [u8; 3] = [5, 0x25, 0];

fn inquiry(raw: &mut Raw, lun: u16) -> u8 {
    raw.run(lun, &[0x12, 0, 0, 0, 96, 0], None, 96).data[0]
}

#[test]
fn a_host_sees_its_own_luns_and_nothing_else() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(1, &unit, Access::ReadWrite)]);
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    assert_eq!((a.report_luns(), b.report_luns()), (vec![1], vec![]));
    assert!(a.write(1, 0, &[7; 512]).is_good());
    assert_eq!(a.read(1, 0, 1).data, [7; 512]);
    assert_eq!((inquiry(&mut a, 1), inquiry(&mut b, 1)), (0x00, 0x7f));
    assert_eq!(b.read(1, 0, 1).sense, NOT_SUPPORTED);
    assert_eq!(b.write(1, 0, &[9; 512]).sense, NOT_SUPPORTED);
    assert_eq!(a.read(1, 0, 1).data, [7; 512]);
    // LUN 0 always answers, also where there is none.
    assert_eq!((inquiry(&mut b, 0), b.test_unit_ready(0).sense), (0x3f, NOT_SUPPORTED));
}

#[test]
fn unknown_initiators_do_not_get_in() {
    let lab = Lab::new();
    assert_eq!(Raw::connect(lab.addr).try_login("iqn.2026-01.test:stranger", &[]), 0x0202);
    assert!(lab.target.sessions().is_empty());
    lab.forget(HOST_A);
    assert_eq!(Raw::connect(lab.addr).try_login(HOST_A, &[]), 0x0202);
}

#[test]
fn a_new_session_is_told_once_of_power_on() {
    let lab = Lab::new();
    lab.set(HOST_A, &[(0, &unit(), Access::ReadWrite)]);
    let mut raw = Raw::connect(lab.addr);
    raw.login(HOST_A, &[]);
    assert_eq!(raw.test_unit_ready(0).sense, POWER_ON);
    assert!(raw.test_unit_ready(0).is_good());
}

#[test]
fn changes_of_the_view_arrive_as_unit_attentions() {
    let lab = Lab::new();
    let (one, two) = (unit(), unit());
    lab.set(HOST_A, &[(0, &one, Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    lab.set(HOST_A, &[(0, &one, Access::ReadWrite)]);
    assert!(raw.test_unit_ready(0).is_good(), "nothing changed");
    lab.set(HOST_A, &[(0, &one, Access::ReadWrite), (1, &two, Access::ReadWrite)]);
    assert_eq!(raw.test_unit_ready(0).sense, LUNS_CHANGED);
    assert_eq!(raw.test_unit_ready(1).sense, LUNS_CHANGED);
    lab.set(HOST_A, &[(0, &one, Access::ReadOnly), (1, &two, Access::ReadWrite)]);
    assert_eq!(raw.test_unit_ready(0).sense, MODE_CHANGED);
    assert!(raw.test_unit_ready(1).is_good());
    assert_eq!(raw.write(0, 0, &[1; 512]).sense, [7, 0x27, 0]);
    let mode = raw.run(0, &[0x1a, 0x08, 0x3f, 0, 255, 0], None, 255);
    assert_eq!(mode.data[2] & 0x80, 0x80, "WP");
    lab.set(HOST_A, &[(0, &two, Access::ReadWrite)]);
    assert_eq!(raw.test_unit_ready(0).sense, INQUIRY_CHANGED);
    assert_eq!(raw.report_luns(), [0]);
    assert!(raw.test_unit_ready(0).is_good(), "REPORT LUNS told the rest");
}

/// LUN 0 is where it hears of the first, wherever that is, and of the loss of the last.
#[test]
fn a_host_without_luns_is_told_of_its_first_and_of_the_loss_of_its_last() {
    for number in [0, 5] {
        let lab = Lab::new();
        let unit = unit();
        let (mut raw, mut other) = (lab.login(HOST_A), lab.login(HOST_B));
        assert_eq!(raw.test_unit_ready(0).sense, NOT_SUPPORTED, "nothing has changed");
        lab.set(HOST_A, &[(number, &unit, Access::ReadWrite)]);
        assert_eq!(
            inquiry(&mut raw, 0),
            if number == 0 { 0 } else { 0x3f },
            "INQUIRY tells and takes nothing"
        );
        assert_eq!(raw.test_unit_ready(7).sense, NOT_SUPPORTED, "LUN 0 alone stands for what is not there");
        assert_eq!(raw.test_unit_ready(0).sense, LUNS_CHANGED);
        assert_ne!(raw.test_unit_ready(0).sense, LUNS_CHANGED, "it is told once");
        assert_eq!(raw.report_luns(), [number]);
        lab.set(HOST_A, &[]);
        assert_eq!(raw.test_unit_ready(0).sense, LUNS_CHANGED);
        assert_eq!(raw.test_unit_ready(0).sense, NOT_SUPPORTED);
        lab.set(HOST_A, &[(number, &unit, Access::ReadWrite)]);
        assert_eq!(raw.report_luns(), [number]);
        assert_ne!(raw.test_unit_ready(0).sense, LUNS_CHANGED, "REPORT LUNS told it");
        assert_eq!(other.test_unit_ready(0).sense, NOT_SUPPORTED, "another host's LUNs are no news");
    }
}

#[test]
fn a_number_is_forgotten_when_every_session_asked_again_or_ended() {
    let lab = Lab::new();
    let (one, two) = (unit(), unit());
    lab.set(HOST_A, &[(0, &one, Access::ReadWrite), (1, &two, Access::ReadWrite)]);
    let (mut first, second) = (lab.login(HOST_A), lab.login(HOST_A));
    assert!(!lab.target.number_is_forgotten(HOST_A, 1), "it is in use");
    lab.set(HOST_A, &[(0, &one, Access::ReadWrite)]);
    let later = lab.login(HOST_A);
    assert!(!lab.target.number_is_forgotten(HOST_A, 1));
    first.report_luns();
    assert!(!lab.target.number_is_forgotten(HOST_A, 1), "the second session has not asked");
    drop(second);
    eventually("the end of the second session", || lab.target.number_is_forgotten(HOST_A, 1));
    assert!(lab.target.number_is_forgotten("iqn.2026-01.test:nobody", 1));
    drop(later);
}

#[test]
fn mode_select_changes_what_it_may_and_tells_other_sessions() {
    let lab = Lab::new();
    lab.set(HOST_A, &[(0, &unit(), Access::ReadWrite)]);
    let (mut one, mut two) = (lab.login(HOST_A), lab.login(HOST_A));
    let mut list = one.run(0, &[0x1a, 0x08, 0x0a, 0, 255, 0], None, 255).data;
    assert_eq!(list.len(), 16);
    list[0] = 0;
    list[4 + 4] |= 0x08;
    let select = [0x15, 0x10, 0, 0, 16, 0];
    assert!(one.run(0, &select, Some(&list), 0).is_good());
    assert_eq!(two.test_unit_ready(0).sense, MODE_CHANGED);
    assert!(one.test_unit_ready(0).is_good());
    assert_eq!(one.write(0, 0, &[1; 512]).sense, [7, 0x27, 0x02], "software write protect");
    list[4 + 3] ^= 0xf0;
    assert_eq!(
        one.run(0, &select, Some(&list), 0).sense,
        [5, 0x26, 0],
        "the queue algorithm is not changeable"
    );
    list[4 + 3] ^= 0xf0;
    list[4 + 4] &= !0x08;
    assert!(one.run(0, &select, Some(&list), 0).is_good());
    assert!(one.write(0, 0, &[1; 512]).is_good());
}

/// Bytes, as READ CAPACITY (16) tells them.
fn capacity(raw: &mut Raw, lun: u16) -> u64 {
    let cdb = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    let done = raw.run(lun, &cdb, None, 32);
    assert!(done.is_good(), "{done:?}");
    (u64::from_be_bytes(done.data[..8].try_into().unwrap()) + 1) * 512
}

/// Writes the last block of two MiB.
fn write_at_the_end(raw: &mut Raw) -> bool {
    raw.run(0, &[0x2a, 0, 0, 0, 0x0f, 0xff, 0, 0, 1, 0], Some(&[0xbb; 512]), 0).is_good()
}

#[test]
fn a_disk_that_grew_is_told_once_to_each_session_and_waits_for_the_writes_at_its_old_size() {
    let lab = Lab::new();
    let small = unit();
    let large = Arc::new(small.resized(2 << 20));
    let show = |host: &str, number: u16, unit: &Arc<MemoryUnit>| {
        lab.target.set_luns(host, vec![entry_named(0x77, number, unit, Access::ReadWrite)]);
    };
    show(HOST_A, 0, &small);
    show(HOST_B, 3, &small);
    let (mut one, mut two, mut b) = (lab.login(HOST_A), lab.login(HOST_A), lab.login(HOST_B));
    assert_eq!(capacity(&mut one, 0), 1 << 20);
    small.hold_writes();
    let held = one.start_write(0, 0, &[0xaa; 512]);
    small.wait_for_held(1);
    thread::scope(|scope| {
        let change = scope.spawn(|| show(HOST_A, 0, &large));
        eventually("the attention of the second session", || {
            let done = two.test_unit_ready(0);
            assert!(done.is_good() || done.sense == CAPACITY_CHANGED, "{done:?}");
            !done.is_good()
        });
        assert_eq!(capacity(&mut two, 0), 2 << 20, "told once, and the new size is there");
        assert!(write_at_the_end(&mut two));
        two.give_others_time();
        assert!(!change.is_finished(), "a write at the old size is still inside");
        small.release_writes();
        change.join().unwrap();
    });
    assert!(one.finish(held).is_good());
    assert_eq!(one.test_unit_ready(0).sense, CAPACITY_CHANGED);
    assert_eq!(capacity(&mut one, 0), 2 << 20, "told once");
    assert_eq!(one.read(0, 0, 1).data, [0xaa; 512], "what was held when the size changed");
    assert_eq!(large.contents()[(2 << 20) - 512..], [0xbb; 512], "what was written beside it");
    assert_eq!(capacity(&mut b, 3), 1 << 20, "the view of this host has not changed");
    show(HOST_B, 3, &large);
    assert_eq!(b.test_unit_ready(3).sense, CAPACITY_CHANGED);
    assert_eq!(capacity(&mut b, 3), 2 << 20);
}
