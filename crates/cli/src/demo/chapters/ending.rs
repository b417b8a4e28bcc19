//! Chapter 7: everything is stopped in order, and the pool is judged by a program that is not ours.

use super::{
    super::{
        process::run,
        record::{Head, Recorder, Step},
        scene::{self, Scene},
        trouble::Told,
    },
    Lun, Servers, lasting,
};
use rustix::process::Signal;

const ARRAY_STOPPED: Head = Head {
    name: "array_stopped",
    shows: "Service and array are stopped by SIGTERM; Debian's thin_check reads the pool's metadata.",
    check: "both stop cleanly, and thin_check finds nothing",
};

pub async fn tell(scene: &Scene, recorder: &Recorder, servers: Servers, clones: &[Lun]) -> Told<()> {
    recorder.step(ARRAY_STOPPED, async |step| array_stopped(scene, step, servers, clones).await).await
}

async fn array_stopped(scene: &Scene, step: &mut Step, mut servers: Servers, clones: &[Lun]) -> Told<()> {
    for clone in clones {
        lasting::close(scene, step, clone).await?;
    }
    scene::end(&mut servers.service, Signal::TERM, "the service").await?;
    scene::end(&mut servers.array, Signal::TERM, "the array").await?;
    let checked = run(scene.command("thin_check").arg(scene.array_folder().join("pool.meta"))).await?;
    step.fact("thin_check", if checked.code == Some(0) { "clean" } else { "NOT clean" });
    checked.ok().map(drop)
}
