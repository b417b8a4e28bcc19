//! The guard on real file systems: whatever dies, and whenever, they thaw. Needs root, loop devices, ext4 and XFS.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

mod lab;

use lab::{Fs, Kind, Lab, children, is_alive, is_frozen, kill, thaw_by_force, wait_until};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};
use umbra_base::{Error, ErrorCode};
use umbra_guard::{Client, Found, Launch, Prepare, Undo, recover};

const SOON: Duration = Duration::from_secs(10);
const GUARD: &str = env!("CARGO_BIN_EXE_umbra-guard");

struct Guard {
    client: Client,
    lost: mpsc::Receiver<Error>,
}

fn undo(lab: &Lab, name: &str, script: &str) -> Undo {
    let script = format!("cd {} && {script}", lab.folder().display());
    Undo { name: name.into(), argv: vec!["/bin/sh".into(), "-c".into(), script], env: vec![], limit_ms: 5000 }
}

/// A guard over the file systems, with writers `w` and `v` whose undo writes a line to a file each.
fn guard_with(lab: &Lab, mounts: &[&Fs], hold: Duration) -> Guard {
    let (sender, lost) = mpsc::channel();
    let launch = Launch { program: GUARD.into(), args: vec!["guard".into()] };
    let client = Client::spawn(&launch, Box::new(move |error| drop(sender.send(error)))).unwrap();
    let prepare = Prepare {
        set: "set-1".into(),
        runtime: lab.runtime(),
        mounts: mounts.iter().map(|fs| fs.path.clone()).collect(),
        undos: vec![undo(lab, "w", "echo w >> undone"), undo(lab, "v", "echo v >> undone")],
        hold,
    };
    let file_systems = client.prepare(&prepare, SOON).unwrap();
    assert_eq!(file_systems.len(), mounts.len());
    Guard { client, lost }
}

fn guard(lab: &Lab, mounts: &[&Fs]) -> Guard {
    guard_with(lab, mounts, SOON)
}

fn record_is_gone(lab: &Lab) -> bool {
    !lab.runtime().join("guard/set-1.rec").exists()
}

fn undone(lab: &Lab) -> String {
    std::fs::read_to_string(lab.folder().join("undone")).unwrap_or_default()
}

/// Every process of the guard: the primary, its hands, the twin last.
fn family(guard: &Guard) -> Vec<u32> {
    [guard.client.pid()].into_iter().chain(children(guard.client.pid())).collect()
}

fn assert_soon_free(lab: &Lab, mounts: &[&Fs]) {
    for fs in mounts {
        wait_until("it is thawed", || !is_frozen(&fs.path));
    }
    wait_until("the record is removed", || record_is_gone(lab));
}

#[test]
fn freeze_attest_and_thaw_of_ext4_and_xfs() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount(Kind::Ext4), lab.mount(Kind::Xfs));
    let guard = guard(&lab, &[&a, &b]);
    let family = family(&guard);
    assert_eq!(family.len(), 1 + 2 + 1);
    std::fs::write(a.path.join("x"), "before").unwrap();
    guard.client.sync(SOON).unwrap();
    guard.client.arm("w", SOON, SOON).unwrap();
    guard.client.freeze(SOON).unwrap();
    assert!(is_frozen(&a.path) && is_frozen(&b.path));
    let held = a.writer();
    guard.client.attest(SOON).unwrap();
    guard.client.attest(SOON).unwrap();
    assert!(held.try_recv().is_err(), "a write went through a frozen file system");
    let thawed = guard.client.thaw(SOON).unwrap();
    assert!(thawed.notes.is_empty(), "{thawed:?}");
    held.recv_timeout(SOON).unwrap();
    assert!(!is_frozen(&a.path) && !is_frozen(&b.path));
    assert_eq!(guard.client.thaw(SOON).unwrap(), thawed, "a thaw may be asked for again");
    guard.client.run_undo("w", SOON).unwrap();
    guard.client.run_undo("w", SOON).unwrap();
    assert_eq!(undone(&lab), "w\n", "an undo runs once, and only if it is owed");
    guard.client.finish(SOON).unwrap();
    wait_until("every process is gone", || family.iter().all(|pid| !is_alive(*pid)));
    assert!(record_is_gone(&lab));
    assert!(guard.lost.try_recv().is_err(), "an end that was asked for is no loss");
    assert_eq!(guard.client.sync(SOON).unwrap_err().code(), ErrorCode::GuardLost);
}

