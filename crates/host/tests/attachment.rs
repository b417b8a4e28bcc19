//! An attachment over a real kernel: FUSE, loop, file systems; the target is a small one of the tests' own, whose
//! connections and memory can be lost.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{Bench, Noise, can_attach, eventually, helper, kill, mini_target::NAA, run, try_run};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use umbra_base::ErrorCode;
use umbra_host::attach::{self, Designators, DeviceWish};

const MIB: usize = 1 << 20;

fn make_mount_write_check(mkfs: &str, check: &[&str]) {
    if !can_attach() {
        return;
    }
    let mut bench = Bench::new(320 * MIB);
    let attachment = bench.attach(DeviceWish::ReadWrite);
    let device = attachment.device().unwrap().to_owned();
    let device_text = device.to_str().unwrap().to_owned();
    run(mkfs, &["-q", &device_text]);
    let mount = bench.mount(&device);
    let mut noise = Noise(7);
    let mut model = vec![0u8; 24 * MIB];
    let file = File::create_new(mount.join("data")).unwrap();
    for round in 0..300 {
        let len = 512 + noise.below(200_000) as usize;
        let at = noise.below((model.len() - len) as u64) as usize;
        noise.fill(&mut model[at..at + len]);
        file.write_all_at(&model[at..at + len], at as u64).unwrap();
        if round % 37 == 0 {
            file.sync_all().unwrap();
        }
    }
    file.set_len(model.len() as u64).unwrap();
    drop(file);
    run("fstrim", &[mount.to_str().unwrap()]);
    bench.unmount(&mount);
    let mount = bench.mount(&device);
    assert!(fs::read(mount.join("data")).unwrap() == model, "what was written is there");
    assert_eq!(attach::stop(&bench.runtime(), bench.lun).unwrap_err().code(), ErrorCode::VolumeInUse);
    bench.unmount(&mount);
    let args: Vec<&str> = check.iter().copied().chain([device_text.as_str()]).collect();
    run(check_program(mkfs), &args);
    let runtime = bench.runtime();
    attachment.detach().unwrap();
    assert!(!runtime.join("attach").join(bench.lun.to_string()).exists(), "nothing is left");
    assert!(attach::list(&runtime).unwrap().is_empty());
}

fn check_program(mkfs: &str) -> &'static str {
    if mkfs.ends_with("xfs") { "xfs_repair" } else { "e2fsck" }
}

#[test]
fn ext4_lives_on_an_attached_lun() {
    make_mount_write_check("mkfs.ext4", &["-fn"]);
}

#[test]
fn xfs_lives_on_an_attached_lun() {
    make_mount_write_check("mkfs.xfs", &["-n"]);
}

/// Writes through the file view, in order, until told to stop; says how many were acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Vec<u8>>,
}

/// Writer's block size.
const BLOCK: usize = 4096;
const BLOCKS: u64 = 2048;

impl Writer {
    fn start(path: &Path, flush_each: u64) -> Writer {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count, path) = (Arc::clone(&stop), Arc::clone(&acknowledged), path.to_owned());
        let thread = std::thread::spawn(move || {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            let mut noise = Noise(99);
            let mut model = vec![0u8; BLOCK * BLOCKS as usize];
            while !told.load(Ordering::SeqCst) {
                let at = noise.below(BLOCKS) as usize * BLOCK;
                noise.fill(&mut model[at..at + BLOCK]);
                file.write_all_at(&model[at..at + BLOCK], at as u64).unwrap();
                let n = count.fetch_add(1, Ordering::SeqCst) + 1;
                if n.is_multiple_of(flush_each) {
                    file.sync_all().unwrap();
                }
            }
            model
        });
        Writer { stop, acknowledged, thread }
    }

    fn more(&self, n: u64) {
        let goal = self.acknowledged.load(Ordering::SeqCst) + n;
        eventually("more writes are acknowledged", || {
            self.acknowledged.load(Ordering::SeqCst) >= goal || self.thread.is_finished()
        });
        assert!(!self.thread.is_finished(), "the writer failed");
    }

    fn end(self) -> Vec<u8> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

