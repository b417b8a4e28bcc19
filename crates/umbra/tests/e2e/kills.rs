//! Death at the worst moment (S2, S3, S6, A2): the service, the guard or both between freeze and thaw; a foreign thaw;
//! the array under a database at work.

use crate::{
    lab::{Lab, UMBRA, eventually, run, writable_within},
    postgres::{self, Postgres},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

/// Long enough to strike inside the window, below the limit of the hold.
const PAUSE: (&str, &str) = ("UMBRA_FAULT", "pause_after_freeze=4000");
const BLINK: Duration = Duration::from_millis(300);
/// The hold's limit (10 s) and time for a slow machine.
const THAWED: Duration = Duration::from_secs(20);

/// A lab whose service pauses inside the window, with an ext4 and an XFS mounted.
fn paused_lab() -> Option<(Lab, Vec<PathBuf>)> {
    let mut lab = Lab::new()?;
    let volumes = vec![lab.mounted("left", "256M", "ext4"), lab.mounted("right", "512M", "xfs")];
    lab.stop_service();
    let tell = told_at(&lab);
    lab.start_service(&[PAUSE, ("UMBRA_FAULT_TELL", tell.to_str().unwrap())]);
    Some((lab, volumes))
}

/// The file by which the paused service tells that it is inside the window.
fn told_at(lab: &Lab) -> PathBuf {
    lab.runtime.path().join("inside-the-window")
}

/// Starts a creation and returns when its file systems are frozen. That a write hangs is no sign by itself: on a machine
/// that is short of processors any write may.
fn frozen(lab: &Lab, volumes: &[PathBuf]) -> Child {
    let mut args = vec!["create", "--json"];
    args.extend(volumes.iter().map(|v| v.to_str().unwrap()));
    let create = lab.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let inside = told_at(lab);
    eventually("the window opens", Duration::from_secs(60), || fs::remove_file(&inside).is_ok());
    assert!(!writable_within(&volumes[1], BLINK), "frozen inside the window");
    create
}

/// The guard's processes of this lab's service, the first started first.
fn guards(service: u32) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut args = line.split(|b| *b == 0);
        let ours = args.next() == Some(UMBRA.as_bytes()) && args.next() == Some(b"guard");
        if ours && descends(pid, service) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    found
}

fn descends(pid: i32, from: u32) -> bool {
    let mut at = pid;
    for _ in 0..4 {
        let Ok(stat) = fs::read_to_string(format!("/proc/{at}/stat")) else { return false };
        let Some(parent) = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) else {
            return false;
        };
        let Ok(parent) = parent.parse::<i32>() else { return false };
        if u32::try_from(parent) == Ok(from) {
            return true;
        }
        at = parent;
    }
    false
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[track_caller]
fn all_writable(volumes: &[PathBuf]) {
    for volume in volumes {
        assert!(writable_within(volume, THAWED), "{} is frozen", volume.display());
    }
}

/// Nothing of a half-made set is left, in the array or on the host.
#[track_caller]
fn nothing_half_made(lab: &Lab) {
    eventually("the half-made set is gone", Duration::from_secs(60), || lab.sets() == 0);
    let luns = lab.umbra(&["lun", "list", "--json"]).ok().json();
    assert_eq!(luns["luns"].as_array().map(Vec::len), Some(2), "only the two originals: {luns}");
    let records = fs::read_dir(lab.runtime.path().join("guard")).map_or(0, |entries| entries.count());
    assert_eq!(records, 0, "no record of a freeze is left");
}

