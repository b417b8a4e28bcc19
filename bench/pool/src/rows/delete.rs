//! Row 4: a device with 1 TiB mapped is deleted while another is written.
//!
//! The writes go to a device that is mapped and to one that is not, so some of them need the engine.

use crate::{
    door::Way,
    lab::{Lab, Stage},
    places::Order,
    record::Record,
    report::{Line, Report},
    rounds::median,
    run::{Work, watched},
    submit::{Limit, Load},
};
use anyhow::{Result, anyhow, ensure};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};
use umbra_ring::Backend;
use umbra_store::{LunStore, ThinId};

/// Bytes written of each of the two devices.
const SPAN: u64 = 256 << 20;
const QUIET: Duration = Duration::from_millis(500);
/// The space of the device is back before that, or something is wrong.
const LONGEST: Duration = Duration::from_secs(120);

/// Of one deletion, in milliseconds.
struct Seen {
    returned: f64,
    space_back: f64,
    longest: f64,
    longest_before: f64,
}

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let rounds = if lab.quick { 1 } else { lab.rounds };
    let seen: Vec<Seen> = (0..rounds).map(|_| one(lab)).collect::<Result<_>>()?;
    let of = |figure: fn(&Seen) -> f64| median(seen.iter().map(figure));
    report.add(&Line::new(4, "delete of 1 TiB mapped: returns after", of(|s| s.returned), "ms"))?;
    report.add(&Line::new(
        4,
        "delete of 1 TiB mapped: its space is back after",
        of(|s| s.space_back),
        "ms",
    ))?;
    let (longest, before) = (of(|s| s.longest), of(|s| s.longest_before));
    let line = Line::new(4, "longest write to others meanwhile", longest, "ms");
    let worst = seen.iter().map(|s| s.longest).fold(0.0, f64::max);
    let line = line.beside(format!("in {QUIET:?} before"), before, longest / before);
    report.add(&line.note(format!("worst of all rounds {worst:.1}")))
}

fn one(lab: &Lab) -> Result<Seen> {
    let image = lab.huge()?;
    let mut stage = image.stage(lab)?;
    let empty = stage.lun(image.empty().0, SPAN)?;
    stage.luns = vec![stage.luns.remove(1), empty];
    let (clock, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut record = Record::new(clock, stop.clone());
    let load = Load { backend: Backend::Auto, depth: 8, way: Way::Write, len: 4096, limit: Limit::Watched };
    let work = Work { load, order: Order::Random, span: SPAN };
    let times = scope(|scope| {
        let (stage, record) = (&stage, &mut record);
        let load = scope.spawn(move || watched(&stage.luns, work, &lab.workers, record));
        sleep(QUIET);
        let times = delete(stage, clock);
        stop.store(true, Relaxed);
        load.join().map_err(|_| anyhow!("the submitter panicked"))??;
        times
    })?;
    let (deleting, space) = times;
    let ms = |range: &Range<Duration>| (range.end - range.start).as_secs_f64() * 1e3;
    Ok(Seen {
        returned: ms(&deleting),
        space_back: ms(&space),
        longest: record.longest(&space),
        longest_before: record.longest(&(QUIET / 10..deleting.start - QUIET / 10)),
    })
}

/// When the call was made and returned, and when the space was back.
fn delete(stage: &Stage, clock: Instant) -> Result<(Range<Duration>, Range<Duration>)> {
    let used = || stage.store.usage().data_used;
    let before = used();
    let start = clock.elapsed();
    stage.store.delete(ThinId(1))?;
    let end = clock.elapsed();
    // Others take blocks meanwhile, but no more than are written of them.
    while used() > before - (1 << 24) + SPAN / (64 << 10) {
        ensure!(
            clock.elapsed() - start < LONGEST,
            "the space of a deleted device is not back after {LONGEST:?}"
        );
        sleep(Duration::from_millis(5));
    }
    Ok((start..end, start..clock.elapsed()))
}
