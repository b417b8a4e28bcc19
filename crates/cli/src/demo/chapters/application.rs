//! Chapter 2: a database on both volumes, at work from here on; the service learns of it.

use super::{
    super::{
        database::Database,
        record::{Head, Recorder, Step},
        scene::{self, Scene, field, list},
        trouble::{Told, Trouble, demand},
    },
    Servers, ground,
};
use rustix::process::Signal;

/// The row that is in the original and in every copy.
pub const BEFORE: &str = "before the cut";

const DATABASE: Head = Head {
    name: "database",
    shows: "A database is spread over both volumes: its data on one, what it writes ahead on the other.",
    check: "it runs, and its books are loaded",
};
const LOAD: Head = Head {
    name: "load",
    shows: "It is put to work, and stays at work through all that follows.",
    check: "the load makes progress without an error",
};
const WRITERS: Head = Head {
    name: "writers",
    shows: "A file tells the service of the database; the service is restarted under load, and nothing notices.",
    check: "the writer is stable and lies on both volumes; the devices stayed as they were",
};

pub async fn tell(scene: &Scene, recorder: &Recorder, servers: &mut Servers) -> Told<Database> {
    let mut database = recorder
        .step(DATABASE, async |step| {
            let database = Database::start(scene, step).await?;
            database.mark(scene, BEFORE).await?;
            Ok(database)
        })
        .await?;
    recorder.step(LOAD, async |step| database.start_load(scene, step).await).await?;
    recorder.step(WRITERS, async |step| writers(scene, step, servers, &mut database).await).await?;
    Ok(database)
}

async fn writers(scene: &Scene, step: &mut Step, servers: &mut Servers, database: &mut Database) -> Told<()> {
    scene.write(&scene.writers().join("database.toml"), &database.writer(scene))?;
    scene::end(&mut servers.service, Signal::TERM, "the service").await?;
    servers.service = ground::start_service(scene, step).await?;
    let known = scene.umbra(step, &["writers"]).await?;
    let writer =
        list(&known, "/writers")?.first().ok_or_else(|| Trouble::new("the service knows no writer"))?;
    let volumes = list(writer, "/volumes")?;
    step.fact("writer", field(writer, "/name")?);
    step.fact("state", field(writer, "/state")?);
    step.fact("volumes", volumes.to_vec());
    demand(writer["state"] == "stable", || format!("the writer is not stable: {writer}"))?;
    demand(volumes.len() == 2, || {
        format!("the writer lies on {} volumes instead of 2: {writer}", volumes.len())
    })?;
    database.load_runs(scene, step)
}
