//! The book-keeping test of S1: entries made alternately on two volumes, each waiting for the one before it, must in
//! any copy differ by one at most. It is run for files (the left one buffered, the right one synchronous: only the freeze
//! makes them one instant) and for raw devices (direct: only the array's hold does), and it must fail when that
//! protection is taken away.

use crate::lab::Lab;
use rustix::fs::OFlags;
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Runs within which a set without its protection must be caught. Seen: the first run, nearly always.
const RUNS: usize = 5;
const BLOCK: usize = 4096;

/// Writes 1, 2, 3, ... to both books in turn until it is dropped.
struct Clerk {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

#[repr(align(4096))]
struct Page([u8; BLOCK]);

impl Clerk {
    fn start(left: File, right: File) -> Clerk {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut page = Box::new(Page([0; BLOCK]));
            let mut entry = 0u64;
            while !ended.load(Ordering::Relaxed) {
                entry += 1;
                page.0[..8].copy_from_slice(&entry.to_le_bytes());
                left.write_all_at(&page.0, 0).expect("entry in the left book");
                right.write_all_at(&page.0, 0).expect("entry in the right book");
            }
            entry
        });
        Clerk { stop, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("ended once").join().expect("the clerk")
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn entry(path: &Path) -> u64 {
    let mut bytes = [0; 8];
    File::open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    u64::from_le_bytes(bytes)
}

/// Whether the two entries can be of one instant.
fn balanced(left: u64, right: u64) -> bool {
    left == right || left == right + 1
}

fn copy_ids(set: &Value) -> Vec<String> {
    let copies = set["set"]["copies"].as_array().expect("copies");
    copies.iter().map(|copy| copy["copy_id"].as_str().unwrap().to_owned()).collect()
}

/// One copy of two file systems while the clerk works; the entries in it.
fn copied_files(lab: &Lab, left: &Path, right: &Path, run: usize) -> (u64, u64) {
    let open = |at: &Path, flags: OFlags| {
        let flags = i32::try_from(flags.bits()).unwrap();
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).custom_flags(flags);
        let file = options.open(at.join("book")).unwrap();
        file.write_all_at(&[0; BLOCK], 0).unwrap();
        file.sync_all().unwrap();
        file
    };
    let clerk = Clerk::start(open(left, OFlags::empty()), open(right, OFlags::DSYNC));
    std::thread::sleep(Duration::from_millis(200)); // let entries pile up
    let set = lab.create(&[left, right]);
    assert!(clerk.end() > 4, "the clerk made entries");
    let mut entries = Vec::new();
    for (n, copy) in copy_ids(&set).iter().enumerate() {
        let at = lab.path(&format!("copy-{run}-{n}"));
        lab.umbra(&["expose", copy, at.to_str().unwrap()]).ok();
        entries.push(entry(&at.join("book")));
    }
    lab.umbra(&["delete", set["set"]["id"].as_str().unwrap()]).ok();
    (entries[0], entries[1])
}

/// One copy of two raw devices while the clerk works; the entries in it.
fn copied_devices(lab: &Lab, left: &str, right: &str) -> (u64, u64) {
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap();
    let open = |device: &str| {
        OpenOptions::new().write(true).custom_flags(direct).open(device).expect("open the raw device")
    };
    let clerk = Clerk::start(open(left), open(right));
    std::thread::sleep(Duration::from_millis(200));
    let set = lab.create(&[Path::new(left), Path::new(right)]);
    assert!(clerk.end() > 4, "the clerk made entries");
    let id = set["set"]["id"].as_str().unwrap();
    let broken = lab.umbra(&["break", "--json", id]).ok().json();
    let mut entries = Vec::new();
    let luns = broken["luns"].as_array().expect("luns");
    for side in ["left", "right"] {
        let lun = luns
            .iter()
            .find(|lun| lun["name"].as_str().unwrap().starts_with(side))
            .expect("a LUN of each side");
        let lun = lun["id"].as_str().unwrap();
        let device = lab.umbra(&["lun", "attach", lun]).ok().stdout;
        entries.push(entry(Path::new(device.trim())));
        lab.umbra(&["lun", "detach", lun]).ok();
        lab.umbra(&["lun", "mask", lun]).ok();
        lab.umbra(&["lun", "delete", lun]).ok();
    }
    (entries[0], entries[1])
}

#[test]
fn files_of_two_volumes_are_of_one_instant() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", "256M", "ext4");
    let right = lab.mounted("right", "512M", "xfs");
    for run in 0..3 {
        let (l, r) = copied_files(&lab, &left, &right, run);
        assert!(balanced(l, r), "run {run}: {l} and {r}");
    }
}

#[test]
fn files_without_the_freeze_are_caught() {
    let Some(mut lab) = Lab::new() else { return };
    lab.stop_service();
    lab.start_service(&[("UMBRA_FAULT", "skip_freeze,pause_after_freeze=200")]);
    let left = lab.mounted("left", "256M", "ext4");
    let right = lab.mounted("right", "512M", "xfs");
    let caught = (0..RUNS).any(|run| {
        let (l, r) = copied_files(&lab, &left, &right, run);
        !balanced(l, r)
    });
    assert!(caught, "{RUNS} runs without a freeze and all of one instant: the book-keeping test cannot fail");
}

#[test]
fn raw_devices_are_of_one_instant() {
    let Some(lab) = Lab::new() else { return };
    let (left, right) = (lab.lun("left", "64M"), lab.lun("right", "64M"));
    for run in 0..3 {
        let (l, r) = copied_devices(&lab, &left, &right);
        assert!(balanced(l, r), "run {run}: {l} and {r}");
    }
}

#[test]
fn raw_devices_cut_200_ms_apart_are_caught() {
    let Some(mut lab) = Lab::new() else { return };
    lab.stop_service();
    lab.stop_array();
    lab.start_array_with(&[("UMBRA_FAULT", "cut_apart=200")]);
    lab.start_service(&[]);
    let (left, right) = (lab.lun("left", "64M"), lab.lun("right", "64M"));
    let caught = (0..RUNS).any(|_| {
        let (l, r) = copied_devices(&lab, &left, &right);
        !balanced(l, r)
    });
    assert!(
        caught,
        "{RUNS} runs with cuts 200 ms apart and all of one instant: the book-keeping test cannot fail"
    );
}
