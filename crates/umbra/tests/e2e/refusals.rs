//! What is refused, and that a refusal changes nothing (B2, B5, S7, X1); hostile peers (issue: "must show").

use crate::lab::{Lab, UMBRA, run};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

const NOBODY: &str = "11111111-2222-4333-8444-555555555555";

#[test]
fn breaking_a_set_that_is_unknown_or_broken_changes_nothing() {
    let Some(lab) = Lab::new() else { return };
    let volume = lab.mounted("left", "256M", "ext4");
    let unknown = lab.umbra(&["break", "--json", NOBODY]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stdout.contains("object_not_found"), "{unknown:?}");

    let set = lab.create(&[&volume]);
    let id = set["set"]["id"].as_str().unwrap();
    lab.umbra(&["break", id]).ok();
    let before = lab.umbra(&["lun", "list", "--json"]).ok().stdout;
    let again = lab.umbra(&["break", "--json", id]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stdout.contains("object_not_found"), "{again:?}");
    assert_eq!(before, lab.umbra(&["lun", "list", "--json"]).ok().stdout, "a refusal changes nothing");
}

#[test]
fn illegal_break_flags_are_usage_errors() {
    let Some(lab) = Lab::new() else { return };
    for flags in [
        &["--mask", "--read-write"][..],
        &["--mask", "--revert-identity"],
        &["--mask", "--no-revert-identity"],
        &["--revert-identity", "--no-revert-identity"],
    ] {
        let mut args = vec!["break", NOBODY];
        args.extend(flags);
        assert_eq!(lab.umbra(&args).code, 2, "{flags:?}");
    }
}

#[test]
fn another_user_reaches_neither_luns_nor_management() {
    let Some(lab) = Lab::with_array_args(&["--listen", "127.0.0.1:0"]) else { return };
    for args in [
        vec![
            "--array".to_owned(),
            format!("unix:{}", lab.array_socket().display()),
            "pool".into(),
            "status".into(),
        ],
        vec!["--socket".to_owned(), lab.service_socket().display().to_string(), "writers".into()],
    ] {
        let mut line = vec!["--reuid", "65534", "--regid", "65534", "--clear-groups", UMBRA];
        line.extend(args.iter().map(String::as_str));
        let refused = run("setpriv", &line);
        assert_ne!(refused.code, 0, "{refused:?}");
    }
    let portal = portal(&lab);
    let url = format!("iscsi://{portal}");
    let seen = run("iscsi-ls", &["-s", &url]);
    assert!(!seen.stdout.contains("Lun"), "no LUN without CHAP: {seen:?}");
}

fn portal(lab: &Lab) -> String {
    let status = lab.umbra(&["pool", "status", "--json"]).ok().json();
    status["portals"][0].as_str().expect("a TCP portal").to_owned()
}

#[test]
fn a_volume_beside_another_on_one_lun_is_named() {
    let Some(lab) = Lab::new() else { return };
    let device = lab.lun("disk", "1G");
    run("sgdisk", &["-n", "1:0:+400M", "-n", "2:0:+400M", &device]).ok();
    lab.umbra(&["lun", "detach", "disk"]).ok();
    let device = lab.umbra(&["lun", "attach", "disk"]).ok().stdout.trim().to_owned();
    let parts = [format!("{device}p1"), format!("{device}p2")];
    let mut mounts = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        lab.mkfs(part, "ext4");
        let at = lab.path(&format!("part{n}"));
        std::fs::create_dir(&at).unwrap();
        run("mount", &[part, at.to_str().unwrap()]).ok();
        std::fs::write(at.join("here"), format!("part {n}")).unwrap();
        mounts.push(at);
    }
    let set = lab.create(&[&mounts[0]]);
    let id = set["set"]["id"].as_str().unwrap();
    let extra = set["set"]["extra_volumes"].to_string();
    assert!(extra.contains("p2"), "the other partition is an extra volume: {set}");

    let copy = set["set"]["copies"][0]["copy_id"].as_str().unwrap();
    let at = lab.path("copy");
    lab.umbra(&["expose", copy, at.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read_to_string(at.join("here")).unwrap(), "part 0");
    let broken = lab.umbra(&["break", "--json", id]).ok().json();
    assert!(broken["extra_volumes"].to_string().contains("p2"), "break says so: {broken}");
}

