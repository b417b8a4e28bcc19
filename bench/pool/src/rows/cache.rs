//! Row 6: random reads over 1 TiB mapped with 64 MiB for everything that is kept of metadata, mappings and nodes of trees
//! together, beside the same over 1 GiB.
//!
//! Both read the same amount of data: the tebibyte shares a gibibyte over and over. What differs is how mappings are found.

use crate::{
    door::Way,
    lab::{Lab, Stage, fill, repeat},
    places::Order,
    report::{Goal, Line, Report, tell},
    rounds::{Contender, alternate},
    run::{Work, alone},
    submit::{Limit, Load},
};
use anyhow::Result;
use umbra_ring::Backend;
use umbra_store::{LunStore, PoolParams, ThinId};

/// Bytes for what is kept of metadata: five parts of six for mappings, one for nodes.
const CACHE: u64 = 64 << 20;
const LARGE: u64 = 1 << 40;
const SMALL: u64 = 1 << 30;
/// Reads after which the cache holds what it can: six for each of its lines.
const WARM: u64 = 600_000;

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let large = large(lab)?;
    let small = lab.stage(1, SMALL, 64 << 20)?;
    tell("filling the cache");
    let load =
        Load { backend: Backend::Auto, depth: 32, way: Way::Read, len: 4096, limit: Limit::Count(WARM) };
    alone(&large.luns[0], Work { load, order: Order::Random, span: LARGE }, &lab.workers)?;
    for depth in [1, 32] {
        let work = |span| lab.timed(Backend::Auto, depth, Way::Read, 4096, Order::Random, span);
        let mut contenders = [
            Contender::new("1 TiB", || alone(&large.luns[0], work(LARGE), &lab.workers)),
            Contender::new("1 GiB", || alone(&small.luns[0], work(SMALL), &lab.workers)),
        ];
        let series = alternate(lab.rounds, lab.slices, &mut contenders)?;
        let case = format!("4 KiB random read over 1 TiB, 64 MiB cache in all, QD {depth}");
        let line = Line::rates(6, case, &series[0], "over 1 GiB", &series[1]);
        report.add(&line.goal(Goal::RatioAtLeast(0.5)))?;
    }
    Ok(())
}

/// A pool whose device 1 has 1 TiB mapped, on the blocks of device 2.
fn large(lab: &Lab) -> Result<Stage> {
    let mut params = PoolParams::new(LARGE);
    params.cache_bytes = CACHE;
    let mut stage = Stage::open(lab.folder("large")?, params, &[])?;
    let (device, data) = (ThinId(1), ThinId(2));
    stage.store.create(device)?;
    stage.store.create(data)?;
    fill(&stage.lun(data.0, SMALL)?, SMALL)?;
    repeat(&stage.store, data, SMALL, device, LARGE)?;
    stage.luns = vec![stage.lun(device.0, LARGE)?];
    Ok(stage)
}