#[test]
fn two_mounts_of_one_file_system_are_frozen_once() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Ext4);
    let below = a.path.join("below");
    std::fs::create_dir(&below).unwrap();
    let launch = Launch { program: GUARD.into(), args: vec![] };
    let client = Client::spawn(&launch, Box::new(|_| {})).unwrap();
    let mounts = vec![a.path.clone(), below];
    let prepare = Prepare { set: "s".into(), runtime: lab.runtime(), mounts, undos: vec![], hold: SOON };
    assert_eq!(client.prepare(&prepare, SOON).unwrap().len(), 1);
    client.freeze(SOON).unwrap();
    client.attest(SOON).unwrap();
    client.thaw(SOON).unwrap();
}

#[test]
fn a_foreign_freeze_is_refused_and_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount(Kind::Ext4), lab.mount(Kind::Xfs));
    lab::freeze_by_hand(&b.path);
    let guard = guard(&lab, &[&a, &b]);
    let error = guard.client.freeze(SOON).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VolumeFrozenElsewhere);
    assert_eq!(error.params()["volume"], b.path.display().to_string());
    guard.client.thaw(SOON).unwrap();
    assert!(!is_frozen(&a.path), "ours must be thawed");
    assert!(is_frozen(&b.path), "theirs must not");
    drop(guard);
    wait_until("the guard ends", || record_is_gone(&lab));
    assert!(is_frozen(&b.path), "nor at the end");
    thaw_by_force(&b.path);
}

#[test]
fn a_foreign_thaw_in_the_window_fails_the_attestation() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount(Kind::Ext4), lab.mount(Kind::Xfs));
    let guard = guard(&lab, &[&a, &b]);
    guard.client.freeze(SOON).unwrap();
    guard.client.attest(SOON).unwrap();
    thaw_by_force(&b.path);
    let error = guard.client.attest(SOON).unwrap_err();
    assert_eq!(error.code(), ErrorCode::FreezeNotProven);
    assert_eq!(error.params()["volume"], b.path.display().to_string());
    guard.client.thaw(SOON).unwrap();
    assert!(!is_frozen(&a.path) && !is_frozen(&b.path), "the probe must not leave it frozen");
    assert_eq!(
        guard.client.attest(SOON).unwrap_err().code(),
        ErrorCode::FreezeNotProven,
        "spoiled stays spoiled"
    );
}

#[test]
fn the_hold_runs_out_by_itself() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Ext4);
    let guard = guard_with(&lab, &[&a], Duration::from_millis(300));
    guard.client.freeze(SOON).unwrap();
    let start = Instant::now();
    let lost = guard.lost.recv_timeout(SOON).unwrap();
    assert_eq!(lost.code(), ErrorCode::HoldWritesTimeout);
    assert!(start.elapsed() >= Duration::from_millis(200), "too early: {:?}", start.elapsed());
    wait_until("it is thawed", || !is_frozen(&a.path));
    assert_eq!(guard.client.attest(SOON).unwrap_err().code(), ErrorCode::HoldWritesTimeout);
}

#[test]
fn a_writer_is_released_when_its_time_is_over() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Ext4);
    let guard = guard(&lab, &[&a]);
    let twin = *family(&guard).last().unwrap();
    lab::stop(twin); // It would do the same a second later.
    guard.client.arm("v", Duration::from_millis(300), SOON).unwrap();
    // On a slow machine the time is over before the freeze is done.
    let lost = match guard.client.freeze(SOON) {
        Ok(()) => guard.lost.recv_timeout(SOON).unwrap(),
        Err(lost) => lost,
    };
    assert_eq!(lost.code(), ErrorCode::WriterTimeout);
    wait_until("the undo ran", || undone(&lab) == "v\n");
    lab::resume(twin);
    wait_until("it is thawed", || !is_frozen(&a.path));
}

#[test]
fn when_the_client_goes_everything_is_undone() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount(Kind::Ext4), lab.mount(Kind::Xfs));
    let guard = guard(&lab, &[&a, &b]);
    guard.client.arm("w", SOON, SOON).unwrap();
    guard.client.freeze(SOON).unwrap();
    drop(guard);
    assert_soon_free(&lab, &[&a, &b]);
    assert_eq!(undone(&lab), "w\n");
}