fn failed_with(create: Child, code: &str) {
    let output = create.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_ne!(output.status.code(), Some(0), "{stdout}");
    assert!(stdout.contains(code), "wanted {code}: {stdout} {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_service_killed_in_the_window_leaves_nothing_frozen() {
    let Some((mut lab, volumes)) = paused_lab() else { return };
    let create = frozen(&lab, &volumes);
    lab.kill_service();
    all_writable(&volumes);
    failed_with(create, "unreachable");
    lab.start_service(&[]);
    nothing_half_made(&lab);
    lab.create(&[&volumes[0], &volumes[1]]);
}

#[test]
fn a_guard_killed_in_the_window_fails_the_set_and_thaws() {
    // The primary, its twin, and a hand for each of the two file systems.
    for which in 0..4 {
        let Some((lab, volumes)) = paused_lab() else { return };
        let create = frozen(&lab, &volumes);
        let all = guards(lab.service.as_ref().unwrap().id());
        assert_eq!(all.len(), 4, "{all:?}");
        kill(all[which]);
        all_writable(&volumes);
        failed_with(create, "guard_lost");
        nothing_half_made(&lab);
    }
}

#[test]
fn all_guards_and_the_service_killed_are_thawed_at_the_next_start() {
    let Some((mut lab, volumes)) = paused_lab() else { return };
    let create = frozen(&lab, &volumes);
    let all = guards(lab.service.as_ref().unwrap().id());
    // Stopped first, so that none of them acts on the death of another.
    for pid in all.iter().copied() {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }
    lab.kill_service();
    all.into_iter().for_each(kill);
    assert!(!writable_within(&volumes[1], BLINK), "nobody is left to thaw: the test would prove nothing");
    drop(create.wait_with_output());
    lab.start_service(&[]);
    all_writable(&volumes);
    nothing_half_made(&lab);
}

#[test]
fn a_foreign_thaw_in_the_window_fails_the_set() {
    let Some((lab, volumes)) = paused_lab() else { return };
    let create = frozen(&lab, &volumes);
    run("fsfreeze", &["-u", volumes[1].to_str().unwrap()]).ok();
    failed_with(create, "freeze_not_proven");
    all_writable(&volumes);
    nothing_half_made(&lab);
}

#[test]
fn a_foreign_freeze_is_refused_and_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let volume = lab.mounted("left", "256M", "ext4");
    run("fsfreeze", &["-f", volume.to_str().unwrap()]).ok();
    let refused = lab.umbra(&["create", "--json", volume.to_str().unwrap()]);
    let still_frozen = !writable_within(&volume, BLINK);
    run("fsfreeze", &["-u", volume.to_str().unwrap()]).ok();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("volume_frozen_elsewhere"), "{refused:?}");
    assert!(still_frozen, "what somebody else froze is his to thaw");
}

/// Kills of the array under load: 20 in `ci/full`, fewer in every run.
fn storm() -> usize {
    std::env::var("UMBRA_STORM").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

#[test]
fn an_array_killed_under_a_database_loses_nothing_acknowledged() {
    if !postgres::installed() {
        return;
    }
    let Some(mut lab) = Lab::new() else { return };
    let data = lab.mounted("data", "1G", "ext4");
    let wal = lab.mounted("wal", "1G", "xfs");
    let mut server = Postgres::new(&lab, &data, &wal);
    server.query("create table acknowledged (n int)").ok();
    let seconds = (5 + 3 * storm()).to_string();
    let mut bench = server
        .pgbench(&["-n", "-c", "4", "-T", &seconds])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for round in 0..storm() {
        server.query(&format!("insert into acknowledged values ({round})")).ok();
        lab.kill_array();
        lab.start_array(&[]);
    }
    let ended = bench.wait().unwrap();
    assert!(ended.success(), "pgbench goes on through each restart");
    let seen = server.query("select count(distinct n) from acknowledged").ok().stdout;
    assert_eq!(seen.trim(), storm().to_string());
    let [accounts, tellers, branches, history] = server.books();
    assert!(accounts == tellers && tellers == branches && branches == history, "the books balance");
    server.stop();
    check_file_systems(&lab, &[(&data, "data"), (&wal, "wal")]);
}

/// Unmounts and lets each file system's own checker judge.
fn check_file_systems(lab: &Lab, volumes: &[(&Path, &str)]) {
    for (mount, lun) in volumes {
        run("umount", &[mount.to_str().unwrap()]).ok();
        let device = lab.umbra(&["lun", "attach", lun]).ok().stdout;
        let device = device.trim();
        if *lun == "wal" {
            run("xfs_repair", &["-n", device]).ok();
        } else {
            run("e2fsck", &["-fn", device]).ok();
        }
    }
}
