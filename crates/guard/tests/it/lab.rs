//! Real file systems on loop devices in a temporary folder. Whatever a test does, dropping them thaws and unmounts.

use std::{
    cell::RefCell,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};
use umbra_sys::freeze;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Ext4,
    Xfs,
    Tmpfs,
}

thread_local! {
    /// What the test has stopped: a failed test must leave nothing that can never end.
    static STOPPED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

pub struct Lab {
    folder: tempfile::TempDir,
    /// Unmounted in reverse, before the folder goes.
    mounts: RefCell<Vec<PathBuf>>,
}

pub struct Fs {
    pub path: PathBuf,
}

impl Lab {
    /// `None`, and a word on stderr, where the machine lacks something.
    pub fn new() -> Option<Lab> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: freezing file systems needs root");
            return None;
        }
        for tool in ["mkfs.ext4", "mkfs.xfs", "mount", "umount"] {
            if run(Command::new("which").arg(tool)).is_err() {
                eprintln!("SKIPPED: there is no {tool}");
                return None;
            }
        }
        Some(Lab { folder: tempfile::tempdir().unwrap(), mounts: RefCell::default() })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub fn mount(&self, kind: Kind) -> Fs {
        self.mount_in(kind, self.folder.path())
    }

    /// A file system whose image lies in `folder`.
    pub fn mount_in(&self, kind: Kind, folder: &Path) -> Fs {
        let number = self.mounts.borrow().len();
        let image = folder.join(format!("image{number}"));
        let path = self.folder.path().join(format!("mount{number}"));
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        match kind {
            Kind::Tmpfs => mount.args(["-t", "tmpfs", "none"]),
            _ => {
                let bytes = if kind == Kind::Xfs { 320 << 20 } else { 64 << 20 };
                File::create(&image).unwrap().set_len(bytes).unwrap();
                let mkfs = if kind == Kind::Xfs { "mkfs.xfs" } else { "mkfs.ext4" };
                run(Command::new(mkfs).arg("-q").arg(&image)).unwrap();
                mount.args(["-o", "loop"]).arg(&image)
            }
        };
        run(mount.arg(&path)).unwrap();
        self.mounts.borrow_mut().push(path.clone());
        Fs { path }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        STOPPED.take().into_iter().filter(|pid| is_alive(*pid)).for_each(resume);
        for path in self.mounts.borrow().iter() {
            thaw_by_force(path);
        }
        for path in self.mounts.borrow().iter().rev() {
            // A guard of the test may be about to close its descriptors.
            let start = Instant::now();
            while let Err(said) = run(Command::new("umount").arg(path)) {
                if start.elapsed() > Duration::from_secs(10) {
                    eprintln!("cannot unmount {}: {said}", path.display());
                    break;
                }
                thaw_by_force(path);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Fs {
    /// Writes a file from a thread; a message comes when the write has returned.
    pub fn writer(&self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel();
        let path = self.path.join("held");
        std::thread::spawn(move || {
            std::fs::write(path, "x").unwrap();
            let _ = sender.send(());
        });
        receiver
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// By the only way there is to ask: freeze it.
pub fn is_frozen(path: &Path) -> bool {
    let folder = File::open(path).unwrap();
    match freeze::freeze(&folder) {
        // A process of the guard that is still at work may have thawed the probe's freeze: a thaw of what is not frozen says EINVAL.
        Ok(()) => match freeze::thaw(&folder) {
            Err(error) if error.raw_os_error() != Some(22) => panic!("thaw {}: {error}", path.display()),
            _ => false,
        },
        Err(error) if error.raw_os_error() == Some(16) => true,
        Err(error) => panic!("probe {}: {error}", path.display()),
    }
}

pub fn freeze_by_hand(path: &Path) {
    freeze::freeze(File::open(path).unwrap()).unwrap();
}

/// Like `fsfreeze -u` from elsewhere.
pub fn thaw_by_force(path: &Path) {
    let _ = File::open(path).and_then(freeze::thaw);
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(15), "it never came that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

/// Neither gone nor a zombie.
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

pub fn stop(pid: u32) {
    STOPPED.with_borrow_mut(|stopped| stopped.push(pid));
    signal(pid, rustix::process::Signal::STOP);
}

pub fn resume(pid: u32) {
    signal(pid, rustix::process::Signal::CONT);
}
