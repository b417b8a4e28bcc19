//! The sandbox: copies in the place of originals, nothing else writable, everything ends with it.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{can_attach, eventually};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use umbra_host::sandbox::{Bind, Sandbox, User};

const HELPER: &str = env!("CARGO_BIN_EXE_umbra-host-helper");

/// A folder outside the private ones, with an original and a copy.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(base: &str) -> Scene {
        let folder = tempfile::tempdir_in(base).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text) in [("original", "original"), ("copy", "copy")] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("file"), text).unwrap();
        }
        Scene { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sandbox(&self) -> Sandbox {
        let bind = Bind { source: self.path("copy"), target: self.path("original") };
        Sandbox { binds: vec![bind], ..Sandbox::default() }
    }

    fn script(&self, sandbox: &Sandbox, script: &str) -> Output {
        let script = script.replace("ORIGINAL", self.path("original").to_str().unwrap());
        let script = script.replace("FOLDER", self.folder.path().to_str().unwrap());
        let mut command = sandbox.command(Path::new(HELPER), "sh", &["-c", &script]);
        command.stdin(Stdio::null()).output().unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_copy_stands_at_the_originals_path_and_the_original_is_out_of_reach() {
    if !can_attach() {
        return;
    }
    for base in ["/tmp", "/var/lib", "/dev/shm"] {
        let scene = Scene::new(base);
        let script = "cat ORIGINAL/file && echo changed > ORIGINAL/file && touch ORIGINAL/new";
        let output = scene.script(&scene.sandbox(), script);
        assert!(output.status.success(), "{base}: {}", text(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "copy");
        assert_eq!(fs::read_to_string(scene.path("original/file")).unwrap(), "original");
        assert_eq!(fs::read_to_string(scene.path("copy/file")).unwrap(), "changed\n");
        assert!(!scene.path("original/new").exists());
    }
}

#[test]
fn without_the_namespaces_the_same_command_reaches_the_original() {
    let scene = Scene::new("/var/lib");
    let script = format!("echo changed > {}/file", scene.path("original").display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    assert_eq!(fs::read_to_string(scene.path("original/file")).unwrap(), "changed\n");
}

#[test]
fn nothing_else_of_the_host_can_be_written_not_even_by_root_with_tricks() {
    if !can_attach() {
        return;
    }
    let scene = Scene::new("/var/lib");
    for script in [
        "touch FOLDER/x",
        "touch /etc/x",
        "touch /root/x",
        "touch FOLDER/copy/../x",
        "mount -o remount,rw /",
        "mount -o remount,rw,bind / /",
        "umount ORIGINAL",
        "mknod /tmp/disk b 7 0",
        "unshare -Urm sh -c 'mount -o remount,rw,bind / / && touch /etc/x'",
        "nsenter -t 1 -m true",
        "echo 1 > /proc/sys/kernel/panic_on_oops",
        "echo x > /sys/power/state",
        "ls /dev/loop0",
        "chroot / true",
    ] {
        let output = scene.script(&scene.sandbox(), script);
        assert!(!output.status.success(), "{script}: {}", text(&output));
    }
    // The private places are there, and empty.
    let script = "touch /tmp/a /run/a /dev/shm/a && test $(ls /run | wc -l) = 1 && echo x > /dev/null";
    let output = scene.script(&scene.sandbox(), script);
    assert!(output.status.success(), "{}", text(&output));
    assert!(!Path::new("/run/a").exists() && !Path::new("/dev/shm/a").exists());
}

#[test]
fn named_folders_are_writable_or_hidden_and_the_user_is_dropped_to() {
    if !can_attach() {
        return;
    }
    let scene = Scene::new("/var/lib");
    fs::create_dir(scene.path("out")).unwrap();
    fs::set_permissions(scene.path("out"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir(scene.path("socket")).unwrap();
    fs::write(scene.path("socket/server.sock"), "").unwrap();
    let sandbox = Sandbox {
        writable: vec![scene.path("out")],
        hidden: vec![scene.path("socket")],
        user: Some(User { uid: 65534, gid: 65534, groups: vec![] }),
        ..scene.sandbox()
    };
    let output = scene.script(&sandbox, "id -u > FOLDER/out/id && ls FOLDER/socket && ! touch FOLDER/x");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(fs::read_to_string(scene.path("out/id")).unwrap(), "65534\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "the server's socket is not to be seen");
}

#[test]
fn network_and_processes_are_its_own_and_the_exit_status_comes_back() {
    if !can_attach() {
        return;
    }
    let scene = Scene::new("/var/lib");
    let script = "cat /proc/net/dev | grep -c : ; ls /proc | grep -cE '^[0-9]+$'; exit 7";
    let output = scene.script(&scene.sandbox(), script);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    let counts: Vec<u32> = text(&output).lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(counts[0], 1, "lo alone");
    assert!(counts[1] <= 5, "its own processes alone");
    let output = scene.script(&scene.sandbox(), "kill -9 $$");
    assert_eq!(output.status.code(), Some(137));
}

#[test]
fn everything_in_it_ends_with_whoever_started_it() {
    if !can_attach() {
        return;
    }
    let scene = Scene::new("/var/lib");
    let marker = format!("{}", 100_000 + std::process::id());
    let script = format!("setsid sleep {marker} & exec sleep {marker}");
    let sandbox = scene.sandbox();
    let mut outer = sandbox
        .command(Path::new(HELPER), "sh", &["-c", script.as_str()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let sleeping = || {
        let pids = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
        pids.filter_map(|path| fs::read(path).ok())
            .filter(|line| *line == format!("sleep\0{marker}\0").into_bytes())
            .count()
    };
    eventually("both sleep", || sleeping() == 2);
    outer.kill().unwrap();
    outer.wait().unwrap();
    eventually("nobody is left", || sleeping() == 0);
}
