//! Reservations between hosts: who may write, what a preemption does to others, what outlives whom (SPC-4 section 5.13).

use crate::lab::{HOST_A, HOST_B, Lab, entry, eventually, unit};
use crate::raw::{Done, Raw};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use umbra_base::Result;
use umbra_target::limits::{CALLS_PER_SESSION, CHANGERS};
use umbra_target::{Access, Keeper, LunIdentity, TargetConfig};

const CONFLICT: u8 = 0x18;
const WRITE_EXCLUSIVE: u8 = 1;
const EXCLUSIVE_ACCESS: u8 = 3;

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;

const RESERVATIONS_PREEMPTED: [u8; 3] = [6, 0x2a, 0x03];
const REGISTRATIONS_PREEMPTED: [u8; 3] = [6, 0x2a, 0x05];

/// PERSISTENT RESERVE OUT; `key` is that of the caller, `other` the action's.
fn reserve_out(raw: &mut Raw, action: u8, kind: u8, (key, other): (u64, u64), aptpl: bool) -> Done {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&other.to_be_bytes());
    list[20] = u8::from(aptpl);
    raw.run(0, &[0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], Some(&list), 0)
}

fn register(raw: &mut Raw, key: u64) {
    assert!(reserve_out(raw, REGISTER, 0, (0, key), false).is_good());
}

fn keys(raw: &mut Raw) -> Vec<u64> {
    let done = raw.run(0, &[0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0], None, 256);
    assert!(done.is_good(), "{done:?}");
    let mut keys: Vec<u64> =
        done.data[8..].chunks_exact(8).map(|key| u64::from_be_bytes(key.try_into().unwrap())).collect();
    keys.sort_unstable();
    keys
}

/// A lab with one unit that both hosts see as LUN 0.
fn shared() -> (Lab, Arc<crate::memory::MemoryUnit>) {
    let (lab, unit) = (Lab::new(), unit());
    for host in [HOST_A, HOST_B] {
        lab.set(host, &[(0, &unit, Access::ReadWrite)]);
    }
    (lab, unit)
}

#[test]
fn a_reserved_unit_takes_writes_of_its_holder_only() {
    let (lab, _unit) = shared();
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    register(&mut a, 0xa);
    assert!(reserve_out(&mut a, RESERVE, WRITE_EXCLUSIVE, (0xa, 0), false).is_good());
    assert!(a.write(0, 0, &[1; 512]).is_good());
    assert_eq!(b.write(0, 0, &[2; 512]).status, CONFLICT);
    assert!(b.read(0, 0, 1).is_good());
    assert!(reserve_out(&mut a, RELEASE, WRITE_EXCLUSIVE, (0xa, 0), false).is_good());
    assert!(reserve_out(&mut a, RESERVE, EXCLUSIVE_ACCESS, (0xa, 0), false).is_good());
    assert_eq!(b.read(0, 0, 1).status, CONFLICT);
    assert_eq!(a.read(0, 0, 1).data, [1; 512]);
}

#[test]
fn a_host_that_is_preempted_is_told_and_writes_no_more() {
    let (lab, _unit) = shared();
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    register(&mut a, 0xa);
    assert!(reserve_out(&mut a, RESERVE, WRITE_EXCLUSIVE, (0xa, 0), false).is_good());
    register(&mut b, 0xb);
    assert_eq!(keys(&mut b), [0xa, 0xb]);
    assert!(reserve_out(&mut b, PREEMPT, WRITE_EXCLUSIVE, (0xb, 0xa), false).is_good());
    assert_eq!(keys(&mut b), [0xb]);
    let told = a.test_unit_ready(0).sense;
    assert!([RESERVATIONS_PREEMPTED, REGISTRATIONS_PREEMPTED].contains(&told), "{told:x?}");
    assert_eq!(a.write(0, 0, &[1; 512]).status, CONFLICT);
    assert!(b.write(0, 0, &[2; 512]).is_good());
}

/// Starts a PREEMPT AND ABORT; `key` is that of the caller, `other` the one that is preempted.
fn start_preemption(raw: &mut Raw, (key, other): (u8, u8)) -> u32 {
    let mut list = [0; 24];
    (list[7], list[15]) = (key, other);
    raw.start(0, &[0x5f, PREEMPT_AND_ABORT, WRITE_EXCLUSIVE, 0, 0, 0, 0, 0, 24, 0], Some(&list), 0)
}