#[test]
fn a_service_killed_in_the_window_leaves_nothing_frozen() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount(Kind::Ext4), lab.mount(Kind::Xfs));
    let mut command = Command::new(GUARD);
    command.arg("hold").arg(lab.runtime()).args([&a.path, &b.path]).stdout(Stdio::piped());
    let mut service = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(service.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "frozen\n");
    assert!(is_frozen(&a.path) && is_frozen(&b.path));
    service.kill().unwrap();
    service.wait().unwrap();
    for fs in [&a, &b] {
        wait_until("it is thawed", || !is_frozen(&fs.path));
    }
    wait_until("the record is removed", || !lab.runtime().join("guard/held.rec").exists());
}

#[test]
fn the_primary_killed_in_the_window_is_replaced_by_its_twin() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount(Kind::Ext4), lab.mount(Kind::Xfs));
    let guard = guard(&lab, &[&a, &b]);
    guard.client.arm("w", SOON, SOON).unwrap();
    guard.client.freeze(SOON).unwrap();
    let family = family(&guard);
    kill(family[0]);
    assert_eq!(guard.lost.recv_timeout(SOON).unwrap().code(), ErrorCode::GuardLost);
    assert_eq!(guard.client.attest(SOON).unwrap_err().code(), ErrorCode::GuardLost);
    assert_soon_free(&lab, &[&a, &b]);
    assert_eq!(undone(&lab), "w\n");
    assert!(recover(&lab.runtime()).unwrap().is_empty(), "the twin left nothing to recover");
    wait_until("every process is gone", || family.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn the_death_of_the_primary_is_heard_while_the_others_are_still_at_work() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Ext4);
    let guard = guard(&lab, &[&a]);
    guard.client.freeze(SOON).unwrap();
    let family = family(&guard);
    family[1..].iter().for_each(|pid| lab::stop(*pid));
    kill(family[0]);
    let lost = guard.lost.recv_timeout(SOON);
    let found = std::thread::spawn({
        let runtime = lab.runtime();
        move || recover(&runtime)
    });
    family[1..].iter().for_each(|pid| lab::resume(*pid));
    assert_eq!(lost.unwrap().code(), ErrorCode::GuardLost);
    let found = found.join().unwrap().unwrap();
    assert!(found.is_empty(), "recovery waits for those who are still at work: {found:?}");
    assert!(!is_frozen(&a.path));
}

#[test]
fn the_twin_killed_in_the_window_makes_the_primary_thaw() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount(Kind::Ext4), lab.mount(Kind::Xfs));
    let guard = guard(&lab, &[&a, &b]);
    guard.client.arm("w", SOON, SOON).unwrap();
    guard.client.freeze(SOON).unwrap();
    kill(*family(&guard).last().unwrap());
    assert_eq!(guard.lost.recv_timeout(SOON).unwrap().code(), ErrorCode::GuardLost);
    wait_until("it is thawed", || !is_frozen(&a.path) && !is_frozen(&b.path));
    assert_eq!(guard.client.attest(SOON).unwrap_err().code(), ErrorCode::GuardLost);
    guard.client.thaw(SOON).unwrap();
    guard.client.run_undo("w", SOON).unwrap();
    assert_eq!(undone(&lab), "w\n");
    guard.client.finish(SOON).unwrap();
}

#[test]
fn a_hand_killed_in_the_window_makes_the_primary_thaw() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount(Kind::Ext4), lab.mount(Kind::Xfs));
    let guard = guard(&lab, &[&a, &b]);
    guard.client.freeze(SOON).unwrap();
    kill(family(&guard)[1]);
    assert_eq!(guard.lost.recv_timeout(SOON).unwrap().code(), ErrorCode::GuardLost);
    guard.client.thaw(SOON).unwrap();
    assert!(!is_frozen(&a.path) && !is_frozen(&b.path));
}

#[test]
fn primary_and_twin_killed_leave_the_undo_to_recovery() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Ext4);
    let guard = guard(&lab, &[&a]);
    guard.client.arm("w", SOON, SOON).unwrap();
    guard.client.freeze(SOON).unwrap();
    let family = family(&guard);
    // The twin first: killed after the primary, it might have acted already.
    lab::stop(family[0]);
    kill(family[2]);
    kill(family[0]);
    wait_until("the hand has thawed", || !is_frozen(&a.path));
    let found = recover(&lab.runtime()).unwrap();
    assert!(
        matches!(&found[0].found, Found::Undone { writers, failed, .. } if writers == &["w"] && failed.is_empty()),
        "{found:?}"
    );
    assert_eq!((found[0].set.as_str(), undone(&lab).as_str()), ("set-1", "w\n"));
    assert!(recover(&lab.runtime()).unwrap().is_empty());
}

