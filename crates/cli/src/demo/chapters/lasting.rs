//! Chapter 6: what the broken LUNs do not need: the service, and their originals.

use super::{
    super::{
        database::{Database, VOLUMES},
        process::run,
        record::{Head, Recorder, Step},
        scene::{self, Scene, field, list, text},
        trouble::{Told, demand, doing},
    },
    Lun, Servers, breaking, ground,
};
use rustix::process::Signal;

/// Written in whole pages, so that it can be read around the page cache.
const PAGE: usize = 4096;

const SERVICE_KILLED: Head = Head {
    name: "service_killed",
    shows: "The service is killed with SIGKILL. It held nothing.",
    check: "the broken LUNs still take a file and give it back, and the database goes on",
};
const ORIGINALS_DELETED: Head = Head {
    name: "originals_deleted",
    shows: "The database is stopped, and the original LUNs are deleted. A new service takes over what the old one left.",
    check: "only the broken LUNs are there; attached anew, every file on them is what it was",
};

pub async fn tell(
    scene: &Scene,
    recorder: &Recorder,
    servers: &mut Servers,
    originals: &[Lun],
    clones: &[Lun],
    database: &mut Database,
) -> Told<()> {
    recorder.step(SERVICE_KILLED, async |step| service_killed(scene, step, servers, database).await).await?;
    recorder
        .step(ORIGINALS_DELETED, async |step| {
            database.stop(scene, step).await?;
            servers.service = ground::start_service(scene, step).await?;
            originals_deleted(scene, step, originals, clones).await
        })
        .await
}

async fn service_killed(
    scene: &Scene,
    step: &mut Step,
    servers: &mut Servers,
    database: &mut Database,
) -> Told<()> {
    scene::end(&mut servers.service, Signal::KILL, "the service").await?;
    let gone = scene.umbra_ran(step, &["list"]).await?;
    demand(gone.code == Some(3), || format!("the service still answers: {}", gone.trouble()))?;
    let content = scene.mark.repeat(PAGE / scene.mark.len() * 16);
    for volume in VOLUMES {
        let file = scene.clone_of(volume.name).join("without the service");
        write_durably(&file, &content)?;
        let mut dd = scene.command("dd");
        dd.args(["iflag=direct", "bs=64k", "status=none"]).arg(format!("if={}", text(&file)));
        demand(run(&mut dd).await?.ok()? == content, || {
            format!("{} gives back something else", file.display())
        })?;
    }
    database.load_runs(scene, step)
}

fn write_durably(file: &std::path::Path, content: &str) -> Told<()> {
    use std::io::Write;
    let what = || format!("write {}", file.display());
    let mut out = doing(what(), std::fs::File::create(file))?;
    doing(what(), out.write_all(content.as_bytes()))?;
    doing(what(), out.sync_all())
}

async fn originals_deleted(scene: &Scene, step: &mut Step, originals: &[Lun], clones: &[Lun]) -> Told<()> {
    let before = sums(scene).await?;
    for original in originals {
        scene.umbra(step, &["lun", "unmount", text(&scene.original(original.volume))]).await?;
        scene.umbra(step, &["lun", "detach", &original.id]).await?;
        scene.umbra(step, &["lun", "mask", &original.id]).await?;
        scene.umbra(step, &["lun", "delete", &original.id]).await?;
    }
    let listed = scene.umbra(step, &["lun", "list"]).await?;
    for lun in list(&listed, "/luns")? {
        demand(lun["kind"] == "broken", || format!("not only broken LUNs are there: {listed}"))?;
        step.fact(field(lun, "/name")?, lun["kind"].clone());
    }
    for clone in clones {
        // A new device has nothing cached: what is read now comes from the array.
        close(scene, step, clone).await?;
        let clone = Lun { id: clone.id.clone(), volume: clone.volume, device: String::new() };
        breaking::attach_and_mount(scene, step, clone).await?;
    }
    let after = sums(scene).await?;
    step.fact("sha256_of_all_files", after.clone());
    demand(before == after, || format!("the files changed: {before:?} before, {after:?} after"))
}

/// Unmounts and detaches a broken LUN.
pub async fn close(scene: &Scene, step: &mut Step, clone: &Lun) -> Told<()> {
    scene.umbra(step, &["lun", "unmount", text(&scene.clone_of(clone.volume))]).await?;
    scene.umbra(step, &["lun", "detach", &clone.id]).await.map(drop)
}

/// A checksum over names and contents of all files of each clone.
async fn sums(scene: &Scene) -> Told<Vec<String>> {
    let mut sums = Vec::new();
    for volume in VOLUMES {
        let all = "find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum";
        let said = run(scene.command("sh").args(["-ec", all]).current_dir(scene.clone_of(volume.name)))
            .await?
            .ok()?;
        sums.push(format!("{} {}", volume.name, said.split_whitespace().next().unwrap_or_default()));
    }
    Ok(sums)
}
