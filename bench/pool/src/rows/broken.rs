//! Row 9: the array's part of a break (design B3), of a copy with 1 GiB mapped and of one with 1 TiB.
//!
//! An array in this process is asked over its management socket, as the service asks it. What is measured is the request
//! after which there is no way back: it changes records of the catalogue, and nothing that grows with what is mapped.

use crate::{
    door::Lun,
    lab::{Lab, fill, repeat},
    report::{Goal, Line, Report},
    rounds::median,
};
use anyhow::{Context, Result, ensure};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};
use umbra_api::{Address, ArrayClient, v1};
use umbra_array::{Options, Server};
use umbra_store::{LunStore, PoolParams, ThinPoolStore};
use uuid::Uuid;

/// Name and bytes of the two LUNs.
const SMALL: (&str, u64) = ("small", 1 << 30);
const LARGE: (&str, u64) = ("large", 1 << 40);
const POOL: u64 = LARGE.1 + (64 << 30);
const HOST: &str = "host";
/// What was deleted has left the pool before that, or something is wrong.
const LONGEST: Duration = Duration::from_secs(120);

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let folder = lab.folder("array")?;
    prepare(folder.path())?;
    let array = Array::start(folder.path())?;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=lab.rounds {
        let pair = [array.break_copy_of(SMALL.0)?, array.break_copy_of(LARGE.0)?];
        if round > 0 {
            small.push(pair[0]);
            large.push(pair[1]);
        }
    }
    array.server.stop()?;
    let ratio = median(small.iter().zip(&large).map(|(small, large)| small / large));
    let (small, large) = (median(small), median(large));
    report.add(&Line::new(9, "the array's break, 1 GiB mapped", small, "ms").goal(Goal::AtMost(10.0)))?;
    report.add(&Line::new(9, "the array's break, 1 TiB mapped", large, "ms").goal(Goal::AtMost(10.0)))?;
    let flat = Line::new(9, "flat from 1 GiB to 1 TiB mapped", large, "ms").beside("1 GiB", small, ratio);
    report.add(&flat.goal(Goal::RatioAtLeast(0.8)))
}

/// An array with two LUNs, all mapped: the large one shares the blocks of the small one, over and over.
fn prepare(folder: &Path) -> Result<()> {
    let array = Array::start(folder)?;
    for (name, size_bytes) in [SMALL, LARGE] {
        let wish = v1::CreateLunRequest {
            id: Uuid::new_v4().to_string(),
            name: name.into(),
            size_bytes,
            ..Default::default()
        };
        array.runtime.block_on(array.client.clone().create_lun(wish))?;
    }
    let host = v1::AddHostRequest {
        name: HOST.into(),
        initiator: "iqn.2026-01.bench:host".into(),
        ..Default::default()
    };
    array.runtime.block_on(array.client.clone().add_host(host))?;
    array.server.stop()?;

    let store = ThinPoolStore::create_or_open(folder, PoolParams::new(POOL))?;
    let ids = store.device_ids()?;
    ensure!(ids.len() == 2, "the pool has {} devices, not one for each LUN", ids.len());
    fill(&Lun::new(&store, store.open(ids[0], SMALL.1)?)?, SMALL.1)?;
    repeat(&store, ids[0], SMALL.1, ids[1], LARGE.1)?;
    store.close()?;
    Ok(())
}

/// An array in this process, and a client of it.
struct Array {
    server: Server,
    client: ArrayClient,
    runtime: Runtime,
}

impl Array {
    fn start(folder: &Path) -> Result<Array> {
        let server = Server::start(Options { size: Some(POOL), ..Options::new(folder) })?;
        let runtime = Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        let client = runtime.block_on(umbra_api::array(&Address::Unix(folder.join("array.sock"))))?;
        Ok(Array { server, client, runtime })
    }

    /// Cuts a LUN, breaks the copy, and deletes it; milliseconds that the break took.
    fn break_copy_of(&self, lun: &str) -> Result<f64> {
        let took = self.runtime.block_on(break_copy_of(self.client.clone(), lun))?;
        ensure!(self.server.wait_reaped(LONGEST), "a deleted copy is still in the pool after {LONGEST:?}");
        Ok(took)
    }
}

async fn break_copy_of(mut array: ArrayClient, lun: &str) -> Result<f64> {
    let set_key = Uuid::new_v4().to_string();
    let wish = v1::BeginSetRequest {
        set_id: set_key.clone(),
        host: HOST.into(),
        origin_lun_keys: vec![lun.into()],
        ..Default::default()
    };
    array.begin_set(wish).await?;
    array.cut_set(v1::CutSetRequest { set_key: set_key.clone(), hold_limit_ms: 0 }).await?;
    array.commit_set(v1::CommitSetRequest { set_key: set_key.clone() }).await?;
    let wish = v1::ImportSetRequest { set_key: set_key.clone(), host: HOST.into(), steal: false };
    array.import_set(wish).await?;
    let wish = v1::BeginBreakRequest { set_key: set_key.clone(), host: HOST.into(), read_write: true };
    array.begin_break(wish).await?;

    let wish = v1::CommitBreakRequest { set_key, read_write: true, luns: Vec::new() };
    let begun = Instant::now();
    let broken = array.commit_break(wish).await?;
    let took = begun.elapsed().as_secs_f64() * 1e3;

    let set = broken.into_inner().set.context("the array says nothing of the broken set")?;
    for lun in set.luns {
        array.delete_lun(v1::DeleteLunRequest { key: lun.working_lun_id, if_revision: 0 }).await?;
    }
    Ok(took)
}