#[test]
fn when_all_of_them_are_killed_recovery_thaws() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount(Kind::Ext4), lab.mount(Kind::Xfs));
    let guard = guard(&lab, &[&a, &b]);
    guard.client.arm("v", SOON, SOON).unwrap();
    guard.client.freeze(SOON).unwrap();
    let family = family(&guard);
    family.iter().for_each(|pid| lab::stop(*pid));
    family.iter().for_each(|pid| kill(*pid));
    wait_until("every process is gone", || family.iter().all(|pid| !is_alive(*pid)));
    assert!(is_frozen(&a.path) && is_frozen(&b.path), "nobody was left to thaw");
    let found = recover(&lab.runtime()).unwrap();
    assert!(matches!(&found[0].found, Found::Undone { thawed, .. } if thawed.len() == 2), "{found:?}");
    assert!(!is_frozen(&a.path) && !is_frozen(&b.path));
    assert_eq!(undone(&lab), "v\n");
    assert!(record_is_gone(&lab));
}

#[test]
fn a_primary_that_hangs_is_overtaken() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Ext4);
    let guard = guard_with(&lab, &[&a], Duration::from_secs(2));
    guard.client.arm("w", Duration::from_millis(2500), SOON).unwrap();
    guard.client.freeze(SOON).unwrap();
    let primary = guard.client.pid();
    lab::stop(primary);
    wait_until("a hand or the twin thaws", || !is_frozen(&a.path));
    wait_until("the twin runs the undo", || undone(&lab) == "w\n");
    lab::resume(primary);
    assert_ne!(guard.client.attest(SOON).map_err(|error| error.code()), Ok(()));
    guard.client.finish(SOON).unwrap();
    assert_eq!(undone(&lab), "w\n", "and only once");
}

#[test]
fn a_primary_and_hand_that_hang_are_overtaken_by_the_twin() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Xfs);
    let guard = guard_with(&lab, &[&a], Duration::from_secs(2));
    guard.client.freeze(SOON).unwrap();
    let family = family(&guard);
    lab::stop(family[0]);
    lab::stop(family[1]);
    wait_until("the twin thaws", || !is_frozen(&a.path));
    lab::resume(family[1]);
    lab::resume(family[0]);
    guard.client.thaw(SOON).unwrap();
}

#[test]
fn a_primary_and_twin_that_hang_are_overtaken_by_the_hand() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Ext4);
    let guard = guard_with(&lab, &[&a], Duration::from_secs(2));
    guard.client.freeze(SOON).unwrap();
    let family = family(&guard);
    lab::stop(family[0]);
    lab::stop(family[2]);
    wait_until("the hand thaws", || !is_frozen(&a.path));
    lab::resume(family[2]);
    lab::resume(family[0]);
    guard.client.thaw(SOON).unwrap();
}

/// A file system on a loop device whose file lies on another one of the set: frozen both at once, the upper may stall
/// inside FIFREEZE until the lower is thawed. Whichever way it goes, neither stays frozen.
#[test]
fn a_freeze_that_stalls_is_taken_back_when_storage_answers() {
    let Some(lab) = Lab::new() else { return };
    let lower = lab.mount(Kind::Xfs);
    let upper = lab.mount_in(Kind::Ext4, &lower.path);
    let guard = guard_with(&lab, &[&lower, &upper], Duration::from_millis(500));
    lab::freeze_by_hand(&lower.path);
    std::fs::write(upper.path.join("dirty"), vec![7u8; 1 << 20]).unwrap();
    // The lower is frozen by somebody else: refused at once, while the upper stalls on it.
    let error = guard.client.freeze(SOON).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VolumeFrozenElsewhere);
    let stalled = guard.client.thaw(Duration::from_millis(800));
    thaw_by_force(&lower.path);
    let thawed = guard.client.thaw(SOON).unwrap();
    assert!(!is_frozen(&upper.path));
    if stalled.is_err() {
        assert!(thawed.held_ms >= 500, "{thawed:?}");
    }
}

