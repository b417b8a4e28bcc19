//! qcow2 images served by qemu's storage daemon, each as a file through FUSE; cut by one transaction of external snapshots,
//! whose empty overlays are made and opened beforehand.
//!
//! What always holds: the daemon and its mounts are gone at the end of a round, also after an error, and soon after our
//! own death.

use super::{HOT, qmp::Qmp, subject::Subject};
use crate::{command, door::Called, lab::Lab};
use anyhow::{Context, Result, bail};
use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use serde_json::json;
use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use umbra_ring::Workers;

const DAEMON: &str = "qemu-storage-daemon";
/// Debian's packages that have it and the rest.
const PACKAGES: &str = "qemu-system-common, qemu-utils";
const SIZE: &str = "1G";
/// The daemon comes and goes within this.
const LONGEST: Duration = Duration::from_secs(10);

/// So many images, served anew in each round.
pub struct Images {
    count: usize,
    /// One for each request at a time, so that none waits for another but in qemu.
    workers: Arc<Workers>,
    served: Option<Served>,
}

impl Images {
    /// Images to which `depth` requests are put at a time.
    pub fn new(count: usize, depth: usize) -> Result<Images> {
        for program in [DAEMON, "qemu-img", "qemu-io", "setpriv"] {
            if !command::is_there(program) {
                bail!("{program} is not there (Debian: {PACKAGES}, util-linux)");
            }
        }
        // A file of each image for each cut of a round is open at a time; the daemon inherits the limit.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
            .context("raise the limit of open files")?;
        Ok(Images { count, workers: Arc::new(Workers::start(depth, 1024)?), served: None })
    }

    fn served(&mut self) -> Result<&mut Served> {
        self.served.as_mut().context("the images are not served")
    }
}

impl Subject for Images {
    const CUTS: u32 = 4;
    type Door = Called;

    fn begin(&mut self, lab: &Lab) -> Result<(Vec<Called>, Arc<Workers>)> {
        let served = self.served.insert(Served::start(lab.folder("qcow2")?, self.count)?);
        Ok((served.files.clone(), self.workers.clone()))
    }

    fn prepare(&mut self, number: u32) -> Result<()> {
        let count = self.count;
        let served = self.served()?;
        (0..count).try_for_each(|image| served.add(number, image, "empty"))
    }

    fn cut(&mut self, number: u32) -> Result<Option<Duration>> {
        let action = |image| {
            let [node, overlay] = [number - 1, number].map(|layer| node(layer, image));
            json!({ "type": "blockdev-snapshot", "data": { "node": node, "overlay": overlay } })
        };
        let actions: Vec<_> = (0..self.count).map(action).collect();
        self.served()?.qmp.call("transaction", json!({ "actions": actions }))?;
        Ok(None)
    }

    fn flush(&mut self) -> Result<()> {
        self.served()?.files.iter().try_for_each(|Called(file)| Ok(file.sync_data()?))
    }

    fn end(&mut self, _cuts: u32) -> Result<()> {
        self.served = None;
        Ok(())
    }
}

/// The node of an image after so many cuts.
fn node(layer: u32, image: usize) -> String {
    format!("q{layer}-{image}")
}

/// A running daemon.
struct Served {
    files: Vec<Called>,
    qmp: Qmp,
    daemon: Daemon,
}

impl Served {
    fn start(folder: TempDir, count: usize) -> Result<Served> {
        let [empty, hot] = ["empty", "hot"].map(|name| folder.path().join(name));
        command::run("qemu-img", PACKAGES, ["create", "-q", "-f", "qcow2", path(&empty)?, SIZE])?;
        fs::copy(&empty, &hot)?;
        let write = format!("write -q -P 90 0 {HOT}");
        command::run("qemu-io", PACKAGES, ["-f", "qcow2", "-c", &write, path(&hot)?])?;
        let (daemon, qmp) = Daemon::start(folder)?;
        let mut served = Served { files: Vec::new(), qmp, daemon };
        for image in 0..count {
            served.add(0, image, "hot")?;
            served.export(image)?;
        }
        Ok(served)
    }

    /// Opens a copy of a file as an image's node.
    fn add(&mut self, layer: u32, image: usize, of: &str) -> Result<()> {
        let name = node(layer, image);
        let file = self.daemon.path(&name);
        fs::copy(self.daemon.path(of), &file)?;
        let below = json!({ "driver": "file", "filename": path(&file)?, "aio": "io_uring" });
        let node = json!({ "driver": "qcow2", "node-name": name, "file": below, "backing": null });
        self.qmp.call("blockdev-add", node).map(drop)
    }

    fn export(&mut self, image: usize) -> Result<()> {
        let at = self.daemon.path(&format!("export{image}"));
        File::create(&at)?;
        let (id, node) = (format!("x{image}"), node(0, image));
        let export = json!({
            "type": "fuse", "id": id, "node-name": node, "mountpoint": path(&at)?, "writable": true
        });
        self.qmp.call("block-export-add", export)?;
        let file = File::options().read(true).write(true).open(&at).context("open an exported image")?;
        self.files.push(Called(Arc::new(file)));
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // What is open keeps its mount.
        self.files.clear();
        if let Err(error) = self.qmp.call("quit", json!({})) {
            crate::report::tell(&format!("{DAEMON} does not quit: {error:#}"));
        }
    }
}

/// The process, and the folder of its files and mounts.
struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Daemon {
    fn start(folder: TempDir) -> Result<(Daemon, Qmp)> {
        let socket = folder.path().join("qmp");
        let chardev = format!("socket,path={},server=on,wait=off,id=qmp", path(&socket)?);
        // It ends with us, and takes its mounts with it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", DAEMON, "--chardev", &chardev, "--monitor", "chardev=qmp"])
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("start {DAEMON} (Debian: {PACKAGES})"))?;
        let mut daemon = Daemon { child, folder };
        let begun = Instant::now();
        loop {
            if let Ok(socket) = UnixStream::connect(&socket) {
                return Ok((daemon, Qmp::new(socket)?));
            }
            if let Some(status) = daemon.child.try_wait()? {
                bail!("{DAEMON} ended: {status}");
            }
            if begun.elapsed() > LONGEST {
                bail!("{DAEMON} does not listen after {LONGEST:?}");
            }
            sleep(Duration::from_millis(2));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn has_ended(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < LONGEST {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            sleep(Duration::from_millis(2));
        }
        false
    }

    /// What it left mounted, if it had to be killed.
    fn unmount(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for at in mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new) {
            if at.starts_with(self.folder.path()) {
                let _busy_or_gone = unmount(at, UnmountFlags::DETACH);
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ended_meanwhile = self.child.kill();
            let _nothing_else_to_do = self.child.wait();
        }
        self.unmount();
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}
