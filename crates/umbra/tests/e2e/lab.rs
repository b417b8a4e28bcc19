//! A lab: one array, one service, LUNs on this machine, all in temporary folders, gone with the value.
//!
//! What always holds: whatever a test did or failed to do, dropping the lab thaws, unmounts, detaches and ends all
//! that lies below its folders, and nothing else. Processes are ended by the id that the lab started or that an
//! attachment wrote into the lab's own runtime folder.

use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub const UMBRA: &str = env!("CARGO_BIN_EXE_umbra");

pub struct Lab {
    /// Disk: the array's folder, mount points, databases.
    pub dir: TempDir,
    /// Memory: sockets, attachments, the guard's records (design S3 asks for tmpfs).
    pub runtime: TempDir,
    pub array: Option<Child>,
    pub service: Option<Child>,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The JSON on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// Demands exit 0.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// Runs a program to its end, at most two minutes.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> Ran {
    let output = Command::new("timeout")
        .arg("120")
        .arg(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("start {program}: {e}"));
    Ran::of(output)
}

/// Polls until `done`, at most `limit`.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Lab {
    /// An array with a 4 GiB pool and a service beside it, both answering. None where the machine lacks a part.
    pub fn new() -> Option<Lab> {
        Lab::with_array_args(&[])
    }

    pub fn with_array_args(args: &[&str]) -> Option<Lab> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            eprintln!("SKIPPED: end-to-end tests need root and /dev/fuse");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("umbra-e2e").tempdir().expect("temporary folder");
        // Databases run as another user below it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let memory =
            if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let runtime =
            tempfile::Builder::new().prefix("umbra-e2e").tempdir_in(memory).expect("runtime folder");
        let mut lab = Lab { dir, runtime, array: None, service: None };
        lab.write_config();
        lab.start_array(args);
        lab.start_service(&[]);
        Some(lab)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn array_socket(&self) -> PathBuf {
        self.path("array/array.sock")
    }

    pub fn service_socket(&self) -> PathBuf {
        self.runtime.path().join("umbra.sock")
    }

    fn write_config(&self) {
        fs::create_dir_all(self.path("writers.d")).unwrap();
        let config = format!(
            "[service]\nruntime = {:?}\nstate = {:?}\nsocket = {:?}\nhost_name = \"lab\"\n\
             initiator = \"iqn.2026-11.io.umbra:host:lab\"\nwriters_dir = {:?}\n\n[array]\naddress = \"unix:{}\"\n",
            self.runtime.path(),
            self.path("state"),
            self.service_socket(),
            self.path("writers.d"),
            self.array_socket().display(),
        );
        fs::write(self.path("umbra.toml"), config).unwrap();
    }

    fn log(&self, name: &str) -> Stdio {
        let file = fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        Stdio::from(file)
    }

    pub fn start_array(&mut self, args: &[&str]) {
        self.start_array_as(args, &[]);
    }

    /// The array with a fault switched on (only in builds for tests).
    pub fn start_array_with(&mut self, env: &[(&str, &str)]) {
        self.start_array_as(&[], env);
    }

    fn start_array_as(&mut self, args: &[&str], env: &[(&str, &str)]) {
        let child = Command::new(UMBRA)
            .args(["array", "serve", "--size", "4G", "--dir"])
            .arg(self.path("array"))
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(self.log("array.log"))
            .stderr(self.log("array.log"))
            .spawn()
            .unwrap();
        self.array = Some(child);
        eventually("the array answers", Duration::from_secs(20), || {
            self.umbra(&["pool", "status"]).code == 0
        });
    }

    pub fn start_service(&mut self, env: &[(&str, &str)]) {
        let child = Command::new(UMBRA)
            .arg("serve")
            .arg("--config")
            .arg(self.path("umbra.toml"))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(self.log("service.log"))
            .stderr(self.log("service.log"))
            .spawn()
            .unwrap();
        self.service = Some(child);
        eventually("the service answers", Duration::from_secs(20), || self.umbra(&["writers"]).code == 0);
    }

    /// SIGKILL, and reaped.
    pub fn kill_array(&mut self) {
        end(&mut self.array, rustix::process::Signal::KILL);
    }

    /// SIGTERM: a clean stop.
    pub fn stop_array(&mut self) {
        end(&mut self.array, rustix::process::Signal::TERM);
    }

    pub fn kill_service(&mut self) {
        end(&mut self.service, rustix::process::Signal::KILL);
    }

    pub fn stop_service(&mut self) {
        end(&mut self.service, rustix::process::Signal::TERM);
    }

    /// An `umbra` command against this lab's array and service.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["120", UMBRA, "--socket"])
            .arg(self.service_socket())
            .arg("--array")
            .arg(format!("unix:{}", self.array_socket().display()))
            .args(args)
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    pub fn umbra(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().expect("start umbra"))
    }

    /// A LUN of `size`, unmasked to this host and attached; its device.
    #[track_caller]
    pub fn lun(&self, name: &str, size: &str) -> String {
        self.umbra(&["lun", "create", name, "--size", size]).ok();
        self.umbra(&["lun", "unmask", name, "--to", "lab"]).ok();
        self.umbra(&["lun", "attach", name]).ok().stdout.trim().to_owned()
    }

    /// A LUN with a file system, mounted at a folder of the lab; the mount point.
    #[track_caller]
    pub fn mounted(&self, name: &str, size: &str, fs: &str) -> PathBuf {
        let device = self.lun(name, size);
        self.mkfs(&device, fs);
        let at = self.path(&format!("mnt-{name}"));
        self.umbra(&["lun", "mount", name, at.to_str().unwrap()]).ok();
        at
    }

    #[track_caller]
    pub fn mkfs(&self, device: &str, fs: &str) {
        let quiet = if fs == "ext4" { "-qF" } else { "-qf" };
        run(&format!("mkfs.{fs}"), &[quiet, device]).ok();
    }

    /// Creates a set; its JSON.
    #[track_caller]
    pub fn create(&self, volumes: &[&Path]) -> Value {
        let mut args = vec!["create", "--json"];
        args.extend(volumes.iter().map(|v| v.to_str().unwrap()));
        self.umbra(&args).ok().json()
    }

    /// All sets that the array knows, broken ones apart.
    pub fn sets(&self) -> usize {
        let json = self.umbra(&["list", "--json"]).ok().json();
        json["sets"].as_array().map_or(0, Vec::len)
    }

    pub fn logs(&self) -> String {
        ["array.log", "service.log"]
            .iter()
            .map(|name| format!("--- {name}\n{}", fs::read_to_string(self.path(name)).unwrap_or_default()))
            .collect()
    }
}

