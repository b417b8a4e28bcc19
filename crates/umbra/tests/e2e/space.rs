//! Space (A7), as a host and its database meet it: copies go before a write fails, a full pool makes writes wait and goes
//! on when it is extended, reservations and quotas hold; and what changed between two copies.

use crate::lab::{Lab, UMBRA, eventually, run};
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

const MIB: u64 = 1 << 20;
/// Bytes of a block of the pool.
const BLOCK: u64 = 64 << 10;
const PATIENT: Duration = Duration::from_secs(60);

/// A lab with a pool of `size`.
fn lab(size: &str, args: &[&str]) -> Option<Lab> {
    let mut lab = Lab::new()?;
    lab.stop_service();
    lab.stop_array();
    fs::remove_dir_all(lab.path("array")).unwrap();
    let log = File::create(lab.path("array.log")).unwrap();
    let child = Command::new(UMBRA)
        .args(["array", "serve", "--size", size, "--dir"])
        .arg(lab.path("array"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    lab.array = Some(child.unwrap());
    eventually("the array answers", PATIENT, || lab.umbra(&["pool", "status"]).code == 0);
    lab.start_service(&[]);
    Some(lab)
}

fn pool(lab: &Lab) -> Value {
    lab.umbra(&["pool", "status", "--json"]).ok().json()["pool"].clone()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that waits in the kernel ends when the lab does.
        let _ended = self.0.kill();
    }
}

/// A volatile set that lives until its `cat` sees the end of its input, at the end of the test at the latest.
fn volatile_set(lab: &Lab, volume: &Path) -> Running {
    let mut command =
        lab.command(&["create", "--volatile", "--exec", "echo ready; cat", volume.to_str().unwrap()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    Running(child)
}

/// Writes `bytes` as a database does: in place, and each piece made durable before the next.
fn write_like_a_database(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    let page = vec![0x5a; MIB as usize];
    for offset in (0..bytes).step_by(MIB as usize) {
        file.write_all_at(&page, offset).expect("a write to an original");
        file.sync_data().expect("a flush of an original");
    }
}

#[test]
fn a_volatile_copy_goes_and_the_database_on_the_original_never_sees_an_error() {
    let Some(lab) = lab("256M", &[]) else { return };
    let at = lab.mounted("db", "240M", "ext4");
    write_like_a_database(&at.join("table"), 80 * MIB);
    let mut volatile = volatile_set(&lab, &at);
    let sets = lab.umbra(&["list", "--json"]).ok().json();
    let id = sets["sets"][0]["id"].as_str().unwrap().to_owned();

    // What the copy keeps, what is written anew and what is added are more than there is.
    write_like_a_database(&at.join("table"), 80 * MIB);
    write_like_a_database(&at.join("more"), 110 * MIB);

    assert_eq!(lab.sets(), 0);
    let gone = lab.umbra(&["show", &id]);
    assert!(gone.code == 1 && gone.stderr.contains("given up"), "{gone:?}");
    let audit = fs::read_to_string(lab.path("array/audit.log")).unwrap();
    assert!(audit.contains("\"give_up_set\"") && audit.contains(&id), "{audit}");
    let read = fs::read(at.join("table")).unwrap();
    assert!(read.len() as u64 == 80 * MIB && read.iter().all(|byte| *byte == 0x5a));
    drop(volatile.0.stdin.take());
    volatile.0.wait().unwrap();
}

/// FUSE, the attachment and UNMAP's own limit of 512 MiB cut a discard in pieces: nowhere through a block of the pool.
#[test]
fn a_device_that_is_discarded_gives_every_block_back() {
    for block_size in ["64K", "48M"] {
        let Some(lab) = lab("1152M", &["--block-size", block_size]) else { return };
        let device = lab.lun("disk", "1056M");
        // Around the 512th MiB, which is not a multiple of 48 MiB.
        let write = ["if=/dev/urandom", "bs=1M", "seek=480", "count=48", "conv=fsync", "status=none"];
        run("dd", &[&write[..], &[&format!("of={device}")]].concat()).ok();
        assert_eq!(pool(&lab)["data_used_bytes"], 48 * MIB, "blocks of {block_size}");
        run("blkdiscard", &[&device]).ok();
        assert_eq!(pool(&lab)["data_used_bytes"], 0, "blocks of {block_size}");
    }
}

#[test]
fn writes_to_a_full_pool_wait_and_go_on_when_it_is_extended() {
    let Some(lab) = lab("128M", &["--full-wait", "110"]) else { return };
    let device = lab.lun("big", "256M");
    let mut writer = Command::new("dd");
    writer.args(["if=/dev/zero", "bs=1M", "count=160", "oflag=direct", "conv=fsync", "status=none"]);
    let mut writer = Running(writer.arg(format!("of={device}")).stdin(Stdio::null()).spawn().unwrap());
    eventually("the pool is full", PATIENT, || {
        let pool = pool(&lab);
        pool["data_used_bytes"] == pool["data_bytes"]
    });
    let full = pool(&lab);
    assert_eq!((&full["level"], &full["mode"]), (&"critical".into(), &"read_write".into()), "{full}");
    assert!(writer.0.try_wait().unwrap().is_none(), "it waits");
    let refused = lab.umbra(&["create", "--json", &device]);
    assert_eq!((refused.code, &refused.json()["error"]["code"]), (1, &"insufficient_storage".into()));

    let done = lab.umbra(&["pool", "extend", "--data", "512M", "--json"]).ok().json();
    assert_eq!((&done["outcome"], &done["pool"]["data_bytes"]), (&"changed".into(), &(512 * MIB).into()));
    assert!(writer.0.wait().unwrap().success());
    assert_eq!(pool(&lab)["level"], "plenty");
    let again = lab.umbra(&["pool", "extend", "--data", "512M", "--json"]).ok().json();
    assert_eq!(again["outcome"], "unchanged");
    assert_eq!(lab.umbra(&["pool", "extend", "--data", "64M"]).code, 2, "a pool never shrinks");
}

#[test]
fn reservations_and_quotas_hold_and_are_there_again_after_a_restart() {
    let config = tempfile::NamedTempFile::new().unwrap();
    config.as_file().write_all(b"[pool]\nlow = 50\nfull_wait = 0\n").unwrap();
    let args = ["--config", config.path().to_str().unwrap(), "--critical", "90"];
    let Some(mut lab) = lab("256M", &args) else { return };
    let told = pool(&lab);
    assert_eq!(
        [&told["low_percent"], &told["critical_percent"], &told["full_wait_ms"]],
        [&50.into(), &90.into(), &Value::from(0)]
    );
    lab.umbra(&["lun", "create", "kept", "--size", "64M", "--reserve", "all"]).ok();
    lab.umbra(&["lun", "create", "bound", "--size", "64M", "--quota", "8M"]).ok();
    let refused = lab.umbra(&["lun", "create", "greedy", "--size", "256M", "--reserve", "200M", "--json"]);
    assert_eq!((refused.code, &refused.json()["error"]["code"]), (1, &"insufficient_storage".into()));

    let holds = |lab: &Lab| {
        assert_eq!(pool(lab)["reserved_bytes"], 64 * MIB);
        let shown = [["reserved_bytes", "kept"], ["quota_bytes", "bound"]]
            .map(|[field, lun]| lab.umbra(&["lun", "show", lun, "--json"]).ok().json()["lun"][field].clone());
        assert_eq!(shown, [64 * MIB, 8 * MIB]);
    };
    holds(&lab);
    lab.kill_array();
    lab.start_array(&[]);
    holds(&lab);
    lab.stop_array();
    lab.start_array(&[]);
    holds(&lab);

    lab.umbra(&["lun", "unmask", "bound", "--to", "lab"]).ok();
    let device = lab.umbra(&["lun", "attach", "bound"]).ok().stdout.trim().to_owned();
    let write = |mib: u64| {
        let (to, count) = (format!("of={device}"), format!("count={mib}"));
        run("dd", &["if=/dev/zero", &to, "bs=1M", &count, "oflag=direct", "conv=fsync", "status=none"]).code
    };
    assert_eq!(write(8), 0);
    assert_ne!(write(12), 0, "beyond its quota");
    assert_eq!(write(8), 0, "what it has can be written on");
}

#[test]
fn a_diff_tells_exactly_the_blocks_that_were_written_between_two_sets() {
    let Some(lab) = Lab::new() else { return };
    let device = lab.lun("raw", "64M");
    let disk = OpenOptions::new().write(true).open(&device).unwrap();
    let write = |blocks: &[u64], byte: u8| {
        for block in blocks {
            disk.write_all_at(&vec![byte; BLOCK as usize], block * BLOCK).unwrap();
        }
        disk.sync_all().unwrap();
    };
    let copy = || {
        let set = lab.create(&[Path::new(&device)]);
        set["set"]["copies"][0]["copy_id"].as_str().unwrap().to_owned()
    };
    write(&[0, 1, 2, 3, 500], 1);
    let old = copy();
    write(&[2, 3, 7, 1023], 2);
    let new = copy();
    write(&[1], 3);

    let line = |block: u64, blocks: u64, kind: &str| format!("{} {} {kind}\n", block * BLOCK, blocks * BLOCK);
    let changed = [line(2, 2, "changed"), line(7, 1, "new"), line(1023, 1, "new")].concat();
    assert_eq!(lab.umbra(&["diff", &old, &new]).ok().stdout, changed);
    let held = [line(0, 4, "allocated"), line(500, 1, "allocated")].concat();
    assert_eq!(lab.umbra(&["diff", &old]).ok().stdout, held);

    let told = lab.umbra(&["diff", &old, &new, "--json"]).ok().json();
    let runs: Vec<_> = told["differences"].as_array().unwrap().iter().collect();
    let text = |run: &&Value| {
        format!("{} {} {}\n", run["offset_bytes"], run["length_bytes"], run["kind"].as_str().unwrap())
    };
    assert_eq!(runs.iter().map(text).collect::<String>(), changed);
    assert_eq!((&told["block_bytes"], &told["volume_bytes"]), (&BLOCK.into(), &(64 * MIB).into()));
    let none = lab.umbra(&["diff", "raw", "--json"]);
    assert_eq!((none.code, &none.json()["error"]["code"]), (2, &"invalid_argument".into()));
}
