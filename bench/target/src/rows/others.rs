//! Row 4: other people's initiators, not judged: they cost more than any target, but they are nobody's own.

use crate::{
    generator::Address,
    iscsi::LUN,
    lab::{Lab, Named},
    serve::TARGET,
};
use anyhow::{Context, Result, ensure};
use std::process::Command;
use umbra_bench_common::report::{Line, Report, tell};

/// Requests of a run of qemu-img.
const COUNT: u32 = 20_000;
const QUICK_COUNT: u32 = 2_000;
/// Seconds of a run of iscsi-perf.
const SECONDS: &str = "2";
/// They wait for ever for a server that says nothing.
const PATIENCE: &str = "60";

/// Runs a tool and finds the requests in a second.
type Tool = fn(&str, u32) -> Result<f64>;

const TOOLS: [(&str, Tool); 3] = [
    ("qemu-img bench, 4 KiB read, QD 16", |url, count| qemu_img(url, count, &["-d", "16"])),
    ("qemu-img bench, 4 KiB write, QD 16", |url, count| qemu_img(url, count, &["-d", "16", "-w"])),
    ("iscsi-perf, 4 KiB random read, QD 16", iscsi_perf),
];

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let count = if lab.quick { QUICK_COUNT } else { COUNT };
    for (name, tool) in TOOLS {
        let rate = |named: &Named| tool(&url(named.server.address), count);
        let tgt = match lab.tgt.as_ref().map(rate).transpose() {
            Ok(tgt) => tgt,
            Err(why) => {
                tell(&format!("{name}: {why:#}"));
                continue;
            }
        };
        for form in &lab.ours {
            let ours = rate(form)?;
            let line = Line::new(4, format!("{name}, {}", form.name), ours, "IO/s");
            let line = tgt.map_or(line.clone(), |tgt| line.beside("tgt", tgt, ours / tgt));
            report.add(&line.note("one run each"))?;
        }
    }
    Ok(())
}

fn url(address: Address) -> String {
    format!("iscsi://{}/{TARGET}/{LUN}", address.socket)
}

/// A stride of 33 blocks: as near to chance as it comes.
fn qemu_img(url: &str, count: u32, options: &[&str]) -> Result<f64> {
    let number = count.to_string();
    let base = ["qemu-img", "bench", "-f", "raw", "-s", "4096", "-S", "135168", "-c", &number];
    let told = output(&[&base[..], options, &[url]].concat())?;
    let seconds = told.split_once("Run completed in ").and_then(|(_, rest)| rest.split_once(' '));
    let seconds: f64 = seconds.and_then(|(seconds, _)| seconds.parse().ok()).context("no time told")?;
    Ok(f64::from(count) / seconds)
}

fn iscsi_perf(url: &str, _count: u32) -> Result<f64> {
    let told = output(&["iscsi-perf", "-m", "16", "-b", "8", "-t", SECONDS, "-r", url])?;
    average(&told).with_context(|| format!("iscsi-perf said {told:?}"))
}

/// "iops average 12632 (49 MB/s)", told again and again.
fn average(told: &str) -> Option<f64> {
    told.rsplit_once("iops average ")?.1.split_once(' ')?.0.parse().ok()
}

fn output(words: &[&str]) -> Result<String> {
    let output = Command::new("timeout").arg(PATIENCE).args(words).output().context("start timeout")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}: {}", words[0], output.status, errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_average_counts() {
        let told = "iops average 1 (0 MB/s), \riops average 12632 (49 MB/s)  \n\nfinished.\n";
        assert_eq!(average(told), Some(12632.0));
        assert_eq!(average("no"), None);
    }
}
