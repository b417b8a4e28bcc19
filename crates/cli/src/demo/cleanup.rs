//! Removes all of this run from the machine, from the top down: applications, service, mounts, devices, attachments,
//! array, files. Works from what is found, not from what the story believes it did.
//!
//! What always holds: only processes of this run are signalled, each by its id; each wait has a limit, and where a gentle
//! way fails a harder one follows, so that cleaning up ends.

use super::{
    found::{self, Process},
    process::{pid, run},
    scene::Scene,
    shared_memory::SharedMemory,
};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a program may take to end by itself.
const GENTLE: Duration = Duration::from_secs(15);
/// How long after SIGKILL.
const HARD: Duration = Duration::from_secs(5);
/// For what answers at once or not at all.
const QUICK: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(20);

/// What was removed, and what could not be.
#[derive(Debug)]
pub struct Left {
    pub removed: Value,
    pub still: Vec<String>,
}

/// Removes everything; with `keep`, all but the folder's files.
pub async fn clean(scene: &Scene, keep: bool) -> Left {
    let folder = &scene.folder;
    let devices = found::loops(folder);
    let removed = json!({
        "processes": found::processes(scene).len(),
        "mounts": found::mounts(folder).len(),
        "loop_devices": devices.len(),
    });
    let shared = SharedMemory::of(scene);
    end(scene, Signal::INT, is_application).await; // PostgreSQL's fast shutdown
    shared.remove(scene).await;
    end(scene, Signal::TERM, |process| process.is(&["serve"])).await;
    end(scene, Signal::TERM, |process| !is_storage(process)).await;
    unmount_volumes(scene).await;
    // An attachment takes its device and its view with it; what a killed one leaves is removed after it.
    end(scene, Signal::TERM, is_attachment).await;
    detach(scene).await;
    for point in found::mounts(folder) {
        unmount(scene, &point, &[&[], &["-l"]]).await;
    }
    end(scene, Signal::TERM, |_| true).await;
    let files = if keep { Ok(()) } else { std::fs::remove_dir_all(folder) };
    let mut still = still_there(scene, &devices).await;
    if let Err(error) = files {
        still.push(format!("folder {}: {error}", folder.display()));
    }
    Left { removed, still }
}

/// Unmounts what is mounted from devices. Where one does not come off (its array is gone, say), the attachments are
/// killed: what waits for them then fails, and the mounts come off.
async fn unmount_volumes(scene: &Scene) {
    let runtime = scene.runtime();
    let volumes = || found::mounts(&scene.folder).into_iter().filter(|point| !point.starts_with(&runtime));
    for point in volumes() {
        if !unmount(scene, &point, &[&[]]).await {
            end_by(scene, &[(Signal::KILL, HARD)], is_attachment).await;
            detach(scene).await; // while its path can still be told; it goes with its last user
            break;
        }
    }
    for point in volumes() {
        unmount(scene, &point, &[&[], &["-l"]]).await;
    }
}

/// Neither of Umbra's own servers nor below them.
fn is_application(process: &Process) -> bool {
    !is_umbra(process) && !is_storage(process)
}

fn is_umbra(process: &Process) -> bool {
    ["serve", "array", "attach-lun", "guard", "sandbox"].iter().any(|word| process.is(&[word]))
}

/// What block devices need to be taken down.
fn is_storage(process: &Process) -> bool {
    process.is(&["array", "serve"]) || is_attachment(process)
}

fn is_attachment(process: &Process) -> bool {
    process.is(&["attach-lun"])
}

/// Signals the processes that `which` names, waits, and kills those that stay.
async fn end(scene: &Scene, signal: Signal, which: impl Fn(&Process) -> bool) {
    end_by(scene, &[(signal, GENTLE), (Signal::KILL, HARD)], which).await;
}

async fn end_by(scene: &Scene, ways: &[(Signal, Duration)], which: impl Fn(&Process) -> bool) {
    let chosen = || found::processes(scene).into_iter().filter(|process| which(process)).collect::<Vec<_>>();
    for (signal, limit) in ways {
        let waiting = chosen();
        if waiting.is_empty() {
            return;
        }
        for process in &waiting {
            if let Some(id) = pid(process.pid) {
                let _ = kill_process(id, *signal); // gone meanwhile: all the better
            }
        }
        wait(*limit, || chosen().is_empty()).await;
    }
}

async fn wait(limit: Duration, done: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + limit;
    while !done() && tokio::time::Instant::now() < end {
        tokio::time::sleep(TICK).await;
    }
}

/// Unmounts one mount, by the first of `ways` that succeeds in time.
async fn unmount(scene: &Scene, point: &Path, ways: &[&[&str]]) -> bool {
    thaw(scene, point).await;
    for way in ways {
        let asked = tokio::time::timeout(HARD, run(scene.command("umount").args(*way).arg(point))).await;
        if asked.is_ok_and(|ran| ran.is_ok_and(|ran| ran.code == Some(0))) {
            return true;
        }
    }
    false
}

/// A file system whose thawing was cut short cannot be unmounted.
async fn thaw(scene: &Scene, point: &Path) {
    drop(tokio::time::timeout(QUICK, run(scene.command("fsfreeze").arg("-u").arg(point))).await);
}

async fn detach(scene: &Scene) {
    for device in &found::loops(&scene.folder) {
        drop(run(scene.command("losetup").arg("-d").arg(device)).await);
    }
    wait(HARD, || found::loops(&scene.folder).is_empty()).await;
}

/// What is there that should not be. The kernel lets go of some things a moment later.
async fn still_there(scene: &Scene, devices: &[PathBuf]) -> Vec<String> {
    wait(HARD, || all_left(scene, devices).is_empty()).await;
    all_left(scene, devices)
}

fn all_left(scene: &Scene, devices: &[PathBuf]) -> Vec<String> {
    let mounts = found::mounts(&scene.folder).into_iter().map(|point| format!("mount {}", point.display()));
    let loops = found::loops(&scene.folder).into_iter().chain(found::orphans(devices));
    let loops = loops.map(|device| format!("loop device {}", device.display()));
    let processes = found::processes(scene).into_iter().chain(found::holders(&scene.folder));
    mounts.chain(loops).chain(processes.map(|process| process.describe())).collect()
}
