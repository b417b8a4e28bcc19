//! Copies beside their originals: identities renewed on the file view, given back, and nothing seen of it elsewhere.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{Bench, can_attach, run, try_run, unmount};
use std::{
    fs,
    path::{Path, PathBuf},
};
use umbra_host::{
    attach::{Attachment, DeviceWish},
    identity::{self, Kind, Renew},
    mounts::{self, Access},
    probe, volumes,
};

const MIB: usize = 1 << 20;

/// A mount by the crate's own functions, gone at the end.
struct Mounted(PathBuf);

impl Mounted {
    fn new(device: &Path, path: PathBuf, access: Access) -> Mounted {
        fs::create_dir_all(&path).unwrap();
        mounts::mount(device, &path, access).unwrap();
        Mounted(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn uuid(path: &Path) -> String {
    probe::probe(path).unwrap().unwrap().uuid
}

/// A mounted original with a file in its journal or log, and a copy of it as of now: dirty, attached without a device.
fn original_and_copy(mkfs: &[&str]) -> (Bench, Mounted, Attachment, Bench, Attachment) {
    let original = Bench::new(320 * MIB);
    let attachment = original.attach(DeviceWish::ReadWrite);
    let device = attachment.device().unwrap().to_owned();
    let args: Vec<&str> = mkfs[1..].iter().copied().chain([device.to_str().unwrap()]).collect();
    run(mkfs[0], &args);
    let mounted = Mounted::new(&device, original.folder.path().join("original"), Access::ReadWrite);
    fs::write(mounted.0.join("file"), "both have this").unwrap();
    run("sync", &["-f", mounted.0.to_str().unwrap()]);
    let copy = original.copy();
    let copied = copy.attach(DeviceWish::None);
    (original, mounted, attachment, copy, copied)
}

fn renew_mount_and_revert(mkfs: &[&str], kinds: &[Kind], check: &str) {
    if !can_attach() {
        return;
    }
    let (original, mounted, attachment, copy, mut copied) = original_and_copy(mkfs);
    let old = uuid(attachment.disk());
    assert_eq!(uuid(copied.disk()), old, "a copy is a copy");
    let view = copied.state().view.clone();

    // Nothing collides where nobody sees the original.
    let none = identity::plan(&view, &Renew::Colliding(Vec::new())).unwrap();
    assert_eq!(none.edits, []);
    let visible = volumes::visible_identities(&[]).unwrap();
    assert!(visible.contains(&old));
    let done = identity::renew(&view, &Renew::Colliding(visible)).unwrap();
    assert_eq!(done.edits.iter().map(|edit| edit.kind).collect::<Vec<_>>(), kinds);
    let new = uuid(copied.disk());
    assert_ne!(new, old);

    let device = copied.make_device(DeviceWish::ReadWrite).unwrap().device.clone().unwrap();
    {
        let beside = Mounted::new(&device, copy.folder.path().join("copy"), Access::ReadOnly);
        assert_eq!(fs::read_to_string(beside.0.join("file")).unwrap(), "both have this");
        assert!(fs::write(beside.0.join("other"), "").is_err());
        mounts::remount(&beside.0, Access::ReadWrite).unwrap();
        fs::write(beside.0.join("other"), "only the copy has this").unwrap();
        let mount = mounts::at(&beside.0).unwrap().unwrap();
        assert!(mount.options.contains(&"nosuid".to_owned()) && mount.options.contains(&"nodev".to_owned()));
    }
    assert!(!mounted.0.join("other").exists());
    copied.make_device(DeviceWish::None).unwrap();

    let records = serde_json::to_string(&done.edits).unwrap();
    let records: Vec<identity::Edit> = serde_json::from_str(&records).unwrap();
    identity::undo(&view, &records).unwrap();
    assert_eq!(uuid(copied.disk()), old);
    identity::undo(&view, &records).unwrap();
    let checked = try_run(check, &["-n", copied.disk().to_str().unwrap()]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    assert_eq!(uuid(attachment.disk()), old, "the original was not touched");
    copied.detach().unwrap();
    drop((mounted, copy));
    attachment.detach().unwrap();
    drop(original);
}

#[test]
fn ext4_with_checksums_stands_beside_its_original() {
    let kinds = [Kind::Ext4MetadataCsumSeed, Kind::Ext4Uuid];
    renew_mount_and_revert(&["mkfs.ext4", "-q", "-O", "metadata_csum,^metadata_csum_seed"], &kinds, "e2fsck");
}

#[test]
fn ext4_without_checksums_stands_beside_its_original() {
    renew_mount_and_revert(&["mkfs.ext4", "-q", "-O", "^metadata_csum"], &[Kind::Ext4Uuid], "e2fsck");
}

#[test]
fn xfs_stands_beside_its_original() {
    renew_mount_and_revert(&["mkfs.xfs", "-q"], &[Kind::XfsUuid], "xfs_repair");
}

#[test]
fn an_xfs_that_kept_its_identity_is_refused_beside_its_original() {
    if !can_attach() {
        return;
    }
    let (_original, mounted, attachment, copy, mut copied) = original_and_copy(&["mkfs.xfs", "-q"]);
    let device = copied.make_device(DeviceWish::ReadWrite).unwrap().device.clone().unwrap();
    let path = copy.folder.path().join("copy");
    fs::create_dir(&path).unwrap();
    assert!(mounts::mount(&device, &path, Access::ReadOnly).is_err(), "which is what renewing is for");
    drop(mounted);
    copied.detach().unwrap();
    attachment.detach().unwrap();
}

#[test]
fn each_partition_has_a_window_and_table_and_contents_are_renewed() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(400 * MIB);
    let mut attachment = bench.attach(DeviceWish::None);
    let disk = attachment.disk().to_str().unwrap().to_owned();
    run("sgdisk", &["-n", "1:2048:+320M", "-n", "3:0:+32M", "-n", "4:0:+16M", &disk]);
    let state = attachment.refresh().unwrap().clone();
    let numbers: Vec<u32> = state.partitions.iter().map(|partition| partition.number).collect();
    assert_eq!(numbers, [1, 3, 4]);
    let window = |name: &str| state.view.join(name).to_str().unwrap().to_owned();
    run("mkfs.xfs", &["-q", &window("p1")]);
    run("mkfs.ext4", &["-q", &window("p3")]);
    let before = run("sgdisk", &["-i", "3", &disk]);

    let done = identity::renew(&state.view, &Renew::All).unwrap();
    let places: Vec<(&str, Kind)> = done.edits.iter().map(|edit| (edit.place.as_str(), edit.kind)).collect();
    let guid = Kind::GptPartitionGuid;
    assert_eq!(places[..4], [("disk", Kind::GptDiskGuid), ("p1", guid), ("p3", guid), ("p4", guid)]);
    assert_eq!(places[4], ("p1", Kind::XfsUuid));
    assert_eq!(places.last().unwrap(), &("p3", Kind::Ext4Uuid));
    assert_eq!(done.left_alone.len(), 1, "an empty partition is told of");
    assert_eq!(done.left_alone[0].place, "p4");
    run("sgdisk", &["-v", &disk]);
    assert_ne!(run("sgdisk", &["-i", "3", &disk]), before);

    let device = attachment.make_device(DeviceWish::ReadWrite).unwrap().device.clone().unwrap();
    let part = |number: u32| PathBuf::from(format!("{}p{number}", device.display()));
    let runtime = bench.runtime();
    {
        let mounted = Mounted::new(&part(3), bench.folder.path().join("third"), Access::ReadWrite);
        let volume = volumes::resolve(&runtime, &mounted.0).unwrap();
        assert_eq!(volume.device, part(3));
        assert_eq!(volume.mount_points, std::slice::from_ref(&mounted.0));
        let third = &state.partitions[1];
        let expected = volumes::Extent { lun: bench.lun, offset: third.start, len: third.len };
        assert_eq!(volume.extents, [expected]);
        let mut extra: Vec<PathBuf> = volumes::extra(&runtime, std::slice::from_ref(&volume))
            .unwrap()
            .into_iter()
            .map(|v| v.device)
            .collect();
        extra.sort();
        assert_eq!(extra, [part(1), part(4)]);
        assert_eq!(volumes::on_lun(&runtime, bench.lun).unwrap().len(), 3);
        assert!(volumes::resolve(&runtime, &mounted.0.join("lost+found")).is_err(), "no mount point");
        let whole = volumes::resolve(&runtime, &device).unwrap();
        assert_eq!(whole.extents[0].offset, 0);
    }
    attachment.make_device(DeviceWish::None).unwrap();
    identity::undo(&state.view, &done.edits).unwrap();
    assert_eq!(run("sgdisk", &["-i", "3", &disk]), before);
    attachment.detach().unwrap();
}

#[test]
fn a_file_on_a_volume_or_on_what_lies_upon_it_is_an_offender() {
    if !can_attach() {
        return;
    }
    let bench = Bench::new(320 * MIB);
    let attachment = bench.attach(DeviceWish::ReadWrite);
    run("mkfs.ext4", &["-q", attachment.device().unwrap().to_str().unwrap()]);
    let lower =
        Mounted::new(attachment.device().unwrap(), bench.folder.path().join("lower"), Access::ReadWrite);
    let image = lower.0.join("image");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
    let upper = bench.folder.path().join("upper");
    fs::create_dir(&upper).unwrap();
    run("mount", &["-o", "loop", image.to_str().unwrap(), upper.to_str().unwrap()]);
    let upper = Mounted(upper);
    let dev = mounts::at(&lower.0).unwrap().unwrap().dev;
    let outside = bench.folder.path().join("outside");
    let paths = [upper.0.join("not/yet/there.sock"), lower.0.join("log"), outside.clone()];
    let found = umbra_host::stacked::offenders(&[dev], &[], &paths).unwrap();
    let named: Vec<&PathBuf> = found.iter().map(|offender| &offender.path).collect();
    assert_eq!(named, [&paths[0], &paths[1]]);

    let log = fs::File::create(upper.0.join("open.log")).unwrap();
    let found = umbra_host::stacked::offenders(&[dev], &[std::process::id()], &[]).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, upper.0.join("open.log"));
    assert_eq!(found[0].file_system, dev);
    let busy = mounts::unmount(&upper.0).unwrap_err();
    assert_eq!(busy.code(), umbra_base::ErrorCode::VolumeInUse);
    drop(log);
    assert!(umbra_host::stacked::offenders(&[dev], &[std::process::id()], &[]).unwrap().is_empty());
    drop(upper);
    drop(lower);
    attachment.detach().unwrap();
}
