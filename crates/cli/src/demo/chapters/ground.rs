//! Chapter 1: an array, two LUNs, a host; block devices and file systems on them.

use super::{
    super::{
        database::VOLUMES,
        process::{run, tail, until},
        record::{Head, Recorder, Step},
        scene::{HOST, INITIATOR, Scene, field, list, text},
        trouble::{Told, Trouble, demand, doing},
    },
    Lun, Servers,
};
use std::time::Duration;
use tokio::process::Child;

/// Longest time for a server to answer after its start.
const START: Duration = Duration::from_secs(30);

const ARRAY_UP: Head = Head {
    name: "array_up",
    shows: "An array is a process with a life of its own: it makes its pool, a sparse file, and serves iSCSI.",
    check: "it answers, its pool is writable, and it has a portal for other hosts",
};
const LUNS: Head = Head {
    name: "luns",
    shows: "Two LUNs are created; this host is made known and may see both.",
    check: "the array lists both, seen by this host alone, and they take no space yet",
};
const SERVICE_UP: Head = Head {
    name: "service_up",
    shows: "The service of this host starts: a coordinator that holds no data.",
    check: "it answers, and the array is its provider",
};
const ATTACHED: Head = Head {
    name: "attached",
    shows: "Both LUNs arrive over iSCSI and become block devices.",
    check: "each is a block device of the LUN's size",
};
const FILE_SYSTEMS: Head = Head {
    name: "file_systems",
    shows: "ext4 on one, XFS on the other.",
    check: "both are mounted, and the service sees them as volumes on LUNs that it can copy",
};

pub async fn tell(scene: &Scene, recorder: &Recorder) -> Told<(Servers, Vec<Lun>)> {
    let array = recorder.step(ARRAY_UP, async |step| array_up(scene, step).await).await?;
    let ids = recorder.step(LUNS, async |step| luns(scene, step).await).await?;
    let service = recorder.step(SERVICE_UP, async |step| service_up(scene, step).await).await?;
    let luns = recorder.step(ATTACHED, async |step| attached(scene, step, &ids).await).await?;
    recorder.step(FILE_SYSTEMS, async |step| file_systems(scene, step, &luns).await).await?;
    Ok((Servers { array, service }, luns))
}

async fn array_up(scene: &Scene, step: &mut Step) -> Told<Child> {
    for folder in ["log", "live", "then", "clone", "writers.d"] {
        scene.make_folder(&scene.path(folder))?;
    }
    let folder = scene.array_folder();
    let words = ["array", "serve", "--dir", text(&folder), "--size", "4G", "--listen", "127.0.0.1:0"];
    step.commands.push("umbra array serve --dir array --size 4G --listen 127.0.0.1:0".to_owned());
    let mut array = scene.background(scene.umbra_command(&words), "array")?;
    answers(scene, &mut array, "array", &["pool", "status"]).await?;
    let status = scene.umbra(step, &["pool", "status"]).await?;
    let mode = field(&status, "/pool/mode")?;
    step.fact("target", field(&status, "/iqn")?);
    step.fact("portal", field(&status, "/portals/0")?);
    demand(mode == "read_write", || format!("the pool is {mode}"))?;
    Ok(array)
}

/// Waits until a server answers a command.
pub async fn answers(scene: &Scene, server: &mut Child, name: &str, words: &[&str]) -> Told<()> {
    let asked = async || run(&mut scene.umbra_command(words)).await.is_ok_and(|ran| ran.code == Some(0));
    until(&format!("the {name} answers"), START, Some(server), asked)
        .await
        .map_err(|trouble| Trouble::new(format!("{trouble}; its log: {}", tail(&scene.log(name)))))
}

async fn luns(scene: &Scene, step: &mut Step) -> Told<Vec<String>> {
    scene.umbra(step, &["host", "add", HOST, "--initiator", INITIATOR]).await?;
    let mut ids = Vec::new();
    for volume in VOLUMES {
        let made = scene.umbra(step, &["lun", "create", volume.name, "--size", volume.size]).await?;
        ids.push(field(&made, "/lun/id")?.to_owned());
        scene.umbra(step, &["lun", "unmask", volume.name, "--to", HOST]).await?;
    }
    let listed = scene.umbra(step, &["lun", "list"]).await?;
    let luns = list(&listed, "/luns")?;
    demand(luns.len() == VOLUMES.len(), || format!("{} LUNs instead of {}", luns.len(), VOLUMES.len()))?;
    for lun in luns {
        let hosts = list(lun, "/presentations")?.len();
        demand(hosts == 1 && lun["mapped_bytes"] == 0, || format!("not a fresh LUN, seen once: {lun}"))?;
    }
    Ok(ids)
}