fn end(child: &mut Option<Child>, signal: rustix::process::Signal) {
    let Some(mut child) = child.take() else { return };
    if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
        let _ = rustix::process::kill_process(pid, signal);
    }
    let limit = Instant::now() + Duration::from_secs(30);
    while child.try_wait().ok().flatten().is_none() {
        if Instant::now() > limit {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a file system takes writes: a probe writes one byte, and is given `limit` for it.
pub fn writable_within(at: &Path, limit: Duration) -> bool {
    let probe = at.join(".probe");
    let mut child = Command::new("dd")
        .args(["if=/dev/zero", "bs=1", "count=1", "conv=fsync", "status=none"])
        .arg(format!("of={}", probe.display()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            // The file stays: removing it would wait, without limit, for a freeze that has just begun.
            return status.success();
        }
        if Instant::now() > end {
            // It hangs in the kernel until somebody thaws; it is ended then.
            let _ = child.kill();
            std::thread::spawn(move || child.wait());
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Unmounts for real where it can, and lazily where a failed test left something open.
fn unmount(at: &str) {
    for _ in 0..20 {
        let ran = run("umount", &[at]);
        if ran.code == 0 || !ran.stderr.contains("busy") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    if run("mountpoint", &["-q", at]).code == 0 {
        let _ = run("umount", &["-l", at]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "{}", self.logs());
        }
        end(&mut self.service, rustix::process::Signal::TERM);
        for mount in self.mounts() {
            let _ = run("fsfreeze", &["-u", &mount]);
            unmount(&mount);
        }
        self.end_attachments();
        end(&mut self.array, rustix::process::Signal::TERM);
    }
}

impl Lab {
    /// Mount points below this lab's folders, deepest (latest) first, without the attachments' own.
    fn mounts(&self) -> Vec<String> {
        let attachments = self.runtime.path().join("attach");
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut found: Vec<String> = text
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|at| {
                Path::new(at).starts_with(self.dir.path()) || Path::new(at).starts_with(self.runtime.path())
            })
            .filter(|at| !Path::new(at).starts_with(&attachments))
            .map(str::to_owned)
            .collect();
        found.reverse();
        found
    }

    fn end_attachments(&self) {
        let Ok(entries) = fs::read_dir(self.runtime.path().join("attach")) else { return };
        for entry in entries.flatten() {
            let view = entry.path().join("view");
            let listed = run("losetup", &["-n", "-O", "NAME,BACK-FILE", "-l", "--raw"]).stdout;
            for line in listed.lines().filter(|line| line.contains(view.to_str().unwrap_or("\0"))) {
                let _ = run("losetup", &["-d", line.split(' ').next().unwrap_or_default()]);
            }
            if let Some(pid) =
                fs::read_to_string(entry.path().join("pid")).ok().and_then(|t| t.trim().parse().ok())
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            unmount(view.to_str().unwrap_or_default());
        }
    }
}