/// EXTENDED COPY (LID1) to LUN 1, its source: two segments of a block each, to the first two of `to` (SPC-4 section 6.4).
fn start_copy(raw: &mut Raw, from: &LunIdentity, to: &LunIdentity) -> u32 {
    let mut list = vec![0; 16];
    (list[3], list[11]) = (2 * 32, 2 * 28);
    for identity in [from, to] {
        // Identification descriptor: NAA, binary, of the logical unit; then blocks of 512 bytes.
        let mut target = [0; 32];
        target[..8].copy_from_slice(&[0xe4, 0, 0, 0, 1, 3, 0, 8]);
        target[8..16].copy_from_slice(&identity.naa.to_be_bytes());
        target[30] = 2;
        list.extend(target);
    }
    for block in 0..2 {
        // Block to block: descriptor 0 to descriptor 1.
        let mut segment = [0; 28];
        (segment[0], segment[3], segment[7], segment[11]) = (2, 24, 1, 1);
        (segment[19], segment[27]) = (block, block);
        list.extend(segment);
    }
    let mut cdb = [0; 16];
    (cdb[0], cdb[13]) = (0x83, list.len() as u8);
    raw.start(1, &cdb, Some(&list), 0)
}

#[test]
fn a_preemption_with_abort_waits_for_the_others_copies_into_the_unit_and_ends_them() {
    let (lab, destination, source) = (Lab::new(), unit(), unit());
    lab.set(HOST_A, &[(0, &destination, Access::ReadWrite), (1, &source, Access::ReadWrite)]);
    lab.set(HOST_B, &[(0, &destination, Access::ReadWrite)]);
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    assert!(a.write(1, 0, &[0xcc; 1024]).is_good());
    register(&mut a, 0xa);
    register(&mut b, 0xb);
    assert!(reserve_out(&mut a, RESERVE, WRITE_EXCLUSIVE, (0xa, 0), false).is_good());
    destination.hold_writes();
    let identity = |unit| entry(0, unit, Access::ReadWrite).identity;
    let copy = start_copy(&mut a, &identity(&source), &identity(&destination));
    destination.wait_for_held(1);
    let preemption = start_preemption(&mut b, (0xb, 0xa));
    b.give_others_time();
    assert!(!b.has_finished(preemption), "answered while a copy of the preempted host is inside the unit");
    destination.release_writes();
    assert!(b.finish(preemption).is_good());
    let at_answer = destination.contents();
    assert!(at_answer[..512] == [0xcc; 512] && at_answer[512..1024] == [0; 512]);
    assert_ne!(a.finish(copy).status, 0, "its second segment would be written after the answer");
    assert!(destination.contents() == at_answer);
}

#[test]
fn a_preemption_with_abort_is_answered_when_the_other_hosts_writes_are_over() {
    let (lab, unit) = shared();
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    register(&mut a, 0xa);
    assert!(reserve_out(&mut a, RESERVE, WRITE_EXCLUSIVE, (0xa, 0), false).is_good());
    register(&mut b, 0xb);
    unit.hold_writes();
    a.start_write(0, 0, &[0xaa; 512]);
    unit.wait_for_held(1);
    let preemption = start_preemption(&mut b, (0xb, 0xa));
    b.give_others_time();
    assert!(!b.has_finished(preemption));
    unit.release_writes();
    assert!(b.finish(preemption).is_good());
    assert_eq!(unit.contents()[..512], [0xaa; 512], "it had done its work when the preemption was answered");
    assert_eq!(a.test_unit_ready(0).sense[0], 6, "the aborted write has no status; what comes first is this");
}