async fn service_up(scene: &Scene, step: &mut Step) -> Told<Child> {
    // What guards a freeze is kept in memory, so that it needs no file system that might be frozen.
    scene.make_folder(&scene.runtime())?;
    let tmpfs = ["-t", "tmpfs", "-o", "mode=0700,size=64m", "umbra-demo"];
    run(scene.command("mount").args(tmpfs).arg(scene.runtime())).await?.ok()?;
    configure(scene)?;
    let service = start_service(scene, step).await?;
    let providers = scene.umbra(step, &["providers"]).await?;
    let kinds: Vec<_> =
        list(&providers, "/providers")?.iter().map(|provider| provider["kind"].clone()).collect();
    demand(kinds.iter().any(|kind| kind == "hardware"), || format!("no hardware provider among {kinds:?}"))?;
    Ok(service)
}

fn configure(scene: &Scene) -> Told<()> {
    let runtime = scene.runtime();
    let text = format!(
        "[service]\nruntime = {runtime:?}\nstate = {:?}\nsocket = {:?}\nhost_name = \"{HOST}\"\ninitiator = \"{INITIATOR}\"\n\
         writers_dir = {:?}\n\n[array]\naddress = \"unix:{}\"\n",
        scene.path("state"),
        runtime.join("umbra.sock"),
        scene.writers(),
        scene.array_folder().join("array.sock").display(),
    );
    scene.write(&scene.config(), &text)
}

/// Starts the service and waits until it answers.
pub async fn start_service(scene: &Scene, step: &mut Step) -> Told<Child> {
    step.commands.push("umbra serve --config umbra.toml".to_owned());
    let command = scene.umbra_command(&["serve", "--config", text(&scene.config())]);
    let mut service = scene.background(command, "service")?;
    answers(scene, &mut service, "service", &["providers"]).await?;
    Ok(service)
}

async fn attached(scene: &Scene, step: &mut Step, ids: &[String]) -> Told<Vec<Lun>> {
    let mut luns = Vec::new();
    for (volume, id) in VOLUMES.iter().zip(ids) {
        let made = scene.umbra(step, &["lun", "attach", volume.name]).await?;
        let device = field(&made, "/device")?.to_owned();
        let bytes = device_bytes(scene, &device).await?;
        step.fact(volume.name, format!("{device}, {bytes} bytes"));
        let wanted = umbra_base::size::parse_size(volume.size)?;
        demand(bytes == wanted, || format!("{device} has {bytes} bytes, its LUN {wanted}"))?;
        luns.push(Lun { id: id.clone(), volume: volume.name, device });
    }
    Ok(luns)
}

async fn device_bytes(scene: &Scene, device: &str) -> Told<u64> {
    let said = run(scene.command("blockdev").args(["--getsize64", device])).await?.ok()?;
    said.trim().parse().map_err(|_| Trouble::new(format!("blockdev says {said:?} of {device}")))
}

async fn file_systems(scene: &Scene, step: &mut Step, luns: &[Lun]) -> Told<()> {
    for (volume, lun) in VOLUMES.iter().zip(luns) {
        let quiet = if volume.fs == "xfs" { "-qf" } else { "-qF" };
        run(scene.command(format!("mkfs.{}", volume.fs)).args([quiet, &lun.device])).await?.ok()?;
        let at = scene.original(volume.name);
        scene.make_folder(&at)?;
        scene.umbra(step, &["lun", "mount", volume.name, text(&at)]).await?;
        // Seen again in every copy.
        doing("write the witness", std::fs::write(at.join("witness"), &scene.mark))?;
    }
    let known = scene.umbra(step, &["volumes"]).await?;
    for lun in luns {
        let volume = list(&known, "/volumes")?.iter().find(|volume| volume["device"] == lun.device.as_str());
        let volume = volume
            .ok_or_else(|| Trouble::new(format!("the service does not see {}: {known}", lun.device)))?;
        let on_lun = volume.pointer("/extents/0/lun").is_some_and(|id| id == lun.id.as_str());
        demand(on_lun && volume["provider"].is_string(), || {
            format!("not a volume that can be copied: {volume}")
        })?;
        step.fact(lun.volume, format!("{} {}", field(volume, "/fs_type")?, field(volume, "/fs_uuid")?));
    }
    Ok(())
}
