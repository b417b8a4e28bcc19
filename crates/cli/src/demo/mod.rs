//! `umbra demo`: the whole story with real parts, told step by step, each step with a check.
//!
//! ```text
//!   run -> preflight -> Scene (one folder) -> story (chapters of steps) -> clean up -> verify that nothing is left
//!                                                 |  ends early on a failed check, a signal, a panic
//!                                                 v
//!                                             Recorder: text as it goes, or one object at the end
//! ```
//!
//! It is a client like any other: it starts this same binary as array, service and command line, and third-party
//! programs for everything that is to be proven. What always holds: whatever the demo starts carries a mark of this
//! run, and whatever carries the mark or lies in the folder is removed, whichever way the story ended.

mod chapters;
mod cleanup;
mod database;
mod found;
mod guarded;
mod people;
mod postgres;
mod preflight;
mod process;
mod reader;
mod record;
mod sandbox;
mod scene;
mod shared_memory;
mod sqlite;
mod trouble;

use crate::{args::DemoArgs, output::Output};
use guarded::Guarded;
use record::{Head, Recorder};
use scene::Scene;
use tokio::signal::unix::{SignalKind, signal};
use trouble::{Told, Trouble};
use umbra_base::{Error, ExitCode, Result};

/// Tells the story; the exit status says whether every check held.
pub async fn run(output: Output, args: DemoArgs) -> Result<ExitCode> {
    let signals = Signals::new()?;
    let tools = preflight::tools()?;
    let scene = Scene::new(tools)?;
    let recorder = Recorder::new(output, &scene);
    let ended = tell(&scene, &recorder, signals).await;
    recorder.ended(ended);
    finish(&scene, &recorder, args.keep).await;
    recorder.print()?;
    Ok(if recorder.all_held() { ExitCode::Done } else { ExitCode::Failed })
}

/// The story, ended by its end, by a failed step, by a signal or by a panic.
async fn tell(scene: &Scene, recorder: &Recorder, mut signals: Signals) -> Told<()> {
    let story = Guarded::new(chapters::tell(scene, recorder));
    tokio::select! {
        told = story => told.unwrap_or_else(|panic| Err(Trouble::new(format!("the demo itself failed: {panic}")))),
        name = signals.next() => Err(Trouble::new(format!("interrupted by {name}"))),
    }
    // Signals that come later find the handlers still in place: the cleaning up is not interrupted.
}

const NOTHING_LEFT: Head = Head {
    name: "nothing_left",
    shows: "Everything is removed, and nothing else of this machine was touched.",
    check: "no mount, loop device, process or file of this demo is left",
};

async fn finish(scene: &Scene, recorder: &Recorder, keep: bool) {
    let removed = recorder.step(NOTHING_LEFT, async |step| {
        let left = cleanup::clean(scene, keep).await;
        step.fact("removed", left.removed);
        if keep {
            step.fact("kept", scene.folder.display().to_string());
        }
        trouble::demand(left.still.is_empty(), || format!("left behind: {}", left.still.join("; ")))
    });
    drop(removed.await); // recorded; there is nothing to stop any more
}

/// The signals that end a story.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let catch = |kind| signal(kind).map_err(|source| Error::io("catch signals", source));
        Ok(Signals {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
