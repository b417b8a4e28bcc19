//! Changes of reservations that take their time to be kept, while others wait for them.

use crate::lab::{HOST_A, HOST_B, Lab, TARGET, eventually, unit};
use crate::raw::{Done, Raw};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;
use umbra_iscsi::pdu::request::task_function;
use umbra_iscsi::pdu::response::task_response;
use umbra_target::{Access, Keeper, TargetConfig};

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const PREEMPT_AND_ABORT: u8 = 5;
const WRITE_EXCLUSIVE: u8 = 1;
const KEY: u8 = 7;

/// Keeps nothing, and takes its time about it while it is told to.
#[derive(Default)]
struct SlowKeeper {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    hold: bool,
    inside: bool,
}

impl SlowKeeper {
    fn hold(&self, hold: bool) {
        self.held.lock().unwrap().hold = hold;
        self.changed.notify_all();
    }

    fn is_inside(&self) -> bool {
        self.held.lock().unwrap().inside
    }
}

impl Keeper for SlowKeeper {
    fn save_reservations(&self, _unit: [u8; 16], _bytes: Option<&[u8]>) -> umbra_base::Result<()> {
        let mut held = self.held.lock().unwrap();
        held.inside = true;
        // Not for ever: a test that fails must still end.
        held = self.changed.wait_timeout_while(held, Duration::from_secs(30), |held| held.hold).unwrap().0;
        held.inside = false;
        Ok(())
    }

    fn reservations(&self, _unit: [u8; 16]) -> umbra_base::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// PERSISTENT RESERVE OUT with our key, kept beyond power loss.
fn reserve_out(action: u8, key: u8, second: u8) -> ([u8; 10], [u8; 24]) {
    let mut list = [0; 24];
    (list[7], list[15], list[20]) = (key, second, u8::from(action == REGISTER));
    ([0x5f, action, WRITE_EXCLUSIVE, 0, 0, 0, 0, 0, 24, 0], list)
}

fn run(raw: &mut Raw, action: u8, key: u8, second: u8) -> Done {
    let (cdb, list) = reserve_out(action, key, second);
    raw.run(0, &cdb, Some(&list), 0)
}

#[test]
fn a_holder_that_preempts_itself_and_aborts_that_meanwhile_is_answered() {
    let keeper = Arc::new(SlowKeeper::default());
    let lab = Lab::keeping(TargetConfig::new(TARGET), keeper.clone());
    lab.set(HOST_A, &[(0, &unit(), Access::ReadWrite)]);
    let mut holder = lab.login(HOST_A);
    assert!(run(&mut holder, REGISTER, 0, KEY).is_good());
    assert!(run(&mut holder, RESERVE, KEY, 0).is_good());
    keeper.hold(true);
    let (cdb, list) = reserve_out(PREEMPT_AND_ABORT, KEY, KEY);
    holder.start(0, &cdb, Some(&list), 0);
    eventually("its change is being kept", || keeper.is_inside());
    holder.start_management(task_function::ABORT_TASK_SET, 0, 0);
    holder.ping();
    keeper.hold(false);
    assert_eq!(holder.managed(), task_response::COMPLETE);
    assert!(holder.test_unit_ready(0).is_good());
    lab.target.drop_sessions(HOST_A);
}

#[test]
fn a_reset_while_another_host_loses_the_unit_is_answered() {
    let keeper = Arc::new(SlowKeeper::default());
    let lab = Lab::keeping(TargetConfig { shards: 1, ..TargetConfig::new(TARGET) }, keeper.clone());
    let (unit, elsewhere) = (unit(), Lab::new());
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    lab.set(HOST_B, &[(0, &unit, Access::ReadWrite)]);
    let (mut loser, mut other) = (lab.login(HOST_A), lab.login(HOST_B));
    assert!(run(&mut loser, REGISTER, 0, KEY).is_good());
    keeper.hold(true);
    thread::scope(|scope| {
        let change = scope.spawn(|| lab.set(HOST_A, &[]));
        eventually("the end of the registration is being kept", || keeper.is_inside());
        other.start_management(task_function::LOGICAL_UNIT_RESET, 0, 0);
        elsewhere.login(HOST_B).give_others_time();
        keeper.hold(false);
        assert_eq!(other.managed(), task_response::COMPLETE);
        change.join().unwrap();
    });
}

/// The shard waits for the keeper, and its sessions hear of nothing meanwhile.
#[test]
fn a_number_is_not_forgotten_before_its_sessions_heard_that_it_went() {
    let keeper = Arc::new(SlowKeeper::default());
    let lab = Lab::keeping(TargetConfig { shards: 1, ..TargetConfig::new(TARGET) }, keeper.clone());
    let (reserved, lost, elsewhere) = (unit(), unit(), Lab::new());
    lab.set(HOST_A, &[(1, &lost, Access::ReadWrite)]);
    lab.set(HOST_B, &[(0, &reserved, Access::ReadWrite)]);
    let (mut loser, mut b, mut other) = (lab.login(HOST_A), lab.login(HOST_B), lab.login(HOST_B));
    let mut stranger = elsewhere.login(HOST_B);
    keeper.hold(true);
    let (cdb, list) = reserve_out(REGISTER, 0, KEY);
    b.start(0, &cdb, Some(&list), 0);
    eventually("its change is being kept", || keeper.is_inside());
    other.start_management(task_function::LOGICAL_UNIT_RESET, 0, 0);
    stranger.give_others_time();
    let is_forgotten = || lab.target.number_is_forgotten(HOST_A, 1);
    thread::scope(|scope| {
        let mask = scope.spawn(|| lab.set(HOST_A, &[]));
        stranger.give_others_time();
        assert!(!is_forgotten() && !mask.is_finished());
        keeper.hold(false);
        mask.join().unwrap();
    });
    assert!(!is_forgotten(), "its session has not asked what is there");
    loser.report_luns();
    assert!(is_forgotten());
}