/// Its write waits for a thread: not even begun, it would otherwise land after the answer.
#[test]
fn a_preemption_with_abort_reaches_a_host_that_is_losing_the_unit() {
    let (lab, preempted, busy) = (Lab::new(), unit(), unit());
    lab.set(HOST_A, &[(0, &preempted, Access::ReadWrite), (1, &busy, Access::ReadWrite)]);
    lab.set(HOST_B, &[(0, &preempted, Access::ReadWrite)]);
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    register(&mut a, 0xa);
    register(&mut b, 0xb);
    assert!(reserve_out(&mut a, RESERVE, WRITE_EXCLUSIVE, (0xa, 0), false).is_good());
    busy.hold_writes();
    let mut sessions: Vec<Raw> = (0..CHANGERS / CALLS_PER_SESSION).map(|_| lab.login(HOST_A)).collect();
    for raw in &mut sessions {
        for lba in 0..CALLS_PER_SESSION as u8 {
            raw.start_write(1, lba, &[1; 512]);
        }
    }
    busy.wait_for_held(CHANGERS);
    a.start_write(0, 0, &[0xaa; 512]);
    a.ping();
    std::thread::scope(|scope| {
        let mask = scope.spawn(|| lab.set(HOST_A, &[(1, &busy, Access::ReadWrite)]));
        eventually("the unit has gone from the view", || a.report_luns() == [1]);
        let preemption = start_preemption(&mut b, (0xb, 0xa));
        b.give_others_time();
        let answered = b.has_finished(preemption);
        let at_answer = preempted.contents();
        busy.release_writes();
        assert!(b.finish(preemption).is_good());
        mask.join().unwrap();
        preempted.wait_until_idle();
        assert!(!answered || at_answer == preempted.contents(), "a write landed after the answer");
    });
}

#[test]
fn what_reserve_took_is_free_when_its_session_ends() {
    let (lab, _unit) = shared();
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    assert!(a.run(0, &[0x16, 0, 0, 0, 0, 0], None, 0).is_good());
    assert_eq!(b.write(0, 0, &[2; 512]).status, CONFLICT);
    a.logout();
    a.expect_closed();
    assert!(b.write(0, 0, &[2; 512]).is_good());
}

#[test]
fn the_end_of_a_discovery_session_frees_nothing_of_a_normal_one_of_the_same_name() {
    let (lab, _unit) = shared();
    let (mut a, mut b) = (lab.login(HOST_A), lab.login(HOST_B));
    assert!(a.run(0, &[0x16, 0, 0, 0, 0, 0], None, 0).is_good());
    let mut discovery = Raw::connect(lab.addr);
    discovery.isid = a.isid;
    let keys = [("InitiatorName", HOST_A), ("SessionType", "Discovery")];
    assert_eq!(discovery.login_step(1, Some(3), &keys).0.status, 0);
    discovery.logout();
    discovery.expect_closed();
    assert_eq!(b.write(0, 0, &[2; 512]).status, CONFLICT);
}

/// What a target keeps, for the next one.
#[derive(Default)]
struct Kept(Mutex<HashMap<[u8; 16], Vec<u8>>>);

impl Keeper for Kept {
    fn save_reservations(&self, unit: [u8; 16], bytes: Option<&[u8]>) -> Result<()> {
        let mut kept = self.0.lock().unwrap();
        match bytes {
            Some(bytes) => drop(kept.insert(unit, bytes.to_vec())),
            None => drop(kept.remove(&unit)),
        }
        Ok(())
    }

    fn reservations(&self, unit: [u8; 16]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(&unit).cloned())
    }
}

/// What another host finds after a restart: the registered keys, and the status of its write.
fn after_a_restart(aptpl: bool) -> (Vec<u64>, u8) {
    let (kept, unit) = (Arc::new(Kept::default()), unit());
    let start = || {
        let lab = Lab::keeping(TargetConfig::new(crate::lab::TARGET), kept.clone());
        for host in [HOST_A, HOST_B] {
            lab.set(host, &[(0, &unit, Access::ReadWrite)]);
        }
        lab
    };
    let lab = start();
    let mut a = lab.login(HOST_A);
    assert!(reserve_out(&mut a, REGISTER, 0, (0, 0xa), aptpl).is_good());
    assert!(reserve_out(&mut a, RESERVE, WRITE_EXCLUSIVE, (0xa, 0), false).is_good());
    drop(lab);
    let lab = start();
    let mut b = lab.login(HOST_B);
    (keys(&mut b), b.write(0, 0, &[2; 512]).status)
}

#[test]
fn a_reservation_that_persists_through_power_loss_is_there_after_a_restart_and_no_other_is() {
    assert_eq!(after_a_restart(true), (vec![0xa], CONFLICT));
    assert_eq!(after_a_restart(false), (vec![], 0));
}

#[test]
fn a_target_that_can_keep_nothing_refuses_to_promise_it() {
    let (lab, _unit) = shared();
    let mut a = lab.login(HOST_A);
    assert!(!reserve_out(&mut a, REGISTER, 0, (0, 0xa), true).is_good());
    assert!(keys(&mut a).is_empty());
}
