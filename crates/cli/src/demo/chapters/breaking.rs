//! Chapter 4: the set is broken into LUNs of their own; a second database lives on them.

use super::{
    super::{
        database::{Database, VOLUMES},
        process::run,
        record::{Head, Recorder, Step},
        scene::{Scene, field, list, text},
        trouble::{Told, Trouble, demand, doing},
    },
    Lun,
    application::BEFORE,
    set::Set,
};

const IN_ORIGINAL: &str = "after the cut, in the original";
const IN_COPY: &str = "after the break, in the copy";

const CANARY: Head = Head {
    name: "canary",
    shows: "A row is written into the original after the cut: it must not be in any copy.",
    check: "the original holds the row from before the cut and the one from after it",
};
const BREAK: Head = Head {
    name: "break",
    shows: "The set is broken: its copies become ordinary, writable LUNs. There is no way back.",
    check: "two LUNs of kind broken, read-write; a second break is refused with object_not_found",
};
const WRITABLE: Head = Head {
    name: "writable",
    shows: "The broken LUNs are mounted read-write, beside the originals.",
    check: "both take a file, which the originals do not have",
};
const SECOND_DATABASE: Head = Head {
    name: "second_database",
    shows: "A second database opens them in namespaces of its own, in which they stand at the original paths.",
    check: "it recovers as after a loss of power, and answers",
};
const BOOKS: Head = Head {
    name: "books",
    shows: "The copies are of one instant: the books, spread over both volumes, balance.",
    check: "all sums agree, the database's own checker finds nothing, and the canary is not in the copy",
};
const INDEPENDENT: Head = Head {
    name: "independent",
    shows: "The second database is written to while the first goes on working.",
    check: "the copy holds the new row, the original does not; the original's load met no error",
};

pub async fn tell(
    scene: &Scene,
    recorder: &Recorder,
    set: &Set,
    originals: &[Lun],
    database: &mut Database,
) -> Told<Vec<Lun>> {
    recorder.step(CANARY, async |_| canary(scene, database).await).await?;
    let clones = recorder.step(BREAK, async |step| broken(scene, step, set, originals).await).await?;
    let clones = recorder.step(WRITABLE, async |step| writable(scene, step, clones).await).await?;
    recorder.step(SECOND_DATABASE, async |step| database.open_clone(scene, step).await).await?;
    recorder.step(BOOKS, async |step| books(scene, step, database).await).await?;
    recorder.step(INDEPENDENT, async |step| independent(scene, step, database).await).await?;
    Ok(clones)
}

async fn canary(scene: &Scene, database: &Database) -> Told<()> {
    database.mark(scene, IN_ORIGINAL).await?;
    same_rows("the original", &database.marks(scene).await?, &[IN_ORIGINAL, BEFORE])
}

fn same_rows(whose: &str, found: &[String], wanted: &[&str]) -> Told<()> {
    demand(found == wanted, || format!("{whose} holds the rows {found:?} instead of {wanted:?}"))
}

/// Breaks the set; which LUN each original's copy became.
async fn broken(scene: &Scene, step: &mut Step, set: &Set, originals: &[Lun]) -> Told<Vec<Lun>> {
    let done = scene.umbra(step, &["break", &set.id, "--read-write"]).await?;
    step.fact("transaction_us", done["transaction_us"].clone());
    let luns = list(&done, "/luns")?;
    let mut clones = Vec::new();
    for original in originals {
        let lun = luns.iter().find(|lun| lun["origin_lun"] == original.id.as_str());
        let lun = lun.ok_or_else(|| Trouble::new(format!("no LUN came from {}: {done}", original.volume)))?;
        demand(lun["kind"] == "broken" && lun["access"] == "read_write", || {
            format!("not a writable LUN: {lun}")
        })?;
        let id = field(lun, "/id")?.to_owned();
        step.fact(original.volume, format!("became LUN {id}"));
        clones.push(Lun { id, volume: original.volume, device: String::new() });
    }
    let again = scene.umbra_ran(step, &["break", &set.id]).await?;
    demand(again.code == Some(1) && again.stdout.contains("object_not_found"), || {
        format!("a second break was not refused as it should be: {}", again.trouble())
    })?;
    Ok(clones)
}

async fn writable(scene: &Scene, step: &mut Step, clones: Vec<Lun>) -> Told<Vec<Lun>> {
    let mut mounted = Vec::new();
    for clone in clones {
        // The read-only exposures outlived the break; they make room for writable mounts.
        scene.umbra(step, &["lun", "unmount", text(&scene.exposed(clone.volume))]).await?;
        let clone = attach_and_mount(scene, step, clone).await?;
        let file = "written after the break";
        doing("write to a broken LUN", std::fs::write(scene.clone_of(clone.volume).join(file), &scene.mark))?;
        let in_original = scene.original(clone.volume).join(file).exists();
        demand(!in_original, || format!("the file appeared in the original of {}", clone.volume))?;
        step.fact(clone.volume, clone.device.clone());
        mounted.push(clone);
    }
    Ok(mounted)
}

/// Makes a broken LUN this host's device and mounts it at its place.
pub async fn attach_and_mount(scene: &Scene, step: &mut Step, clone: Lun) -> Told<Lun> {
    let attached = scene.umbra(step, &["lun", "attach", &clone.id]).await?;
    let at = scene.clone_of(clone.volume);
    scene.make_folder(&at)?;
    scene.umbra(step, &["lun", "mount", &clone.id, text(&at)]).await?;
    Ok(Lun { device: field(&attached, "/device")?.to_owned(), ..clone })
}

async fn books(scene: &Scene, step: &mut Step, database: &Database) -> Told<()> {
    database.judge_clone(scene, step).await?;
    let rows = database.clone_marks(scene).await?;
    step.fact("canary_rows_in_the_copy", rows.clone());
    same_rows("the copy", &rows, &[BEFORE])
}

async fn independent(scene: &Scene, step: &mut Step, database: &mut Database) -> Told<()> {
    database.mark_clone(scene, IN_COPY).await?;
    same_rows("the copy", &database.clone_marks(scene).await?, &[IN_COPY, BEFORE])?;
    same_rows("the original", &database.marks(scene).await?, &[IN_ORIGINAL, BEFORE])?;
    database.load_runs(scene, step)?;
    database.close_clone(scene).await?;
    for volume in VOLUMES {
        run(scene.command("sync").arg("-f").arg(scene.clone_of(volume.name))).await?.ok()?;
    }
    Ok(())
}
