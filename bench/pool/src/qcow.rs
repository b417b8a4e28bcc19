//! qcow2 as qemu serves it: the peer for snapshots.
//!
//! `qemu-img bench` does the I/O (io_uring, page cache), and says itself how long it took, so its start is not counted.

use crate::{command, door::Way};
use anyhow::{Context, Result, ensure};
use std::{ffi::OsStr, path::PathBuf};

/// Debian's package.
const PACKAGE: &str = "qemu-utils";

/// An image file.
#[derive(Debug, Clone)]
pub struct Qcow {
    path: PathBuf,
    bytes: u64,
}

impl Qcow {
    /// Whether the programs are there.
    pub fn is_there() -> bool {
        command::is_there("qemu-img")
    }

    /// A new image of `bytes` bytes, all written.
    pub fn new(path: PathBuf, bytes: u64) -> Result<Qcow> {
        let size = bytes.to_string();
        qemu_img(["create", "-q", "-f", "qcow2"].map(OsStr::new), [path.as_os_str(), size.as_ref()])?;
        let write = format!("write -q -P 90 0 {size}");
        command::run(
            "qemu-io",
            PACKAGE,
            [OsStr::new("-f"), "qcow2".as_ref(), "-c".as_ref(), write.as_ref(), path.as_os_str()],
        )?;
        Ok(Qcow { path, bytes })
    }

    /// Takes an internal snapshot.
    pub fn snapshot(&self, name: &str) -> Result<()> {
        self.snapshots("-c", name)
    }

    /// Deletes one.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.snapshots("-d", name)
    }

    fn snapshots(&self, what: &str, name: &str) -> Result<()> {
        qemu_img(["snapshot", what, name].map(OsStr::new), [self.path.as_os_str()]).map(drop)
    }

    /// Reads or writes `len` bytes every `step` bytes, around the end, `count` times; returns the seconds that it took.
    pub fn bench(&self, way: Way, depth: usize, len: u64, step: u64, count: u64) -> Result<f64> {
        ensure!(len <= self.bytes, "a request larger than the image");
        let [depth, len, step, count] = [depth as u64, len, step, count].map(|number| number.to_string());
        let options = ["bench", "-f", "qcow2", "-i", "io_uring", "-t", "writeback", "-d", &depth, "-s", &len];
        let write = if way == Way::Write { &["-w"][..] } else { &[] };
        let options = options.into_iter().chain(["-S", &step, "-c", &count]).chain(write.iter().copied());
        let told = qemu_img(options.map(OsStr::new), [self.path.as_os_str()])?;
        seconds(&told).with_context(|| format!("qemu-img bench said {told:?}"))
    }
}

impl Drop for Qcow {
    fn drop(&mut self) {
        // The folder goes anyway; this gives the memory back earlier.
        let _gone = std::fs::remove_file(&self.path);
    }
}

/// "Run completed in 1.234 seconds."
fn seconds(told: &str) -> Option<f64> {
    told.split_once("Run completed in ")?.1.split_once(' ')?.0.parse().ok()
}

fn qemu_img<'a>(
    options: impl IntoIterator<Item = &'a OsStr>,
    rest: impl IntoIterator<Item = &'a OsStr>,
) -> Result<String> {
    command::run("qemu-img", PACKAGE, options.into_iter().chain(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_bench_is_found() {
        assert_eq!(seconds("Sending 4 write requests, ...\nRun completed in 0.248 seconds.\n"), Some(0.248));
        assert_eq!(seconds("no"), None);
    }
}