#[test]
fn a_set_with_a_file_system_under_the_array_is_refused() {
    let Some(lab) = Lab::new() else { return };
    let volume = lab.mounted("left", "1G", "ext4");
    // A second array lives on the first one's LUN; and the service writes its log there.
    std::fs::create_dir_all(volume.join("inner")).unwrap();
    let log = std::fs::File::create(volume.join("inner/log")).unwrap();
    let mut inner = std::process::Command::new(UMBRA)
        .args(["array", "serve", "--size", "64M", "--dir"])
        .arg(volume.join("inner/array"))
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    crate::lab::eventually("the inner array runs", Duration::from_secs(20), || {
        volume.join("inner/array/array.sock").exists()
    });
    let refused = lab.umbra(&["create", "--json", volume.to_str().unwrap()]);
    let _ = inner.kill();
    let _ = inner.wait();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("volume_under_umbra"), "{refused:?}");
}

#[test]
fn hostile_peers_are_cut_off_and_the_array_goes_on() {
    let Some(lab) = Lab::with_array_args(&["--listen", "127.0.0.1:0"]) else { return };
    let portal = portal(&lab);
    let huge = {
        let mut header = [0xffu8; 48];
        header[0] = 0x43; // a login request whose lengths are all ones
        header
    };
    let half_login = [0x43u8; 20];
    let noise: Vec<u8> = (0..65536u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [&huge[..], &half_login, &noise] {
        let mut peer = TcpStream::connect(&portal).unwrap();
        let _ = peer.write_all(bytes);
        let _ = peer.shutdown(std::net::Shutdown::Write);
        peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest);
        let mut peer = UnixStream::connect(lab.array_socket()).unwrap();
        let _ = peer.write_all(bytes);
        let _ = peer.shutdown(std::net::Shutdown::Write);
        peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let _ = peer.read_to_end(&mut rest);
    }
    lab.umbra(&["pool", "status"]).ok();
    let log = std::fs::read_to_string(lab.path("array.log")).unwrap();
    assert!(log.contains("reason"), "cut off with a logged reason: {log}");
}

#[test]
fn a_lun_that_is_masked_while_mounted_can_be_let_go_and_comes_back() {
    let Some(lab) = Lab::new() else { return };
    let volume = lab.mounted("left", "256M", "ext4");
    let at = volume.to_str().unwrap();
    run("sync", &["-f", at]).ok();
    lab.umbra(&["lun", "mask", "left", "--from", "lab"]).ok();
    lab.umbra(&["lun", "unmount", at]).ok();
    lab.umbra(&["lun", "detach", "left"]).ok();
    lab.umbra(&["lun", "unmask", "left", "--to", "lab"]).ok();
    lab.umbra(&["lun", "mount", "left", at]).ok();
    assert!(crate::lab::writable_within(&volume, Duration::from_secs(5)));
}

#[test]
fn an_unknown_backend_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let array = dir.path().join("array");
    let serve = ["UMBRA_IO=tape", UMBRA, "array", "serve", "--dir", array.to_str().unwrap(), "--size", "64M"];
    let ran = run("env", &[&serve[..], &["--json"]].concat());
    assert_eq!((ran.code, &ran.json()["error"]["code"]), (2, &"invalid_argument".into()));
    assert!(ran.json()["error"].to_string().contains("choose auto, uring or plain"), "{}", ran.stdout);
    assert!(!array.exists());
}

#[test]
fn a_pool_that_cannot_be_made_leaves_no_files() {
    let dir = tempfile::tempdir().unwrap();
    for wish in [&["--size", "3"][..], &["--size", "1G", "--block-size", "65K"]] {
        let serve = ["array", "serve", "--dir", dir.path().to_str().unwrap(), "--json"];
        let ran = run(UMBRA, &[&serve[..], wish].concat());
        assert_eq!((ran.code, &ran.json()["error"]["code"]), (2, &"invalid_argument".into()));
    }
    assert!(!dir.path().join("pool.meta").exists() && !dir.path().join("pool.data").exists());
}