#[test]
fn the_record_must_not_lie_on_a_guarded_file_system() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Ext4);
    let launch = Launch { program: GUARD.into(), args: vec![] };
    let client = Client::spawn(&launch, Box::new(|_| {})).unwrap();
    let runtime = a.path.join("run");
    let prepare =
        Prepare { set: "s".into(), runtime, mounts: vec![a.path.clone()], undos: vec![], hold: SOON };
    assert_eq!(client.prepare(&prepare, SOON).unwrap_err().code(), ErrorCode::VolumeUnderUmbra);
}

#[test]
fn what_cannot_be_guarded_is_refused_by_name() {
    let Some(lab) = Lab::new() else { return };
    let refuse = |mounts: &[&str], set: &str, program: &str| {
        let client =
            Client::spawn(&Launch { program: GUARD.into(), args: vec![] }, Box::new(|_| {})).unwrap();
        let undo = Undo { name: "w".into(), argv: vec![program.into()], env: vec![], limit_ms: 1 };
        let mounts = mounts.iter().map(Into::into).collect();
        client.prepare(
            &Prepare { set: set.into(), runtime: lab.runtime(), mounts, undos: vec![undo], hold: SOON },
            SOON,
        )
    };
    assert_eq!(refuse(&["/nowhere"], "s", "/bin/true").unwrap_err().code(), ErrorCode::Io);
    assert_eq!(refuse(&[], "../s", "/bin/true").unwrap_err().code(), ErrorCode::InvalidArgument);
    assert_eq!(refuse(&[], "s", "true").unwrap_err().code(), ErrorCode::InvalidArgument);
    refuse(&[], "s", "/bin/true").unwrap();
}

#[test]
fn a_file_system_that_cannot_be_frozen_is_not_supported() {
    let Some(lab) = Lab::new() else { return };
    let a = lab.mount(Kind::Ext4);
    let tmpfs = lab.mount(Kind::Tmpfs);
    let guard = guard(&lab, &[&a, &tmpfs]);
    assert_eq!(guard.client.freeze(SOON).unwrap_err().code(), ErrorCode::VolumeNotSupported);
    guard.client.thaw(SOON).unwrap();
    assert!(!is_frozen(&a.path));
}

#[test]
fn an_undo_that_fails_is_told_and_run_again_at_the_end() {
    let Some(lab) = Lab::new() else { return };
    let guard = guard(&lab, &[]);
    guard.client.arm("w", SOON, SOON).unwrap();
    std::fs::create_dir(lab.folder().join("undone")).unwrap();
    let error = guard.client.run_undo("w", SOON).unwrap_err();
    assert_eq!(error.code(), ErrorCode::WriterFailed);
    std::fs::remove_dir(lab.folder().join("undone")).unwrap();
    guard.client.finish(SOON).unwrap();
    assert_eq!(undone(&lab), "w\n");
}

#[test]
fn records_that_mean_nothing_are_dropped() {
    let Some(lab) = Lab::new() else { return };
    assert!(recover(&lab.runtime()).unwrap().is_empty());
    let folder = lab.runtime().join("guard");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("short.rec"), "half").unwrap();
    std::fs::write(folder.join("noise.rec"), vec![0x55; 9000]).unwrap();
    std::fs::write(folder.join("readme"), "not a record").unwrap();
    let found = recover(&lab.runtime()).unwrap();
    assert!(found.len() == 2 && found.iter().all(|one| matches!(one.found, Found::Unfinished)), "{found:?}");
    assert!(folder.join("readme").exists());
}

#[test]
fn a_record_of_an_earlier_boot_is_dropped() {
    let Some(lab) = Lab::new() else { return };
    let guard = guard(&lab, &[]);
    guard.client.arm("w", SOON, SOON).unwrap();
    let path = lab.runtime().join("guard/set-1.rec");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let bytes = std::fs::read(&path).unwrap();
    drop(guard);
    wait_until("the guard ends", || !path.exists());
    let (page, text) = bytes.split_at(4096);
    let other =
        String::from_utf8(text.to_vec()).unwrap().replace(boot.trim(), &"0".repeat(boot.trim().len()));
    std::fs::write(&path, [page, other.as_bytes()].concat()).unwrap();
    let found = recover(&lab.runtime()).unwrap();
    assert!(matches!(found[0].found, Found::EarlierBoot), "{found:?}");
    assert_eq!(undone(&lab), "w\n", "only by the guard itself");
    assert!(!path.exists());
}
