//! Row 5: from SIGKILL to the first I/O with 1 TiB mapped, beside `thin_check` of the same metadata.
//!
//! A child serves the pool, writes to new blocks without a commit, and is killed; what it left is copied for each round.

use crate::{
    door::{Door, Lun},
    image::Image,
    lab::Lab,
    places::{BLOCK, STRIDE},
    processor::timed,
    report::{Goal, Line, Report, tell},
    rounds::median,
};
use anyhow::{Context, Result, ensure};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};
use umbra_store::{Background, LunStore, PoolParams, ThinId, ThinPoolStore};

/// New blocks that the child writes: records in the log.
const NEW_BLOCKS: u64 = 4096;
const READY: &str = "ready";

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let image = lab.huge()?.copy(lab)?;
    killed(&image)?;
    let (mut starts, mut costs, mut checks) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..lab.rounds {
        let copy = image.copy_on_same_data(lab)?;
        let (wall, own) = timed(|| start(&copy))?;
        starts.push(wall);
        costs.push(own);
        // It takes much longer than what it stands beside; some rounds of it are enough.
        if round < 3 {
            checks.extend(check(&image)?);
        }
    }
    let ours = median(starts);
    let line = Line::new(5, "start after SIGKILL with 1 TiB mapped, to the first I/O", ours, "s");
    let line = line
        .goal(Goal::AtMost(1.0))
        .note(format!("{NEW_BLOCKS} log records entered; {:.3} s of processor time", median(costs)));
    let line = match checks.is_empty() {
        true => line,
        false => line.beside("thin_check", median(checks.clone()), ours / median(checks)),
    };
    report.add(&line)
}

/// Opens what was left, serves the first I/O, and dies like the one before.
fn start(image: &Image) -> Result<()> {
    let store = ThinPoolStore::create_or_open(image.folder(), PoolParams::new(BLOCK))?;
    let lun = Lun::new(&store, store.open(ThinId(1), 1 << 40)?)?;
    lun.read(12345 * BLOCK, &mut [0; 4096])
}

/// Seconds that thin_check takes; none if it is not there.
fn check(image: &Image) -> Result<Option<f64>> {
    let begun = Instant::now();
    let Ok(output) = Command::new("thin_check").arg(image.path("pool.meta")).output() else {
        tell("thin_check is not there (Debian: thin-provisioning-tools)");
        return Ok(None);
    };
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "thin_check: {}: {told}", output.status);
    Ok(Some(begun.elapsed().as_secs_f64()))
}

/// Leaves the image as the death of its process does.
fn killed(image: &Image) -> Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(program);
    child.arg("--until-killed").arg(image.folder()).arg(image.empty().to_string()).stdout(Stdio::piped());
    let mut child = child.spawn().context("start a child")?;
    let told = first_line(&mut child);
    child.kill().context("kill the child")?;
    child.wait().context("wait for the child")?;
    ensure!(told? == READY, "the child ended early");
    Ok(())
}

fn first_line(child: &mut Child) -> Result<String> {
    let output = child.stdout.take().context("a child without output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).context("read what the child says")?;
    Ok(line.trim_end().to_owned())
}

/// The child: writes to the empty device, says so, and waits to be killed.
pub fn until_killed(folder: &Path, device: u32) -> Result<()> {
    let params = PoolParams { background: Background::Off, ..PoolParams::new(BLOCK) };
    let store = ThinPoolStore::create_or_open(folder, params)?;
    let lun = Lun::new(&store, store.open(ThinId(device), 1 << 40)?)?;
    for i in 0..NEW_BLOCKS {
        lun.write(i * STRIDE % NEW_BLOCKS * BLOCK, &[7; 4096])?;
    }
    let mut output = std::io::stdout();
    writeln!(output, "{READY}").and_then(|()| output.flush()).context("say ready")?;
    loop {
        std::thread::park();
    }
}
