//! Thresholds of thin provisioning (SBC-3 section 4.7.3, design A5): set by one session, told to all, counted in a log page.

use crate::lab::{HOST_A, HOST_B, Lab, eventually, unit};
use crate::memory::MemoryUnit;
use crate::raw::Raw;
use std::sync::Arc;
use umbra_target::{Access, Space};

const MIB: u64 = 1 << 20;
const REACHED: [u8; 3] = [6, 0x38, 0x07];
const MODE_CHANGED: [u8; 3] = [6, 0x2a, 0x01];
/// Where the descriptors stand in a parameter list: behind its header, in the page.
const AVAILABLE: usize = 4 + 16;
const USED: usize = 4 + 24;

/// The current page, as a list for MODE SELECT.
fn page(raw: &mut Raw, lun: u16) -> Vec<u8> {
    let mut list = raw.run(lun, &[0x1a, 0x08, 0x1c, 0x02, 255, 0], None, 255).data;
    list[..4].fill(0);
    list
}

/// Sets one threshold, in MiB, or switches it off.
fn set(raw: &mut Raw, lun: u16, descriptor: usize, at: Option<u32>) {
    let mut list = page(raw, lun);
    list[descriptor] = list[descriptor] & 0x7f | if at.is_some() { 0x80 } else { 0 };
    list[descriptor + 4..descriptor + 8].copy_from_slice(&at.unwrap_or(0).to_be_bytes());
    let select = [0x15, 0x10, 0, 0, list.len() as u8, 0];
    assert!(raw.run(lun, &select, Some(&list), 0).is_good());
}

fn space(available: u64, used: u64) -> Option<Space> {
    Some(Space { available: available * MIB, used: used * MIB })
}

/// Returns when the target has looked at the space of now, and told what it saw: the next look comes after that.
fn looked_at(unit: &MemoryUnit) {
    let before = unit.looks();
    eventually("another look", || unit.looks() >= before + 2);
}

fn told(raw: &mut Raw, lun: u16) {
    eventually("the attention", || {
        let done = raw.test_unit_ready(lun);
        assert!(done.is_good() || done.sense == REACHED, "{done:?}");
        !done.is_good()
    });
}

/// One unit with much space, seen by two hosts.
fn lab() -> (Lab, Arc<MemoryUnit>, Raw, Raw) {
    let (lab, unit) = (Lab::new(), unit());
    unit.set_space(space(1000, 10));
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    lab.set(HOST_B, &[(4, &unit, Access::ReadWrite)]);
    let (a, b) = (lab.login(HOST_A), lab.login(HOST_B));
    (lab, unit, a, b)
}

#[test]
fn a_threshold_is_told_once_to_every_session_when_the_space_falls_to_it() {
    let (_lab, unit, mut a, mut b) = lab();
    set(&mut a, 0, AVAILABLE, Some(100));
    assert_eq!(b.test_unit_ready(4).sense, MODE_CHANGED);
    looked_at(&unit);
    assert!(a.test_unit_ready(0).is_good() && b.test_unit_ready(4).is_good(), "it is not reached");
    unit.set_space(space(50, 960));
    told(&mut a, 0);
    told(&mut b, 4);
    looked_at(&unit);
    assert!(a.test_unit_ready(0).is_good() && b.test_unit_ready(4).is_good(), "told once");
    // It is armed again when the space has come back.
    unit.set_space(space(500, 510));
    looked_at(&unit);
    unit.set_space(space(50, 960));
    told(&mut a, 0);
    told(&mut b, 4);
}

/// Who sets one that is reached already hears of it, whatever was told of the one before.
#[test]
fn a_threshold_that_is_set_anew_is_told_anew() {
    let (_lab, unit, mut a, mut b) = lab();
    unit.set_space(space(50, 960));
    set(&mut a, 0, USED, Some(900));
    assert_eq!(b.test_unit_ready(4).sense, MODE_CHANGED);
    told(&mut a, 0);
    told(&mut b, 4);
    set(&mut a, 0, USED, Some(950));
    assert_eq!(b.test_unit_ready(4).sense, MODE_CHANGED);
    told(&mut a, 0);
    told(&mut b, 4);
    set(&mut a, 0, USED, None);
    assert_eq!(b.test_unit_ready(4).sense, MODE_CHANGED);
    // Nobody looks where no threshold is set: another one makes the target look.
    unit.set_space(space(0, 1010));
    set(&mut b, 4, AVAILABLE, Some(100));
    assert_eq!(a.test_unit_ready(0).sense, MODE_CHANGED);
    told(&mut a, 0);
    looked_at(&unit);
    assert!(a.test_unit_ready(0).is_good(), "the one that is off says nothing");
}

#[test]
fn all_sessions_are_told_and_the_page_says_that_this_cannot_be_changed() {
    let (_lab, _unit, mut a, _b) = lab();
    let mut list = page(&mut a, 0);
    assert_eq!(list[8] & 1, 0, "SITUA");
    list[8] |= 1;
    assert_eq!(a.run(0, &[0x15, 0x10, 0, 0, list.len() as u8, 0], Some(&list), 0).sense, [5, 0x26, 0]);
    let changeable = a.run(0, &[0x1a, 0x08, 0x40 | 0x1c, 0x02, 255, 0], None, 255).data;
    assert_eq!(changeable[8], 0);
}

#[test]
fn the_log_page_counts_the_space_of_now_in_threshold_sets() {
    let lab = Lab::new();
    let (counted, unknown) = (unit(), unit());
    counted.set_space(space(1000, 10));
    lab.set(HOST_A, &[(0, &counted, Access::ReadWrite), (1, &unknown, Access::ReadWrite)]);
    let mut a = lab.login(HOST_A);
    let mut counts = |lun: u16| {
        let page = a.run(lun, &[0x4d, 0, 0x40 | 0x0c, 0, 0, 0, 0, 0, 255, 0], None, 255).data;
        assert_eq!(page[..4], [0x0c, 0, 0, 24]);
        let parameter = |at: usize| {
            let count = u32::from_be_bytes(page[at + 4..at + 8].try_into().unwrap());
            (page[at + 1], count, page[at + 8])
        };
        [parameter(4), parameter(16)]
    };
    // Parameter, count, scope: what is available is shared with other units, what is used is not.
    assert_eq!(counts(0), [(1, 1000, 2), (2, 10, 1)]);
    counted.set_space(Some(Space { available: 3 * MIB - 1, used: 3 * MIB }));
    assert_eq!(counts(0), [(1, 2, 2), (2, 3, 1)], "whole sets");
    assert_eq!(counts(1), [(1, u32::MAX, 2), (2, 0, 1)], "a unit that does not know");
}