#[test]
fn no_acknowledged_write_is_lost_when_connections_break_and_machines_die() {
    if !can_attach() {
        return;
    }
    let mut bench = Bench::new(16 * MIB);
    let mut attachment = bench.attach(DeviceWish::None);
    let writer = Writer::start(attachment.disk(), 501);
    for _ in 0..5 {
        writer.more(300);
        bench.target.cut();
        writer.more(300);
        bench.target.crash();
        bench.target.listen();
    }
    writer.more(300);
    let model = writer.end();
    let status = attachment.refresh_state().unwrap().link.clone();
    assert_eq!(status.reconnects, 10);
    assert!(status.resent > 0);
    let read = fs::read(attachment.disk()).unwrap();
    assert!(read[..model.len()] == model[..], "what was acknowledged is there");
    attachment.flush().unwrap();
    assert_eq!(attachment.refresh_state().unwrap().link.unflushed_bytes, 0);
    let lu = bench.target.lu.lock().unwrap();
    assert!(lu.durable[..model.len()] == model[..], "and durable");
    drop(lu);
    attachment.detach().unwrap();
}

#[test]
fn what_was_not_flushed_is_written_again_in_its_order_before_anything_else() {
    if !can_attach() {
        return;
    }
    let mut bench = Bench::new(16 * MIB);
    let attachment = bench.attach(DeviceWish::None);
    let file = OpenOptions::new().read(true).write(true).open(attachment.disk()).unwrap();
    let write = |block: u64, byte: u8| file.write_all_at(&[byte; BLOCK], block * BLOCK as u64).unwrap();
    write(0, 1);
    file.sync_all().unwrap();
    for (block, byte) in [(1, 2), (2, 3), (1, 4), (3, 5), (2, 6)] {
        write(block, byte);
    }
    bench.target.lu.lock().unwrap().changes.clear();
    bench.target.crash();
    bench.target.listen();
    write(9, 9);
    let mut read = [0; BLOCK];
    file.read_exact_at(&mut read, BLOCK as u64).unwrap();
    assert_eq!(read, [4; BLOCK]);
    let lu = bench.target.lu.lock().unwrap();
    let order: Vec<_> =
        lu.changes.iter().map(|change| (change.offset / BLOCK as u64, change.first_byte)).collect();
    assert_eq!(order, [(1, 2), (2, 3), (1, 4), (3, 5), (2, 6), (9, 9)], "the flushed one is not among them");
    drop((lu, file));
    attachment.detach().unwrap();
}

#[test]
fn an_answer_lost_with_its_connection_is_asked_for_again() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(16 * MIB);
    let attachment = bench.attach(DeviceWish::None);
    let file = OpenOptions::new().read(true).write(true).open(attachment.disk()).unwrap();
    file.write_all_at(&[1; BLOCK], 0).unwrap();
    bench.target.lu.lock().unwrap().cut_after_writes = Some(1);
    file.write_all_at(&[2; BLOCK], 0).unwrap();
    let lu = bench.target.lu.lock().unwrap();
    let bytes: Vec<_> = lu.changes.iter().map(|change| (change.session, change.first_byte)).collect();
    assert_eq!(
        bytes,
        [(1, 1), (1, 2), (2, 1), (2, 2)],
        "carried out, unanswered, resent after what came before it"
    );
    drop((lu, file));
    attachment.detach().unwrap();
}

