//! Chapter 3: both volumes are copied at one instant; the copies are looked at beside their originals.

use super::{
    super::{
        database::{Database, Engine, VOLUMES},
        process::run,
        record::{Head, Recorder, Step},
        scene::{Scene, field, list, text},
        trouble::{Told, Trouble, demand, doing},
    },
    Lun,
};
use serde_json::Value;

/// A set and its copies, in the order of [`VOLUMES`].
#[derive(Debug)]
pub struct Set {
    pub id: String,
    pub copies: Vec<String>,
}

const CREATE: Head = Head {
    name: "create",
    shows: "Both volumes are copied at one instant, while the database works on them.",
    check: "one set with a copy of each volume, as consistent as its application can make it; the load met no error",
};
const TIMELINE: Head =
    Head { name: "timeline", shows: "What happened, phase by phase.", check: "every phase went well" };
const EXPOSED: Head = Head {
    name: "exposed",
    shows: "The copies are mounted read-only beside their originals, each file system with an identity of its own.",
    check: "all four are mounted, their UUIDs differ, the copies show the moment of the cut and refuse writes",
};

pub async fn tell(
    scene: &Scene,
    recorder: &Recorder,
    originals: &[Lun],
    database: &mut Database,
) -> Told<Set> {
    let set = recorder.step(CREATE, async |step| create(scene, step, database).await).await?;
    recorder.step(TIMELINE, async |step| timeline(scene, step, &set).await).await?;
    recorder.step(EXPOSED, async |step| exposed(scene, step, &set, originals).await).await?;
    Ok(set)
}

async fn create(scene: &Scene, step: &mut Step, database: &mut Database) -> Told<Set> {
    let paths = VOLUMES.map(|volume| scene.original(volume.name));
    let made = scene.umbra(step, &["create", text(&paths[0]), text(&paths[1])]).await?;
    let set = made.get("set").ok_or_else(|| Trouble::new(format!("no set in {made}")))?;
    let id = field(set, "/id")?.to_owned();
    step.fact("set", id.clone());
    step.fact("cut", field(set, "/cut")?);
    let mut copies = Vec::new();
    for path in &paths {
        let copy = list(set, "/copies")?.iter().find(|copy| copy["volume"] == text(path));
        let copy = copy.ok_or_else(|| Trouble::new(format!("no copy of {} in {set}", path.display())))?;
        let reached = field(copy, "/consistency")?;
        step.fact(&format!("consistency_of_{}", copies.len() + 1), reached);
        demand(good_enough(scene, reached), || format!("only {reached} consistency: {copy}"))?;
        copies.push(field(copy, "/copy_id")?.to_owned());
    }
    database.load_runs(scene, step)?;
    for path in &paths {
        doing("change the witness", std::fs::write(path.join("witness"), "changed after the cut"))?;
    }
    Ok(Set { id, copies })
}

/// PostgreSQL's writer makes it application consistency; SQLite's is a program that prepares, which may count for less.
fn good_enough(scene: &Scene, reached: &str) -> bool {
    match scene.tools.database {
        Engine::Postgres(_) => reached == "application",
        Engine::Sqlite(_) => matches!(reached, "application" | "file_system"),
    }
}

async fn timeline(scene: &Scene, step: &mut Step, set: &Set) -> Told<()> {
    let shown = scene.umbra(step, &["show", &set.id, "--timeline"]).await?;
    let phases = list(&shown, "/set/timeline")?;
    demand(!phases.is_empty(), || "the set has no timeline".to_owned())?;
    let line = |phase: &Value| {
        let micros = |name: &str| phase[name].as_u64().unwrap_or(0);
        let (start, took) = (micros("start_us"), micros("duration_us"));
        let ms = |us: u64| format!("{}.{:03}", us / 1000, us % 1000);
        let name = phase["name"].as_str().unwrap_or_default().replace('_', " ");
        let outcome = phase["outcome"].as_str().unwrap_or("-");
        format!("{:>9} ms  +{:>8} ms  {outcome:3} {name}", ms(start), ms(took))
    };
    step.fact("phases", phases.iter().map(line).collect::<Vec<_>>());
    let bad: Vec<_> = phases.iter().filter(|phase| phase["outcome"] != "ok").collect();
    demand(bad.is_empty(), || format!("not ok: {bad:?}"))
}

async fn exposed(scene: &Scene, step: &mut Step, set: &Set, originals: &[Lun]) -> Told<()> {
    for ((volume, copy), original) in VOLUMES.iter().zip(&set.copies).zip(originals) {
        let at = scene.exposed(volume.name);
        let shown = scene.umbra(step, &["expose", copy, text(&at)]).await?;
        let device = field(&shown, "/device")?;
        let (was, is) = (uuid(scene, &original.device).await?, uuid(scene, device).await?);
        step.fact(&format!("{}_uuids", volume.name), format!("original {was}, copy {is}"));
        demand(was != is, || format!("the copy of {} has its original's UUID {was}", volume.name))?;
        let seen = doing("read the witness", std::fs::read_to_string(at.join("witness")))?;
        demand(seen == scene.mark, || {
            format!("the copy of {} does not show the moment of the cut", volume.name)
        })?;
        let refused = std::fs::write(at.join("refused"), "").err().map(|error| error.kind());
        demand(refused == Some(std::io::ErrorKind::ReadOnlyFilesystem), || {
            format!("writing to the copy of {} was not refused: {refused:?}", volume.name)
        })?;
    }
    let mounts = super::super::found::mounts(&scene.folder);
    let all = VOLUMES.iter().flat_map(|volume| [scene.original(volume.name), scene.exposed(volume.name)]);
    let missing: Vec<_> = all.filter(|point| !mounts.contains(point)).collect();
    demand(missing.is_empty(), || format!("not mounted: {missing:?}"))
}

/// The UUID of the file system on a device, by probing it.
pub async fn uuid(scene: &Scene, device: &str) -> Told<String> {
    let said = run(scene.command("blkid").args(["-p", "-o", "value", "-s", "UUID", device])).await?.ok()?;
    Ok(said.trim().to_owned())
}
