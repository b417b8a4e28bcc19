//! What a session sees of its view, and how it is told of changes (design A1).

use crate::lab::{HOST_A, HOST_B, Lab, unit};
use crate::raw::Raw;
use umbra_target::Access;

const POWER_ON: [u8; 3] = [6, 0x29, 0];
const LUNS_CHANGED: [u8; 3] = [6, 0x3f, 0x0e];
const INQUIRY_CHANGED: [u8; 3] = [6, 0x3f, 0x03];
const MODE_CHANGED: [u8; 3] = [6, 0x2a, 0x01];
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
    crate::lab::eventually("the end of the second session", || lab.target.number_is_forgotten(HOST_A, 1));
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