#[test]
fn unaligned_writes_and_holes_through_the_view_touch_only_their_bytes() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(16 * MIB);
    let attachment = bench.attach(DeviceWish::None);
    let file = OpenOptions::new().read(true).write(true).open(attachment.disk()).unwrap();
    let mut noise = Noise(3);
    let mut model = vec![0u8; 1 << 20];
    for round in 0..200 {
        let len = 1 + noise.below(9000) as usize;
        let at = noise.below((model.len() - len) as u64) as usize;
        if round % 5 == 0 {
            let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, flags, at as u64, len as u64).unwrap();
            model[at..at + len].fill(0);
        } else {
            noise.fill(&mut model[at..at + len]);
            file.write_all_at(&model[at..at + len], at as u64).unwrap();
        }
    }
    let mut read = vec![0; model.len()];
    file.read_exact_at(&mut read, 0).unwrap();
    assert!(read == model);
    let end = 16 * MIB as u64;
    assert!(file.write_at(&[1; 10], end - 5).is_err(), "nothing beyond the end");
    assert_eq!(file.read_at(&mut read[..10], end - 5).unwrap(), 5);
    drop(file);
    attachment.detach().unwrap();
}

#[test]
fn a_number_that_means_another_lun_is_refused() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(16 * MIB);
    let mut spec = bench.spec(DeviceWish::ReadWrite);
    spec.expect = Designators { naa: Some(NAA + 1), uuid: None };
    let error = attach::start(&helper(), &spec).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AccessDenied, "{error:?}");
    assert!(error.message().contains("another LUN"), "{error:?}");
    assert!(!bench.runtime().join("attach").join(bench.lun.to_string()).exists(), "nothing is left");

    let mut attachment = bench.attach(DeviceWish::None);
    bench.target.lu.lock().unwrap().naa = NAA + 1;
    bench.target.cut();
    let error = fs::read(attachment.disk()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    let link = attachment.refresh_state().unwrap().link.clone();
    assert_eq!(link.link, "failed");
    assert!(link.reason.unwrap().contains("another LUN"));
}

#[test]
fn a_lun_that_is_masked_fails_and_one_that_is_protected_says_so() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(16 * MIB);
    let mut attachment = bench.attach(DeviceWish::None);
    let file = OpenOptions::new().read(true).write(true).open(attachment.disk()).unwrap();
    {
        let mut lu = bench.target.lu.lock().unwrap();
        lu.write_protected = true;
        lu.attention = Some((6, 0x2a, 0x01));
    }
    let error = file.write_at(&[1; BLOCK], 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()));
    assert!(attachment.refresh_state().unwrap().link.write_protected);
    {
        let mut lu = bench.target.lu.lock().unwrap();
        lu.present = false;
        lu.attention = Some((6, 0x3f, 0x0e));
    }
    let error = file.read_at(&mut [0; BLOCK], 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert_eq!(attachment.refresh_state().unwrap().link.link, "failed");
}

#[test]
fn what_a_killed_attachment_leaves_is_swept_away() {
    if !can_attach() {
        return;
    }
    let mut bench = Bench::new(64 * MIB);
    let attachment = bench.attach(DeviceWish::ReadWrite);
    let device = attachment.device().unwrap().to_owned();
    run("mkfs.ext4", &["-q", device.to_str().unwrap()]);
    let mount = bench.mount(&device);
    fs::write(mount.join("file"), "precious").unwrap();
    run("sync", &["-f", mount.to_str().unwrap()]);
    kill(attachment.state().pid);
    assert!(attach::find(&bench.runtime(), bench.lun).unwrap().is_none());
    let swept = attach::sweep(&bench.runtime()).unwrap();
    assert_eq!(swept.len(), 1);
    assert_eq!(swept[0].still_in_use, std::slice::from_ref(&device), "mounted: told, not torn away");
    assert!(!bench.runtime().join("attach").join(bench.lun.to_string()).exists());
    bench.unmount(&mount);
    eventually("the kernel has dropped the device", || {
        !Path::new("/sys/block").join(device.file_name().unwrap()).join("loop").exists()
    });
    // The next one goes on where that one ended.
    let attachment = bench.attach(DeviceWish::ReadWrite);
    let checked = try_run("e2fsck", &["-fy", attachment.device().unwrap().to_str().unwrap()]);
    assert!(matches!(checked.status.code(), Some(0 | 1)), "clean once its journal is replayed");
    let mount = bench.mount(attachment.device().unwrap());
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "precious");
    bench.unmount(&mount);
    attachment.detach().unwrap();
}

