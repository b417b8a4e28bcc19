//! An attachment over a real kernel: FUSE, loop, file systems; the target is a small one of the tests' own, whose
//! connections and memory can be lost.

mod common;

use common::{Bench, Noise, can_attach, eventually, helper, kill, run, try_run};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
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
