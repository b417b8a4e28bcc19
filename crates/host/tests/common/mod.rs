//! What the tests share: the helper program, attachments that are always taken down, mounts that are always unmounted.

#![allow(dead_code)]

pub mod mini_target;

use mini_target::{MiniTarget, NAA};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use umbra_base::LunId;
use umbra_host::{
    attach::{self, Attachment, Credentials, Designators, DeviceWish, Endpoint, Launcher, Spec},
    mounts,
};

/// The program that stands for `umbra`.
pub fn helper() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_umbra-host-helper"))
}

/// Whether the machine lets us; says loudly what is missing.
pub fn can_attach() -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        "root"
    } else if !Path::new("/dev/fuse").exists() {
        "/dev/fuse"
    } else if !Path::new("/dev/loop-control").exists() {
        "/dev/loop-control"
    } else {
        return true;
    };
    eprintln!("SKIPPED: needs {missing}");
    false
}

pub fn lun_id() -> LunId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    text.trim().parse().unwrap()
}

/// A target, a runtime folder and what is attached there; all gone at the end, whatever happens.
pub struct Bench {
    pub target: MiniTarget,
    pub folder: tempfile::TempDir,
    pub lun: LunId,
    mounts: Vec<PathBuf>,
}

impl Bench {
    pub fn new(size: usize) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let target = MiniTarget::start(&folder.path().join("array.sock"), size);
        Bench { target, folder, lun: lun_id(), mounts: Vec::new() }
    }

    pub fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub fn spec(&self, device: DeviceWish) -> Spec {
        Spec {
            runtime: self.runtime(),
            lun: self.lun,
            endpoint: Endpoint::Unix(self.folder.path().join("array.sock")),
            target: "iqn.2026-01.io.umbra:test".into(),
            initiator: "iqn.2026-01.io.umbra:host".into(),
            credentials: Credentials::None,
            number: 3,
            expect: Designators { naa: Some(NAA), uuid: None },
            device,
        }
    }

    pub fn attach(&self, device: DeviceWish) -> Attachment {
        attach::start(&helper(), &self.spec(device)).unwrap()
    }

    pub fn mount(&mut self, device: &Path) -> PathBuf {
        let path = self.folder.path().join(format!("mnt{}", self.mounts.len()));
        std::fs::create_dir_all(&path).unwrap();
        run("mount", &[device.to_str().unwrap(), path.to_str().unwrap()]);
        self.mounts.push(path.clone());
        path
    }

    /// Another LUN with the same bytes, as a copy has them.
    pub fn copy(&self) -> Bench {
        let bench = Bench::new(0);
        let bytes = self.target.lu.lock().unwrap().disk.clone();
        let mut lu = bench.target.lu.lock().unwrap();
        (lu.disk, lu.durable) = (bytes.clone(), bytes);
        drop(lu);
        bench
    }

    pub fn unmount(&mut self, path: &Path) {
        assert!(unmount(path), "{} stays in use", path.display());
        self.mounts.retain(|mount| mount != path);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for mount in self.mounts.drain(..) {
            unmount(&mount);
        }
        for mut attachment in attach::list(&self.runtime()).unwrap_or_default() {
            let pid = attachment.state().pid;
            // A waiting device would make its own taking down wait.
            let _ = attachment.abandon("the test is over");
            if attachment.detach().is_err() {
                kill(pid);
            }
        }
        let _ = attach::sweep(&self.runtime());
    }
}

/// Unmounts; false if it stays in use. A child that another test starts has this test's files open until its `exec`:
/// waits for that.
pub fn unmount(path: &Path) -> bool {
    let start = Instant::now();
    while let Err(error) = mounts::unmount(path) {
        if start.elapsed() > Duration::from_secs(10) {
            eprintln!("{error:?}");
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

pub fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    eventually("the process is gone", || !Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists());
}

/// Runs a program that has to succeed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = try_run(program, args);
    let all =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}\n{all}", output.status);
    all
}

pub fn try_run(program: &str, args: &[&str]) -> Output {
    Command::new("timeout").arg("120").arg(program).args(args).stdin(Stdio::null()).output().unwrap()
}

pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reproducible bytes.
pub struct Noise(pub u64);

impl Noise {
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.number().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