#[test]
fn a_killed_attachment_is_cleared_away_by_the_next_start() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(16 * MIB);
    let first = bench.attach(DeviceWish::ReadWrite);
    let again = attach::start(&helper(), &bench.spec(DeviceWish::None)).unwrap_err();
    assert_eq!(again.code(), ErrorCode::ObjectAlreadyExists);
    kill(first.state().pid);
    let second = bench.attach(DeviceWish::ReadWrite);
    assert_ne!(first.state().pid, second.state().pid);
    second.detach().unwrap();
}

#[test]
fn an_attachment_is_nobodys_child_and_its_device_turns_read_only() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(16 * MIB);
    let mut attachment = bench.attach(DeviceWish::None);
    assert_eq!(attachment.device(), None);
    let stat = fs::read_to_string(format!("/proc/{}/stat", attachment.state().pid)).unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().to_owned();
    assert_ne!(parent, std::process::id().to_string());
    let device = attachment.make_device(DeviceWish::ReadOnly).unwrap().device.clone().unwrap();
    let file = OpenOptions::new().write(true).open(&device).unwrap();
    assert!(file.write_all_at(&[7; BLOCK], 0).is_err());
    drop(file);
    attachment.set_read_write().unwrap();
    let file = OpenOptions::new().write(true).open(&device).unwrap();
    file.write_all_at(&[7; BLOCK], 0).unwrap();
    file.sync_all().unwrap();
    let refused = attach::stop(&bench.runtime(), bench.lun).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::VolumeInUse, "our own descriptor is in the way: {refused:?}");
    drop(file);
    assert_eq!(bench.target.lu.lock().unwrap().durable[0], 7);
    attachment.make_device(DeviceWish::None).unwrap();
    assert_eq!(fs::read(attachment.disk()).unwrap()[..BLOCK], [7; BLOCK]);
    attachment.detach().unwrap();
}

#[test]
fn while_the_array_is_away_an_attachment_answers_and_can_be_given_up() {
    if !can_attach() {
        return;
    }
    let mut bench = Bench::new(16 * MIB);
    let mut attachment = bench.attach(DeviceWish::ReadWrite);
    bench.target.stop();
    let path = attachment.disk().to_owned();
    let reader = std::thread::spawn(move || fs::read(path));
    let runtime = bench.runtime();
    let lun = bench.lun;
    let flusher =
        std::thread::spawn(move || attach::find(&runtime, lun).unwrap().unwrap().flush().map(|_| ()));
    eventually("both wait", || attachment.refresh_state().unwrap().link.pending >= 2);
    assert_eq!(attachment.refresh_state().unwrap().link.link, "down");
    attachment.abandon("enough is enough").unwrap();
    assert!(reader.join().unwrap().is_err());
    assert!(flusher.join().unwrap().is_err());
    let link = attachment.refresh_state().unwrap().link.clone();
    assert_eq!((link.link.as_str(), link.reason.as_deref()), ("failed", Some("enough is enough")));
    attachment.detach().unwrap();
    assert!(!bench.runtime().join("attach").join(bench.lun.to_string()).exists());
}

#[test]
fn of_two_that_start_at_once_one_wins_and_nothing_breaks() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(16 * MIB);
    for _ in 0..3 {
        let spec = bench.spec(DeviceWish::ReadWrite);
        let runtime = bench.runtime();
        let looking = std::thread::spawn(move || {
            (0..200).for_each(|_| drop(attach::list(&runtime).unwrap()));
            attach::sweep(&runtime).unwrap();
        });
        let other = {
            let spec = spec.clone();
            std::thread::spawn(move || attach::start(&helper(), &spec))
        };
        let results = [attach::start(&helper(), &spec), other.join().unwrap()];
        looking.join().unwrap();
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{lost:?}");
        assert_eq!(lost[0].as_ref().unwrap_err().code(), ErrorCode::ObjectAlreadyExists);
        won.into_iter().next().unwrap().unwrap().detach().unwrap();
    }
}
