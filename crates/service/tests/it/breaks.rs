//! Break: what it leaves, what it refuses, and that a refusal changes nothing (B1-B5).

use crate::lab::{Lab, code, copies, id, reply, run};
use std::fs;
use umbra_api::v1;

fn request(set: &v1::ServiceSet) -> v1::BreakRequest {
    v1::BreakRequest { set_key: id(set), ..Default::default() }
}

#[test]
fn a_broken_set_is_writable_where_it_was_exposed_and_survives_its_originals_and_the_service() {
    let Some(mut lab) = Lab::new() else { return };
    let (left, right) = (lab.mounted("left", 128, "ext4"), lab.mounted("right", 512, "xfs"));
    fs::write(left.join("file"), "left").unwrap();
    let set = lab.create(lab.order(&[&left, &right])).unwrap();
    for (copy, name) in copies(&set).iter().zip(["one", "two"]) {
        lab.expose(copy, name).unwrap();
    }
    let keep = v1::BreakRequest { read_write: true, no_revert_identity: true, ..request(&set) };
    let broken = lab.break_set(keep).unwrap();
    assert!(broken.transaction_us > 0 && broken.luns.len() == 2, "{broken:?}");
    assert!(broken.luns.iter().all(|lun| lun.kind() == v1::LunKind::Broken && !lun.read_only), "{broken:?}");
    for name in ["one", "two"] {
        fs::write(lab.path(name).join("new"), "written after the break").unwrap();
    }
    assert_eq!(fs::read_to_string(lab.path("one").join("file")).unwrap(), "left");
    assert!(!left.join("new").exists());

    assert_eq!(code(&lab.break_set(request(&set))), "object_not_found");
    assert_eq!(code(&lab.delete(&id(&set))), "object_not_found");
    assert_eq!(code(&lab.expose(&copies(&set)[0], "three")), "object_not_found");

    lab.kill_service();
    fs::write(lab.path("two").join("unserved"), "no service").unwrap();
    lab.start_service(&[]);
    let unmount = |path: &str| {
        let request = v1::UnmountRequest { path: lab.text(path) };
        reply(lab.wait(lab.service().unmount(request))).unwrap().outcome()
    };
    assert_eq!(unmount("one"), v1::Outcome::Deleted);
    assert_eq!(unmount("one"), v1::Outcome::Unchanged);
    assert!(!lab.path("one").exists());
    run("umount", &[lab.path("two").to_str().unwrap()]);
}

#[test]
fn a_break_without_flags_stays_read_only() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    let set = lab.create(lab.order(&[&left])).unwrap();
    lab.expose(&copies(&set)[0], "copy").unwrap();
    let broken = lab.break_set(request(&set)).unwrap();
    assert!(broken.luns[0].read_only);
    assert!(fs::write(lab.path("copy").join("x"), "").is_err());
}

#[test]
fn refused_breaks_change_nothing() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    let unknown = v1::BreakRequest { set_key: uuid::Uuid::new_v4().to_string(), ..Default::default() };
    assert_eq!(code(&lab.break_set(unknown)), "object_not_found");
    let set = lab.create(lab.order(&[&left])).unwrap();
    for illegal in [
        v1::BreakRequest { mask: true, read_write: true, ..request(&set) },
        v1::BreakRequest { revert_identity: true, no_revert_identity: true, ..request(&set) },
    ] {
        assert_eq!(code(&lab.break_set(illegal)), "invalid_argument");
    }
    lab.expose(&copies(&set)[0], "copy").unwrap();
    let revert = v1::BreakRequest { revert_identity: true, ..request(&set) };
    assert_eq!(code(&lab.break_set(revert)), "break_revert_id_failed");
    assert_eq!(lab.sets()[0].state(), v1::SetState::Imported);
    assert!(lab.path("copy/lost+found").exists(), "it is exposed still");
    lab.break_set(request(&set)).unwrap();
}

#[test]
fn a_masked_set_leaves_this_host_and_is_created_again() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    let set = lab.create(lab.order(&[&left])).unwrap();
    lab.expose(&copies(&set)[0], "copy").unwrap();
    let masked = lab.break_set(v1::BreakRequest { mask: true, ..request(&set) }).unwrap();
    assert_eq!(masked.set.unwrap().state(), v1::SetState::Created);
    assert!(!lab.path("copy").exists());
    assert_eq!(lab.attachments().len(), 1, "the original only");
    assert_eq!(lab.sets().len(), 1);
}

#[test]
fn a_busy_exposure_keeps_the_set_from_being_masked() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    fs::write(left.join("file"), "x").unwrap();
    let set = lab.create(lab.order(&[&left])).unwrap();
    lab.expose(&copies(&set)[0], "copy").unwrap();
    let open = fs::File::open(lab.path("copy/file")).unwrap();
    let mask = v1::BreakRequest { mask: true, ..request(&set) };
    assert!(lab.break_set(mask.clone()).is_err());
    assert_eq!(lab.sets()[0].state(), v1::SetState::Imported);
    drop(open);
    lab.break_set(mask).unwrap();
}

fn uuid_at(device: &str) -> String {
    run("blkid", &["-p", "-o", "value", "-s", "UUID", device]).trim().to_owned()
}

/// Takes an original away from this host, as somebody does who lost it.
fn lose(lab: &Lab, name: &str, at: &std::path::Path) {
    let unmount = v1::UnmountRequest { path: at.to_str().unwrap().into() };
    reply(lab.wait(lab.service().unmount(unmount))).unwrap();
    reply(lab.wait(lab.service().detach_lun(v1::DetachLunRequest { key: name.into() }))).unwrap();
}

#[test]
fn a_lost_original_is_replaced_with_its_identity() {
    let Some(lab) = Lab::new() else { return };
    let (left, right) = (lab.mounted("left", 64, "ext4"), lab.mounted("right", 512, "xfs"));
    let device_of =
        |at: &std::path::Path| run("findmnt", &["-no", "SOURCE", at.to_str().unwrap()]).trim().to_owned();
    let originals = [uuid_at(&device_of(&left)), uuid_at(&device_of(&right))];
    fs::write(right.join("file"), "right").unwrap();
    let set = lab.create(lab.order(&[&left, &right])).unwrap();
    for (copy, name) in copies(&set).iter().zip(["one", "two"]) {
        let exposed = lab.expose(copy, name).unwrap();
        assert!(
            !exposed.identity.is_empty() && !originals.contains(&uuid_at(&exposed.device)),
            "{exposed:?}"
        );
    }
    lose(&lab, "left", &left);
    lose(&lab, "right", &right);
    let all = v1::BreakRequest { revert_identity: true, read_write: true, ..request(&set) };
    let broken = lab.break_set(all).unwrap();
    assert!(broken.notes.is_empty(), "{broken:?}");
    for (name, original) in ["one", "two"].iter().zip(&originals) {
        assert_eq!(uuid_at(&device_of(&lab.path(name))), *original, "{name} is mounted where it was");
        fs::write(lab.path(name).join("new"), "").unwrap();
    }
    assert_eq!(fs::read_to_string(lab.path("two/file")).unwrap(), "right");
}

#[test]
fn without_a_flag_identity_comes_back_where_it_is_free_and_a_busy_copy_keeps_its_own() {
    let Some(lab) = Lab::new() else { return };
    let (left, right) = (lab.mounted("left", 64, "ext4"), lab.mounted("right", 64, "ext4"));
    fs::write(right.join("file"), "x").unwrap();
    let set = lab.create(lab.order(&[&left, &right])).unwrap();
    for (copy, name) in copies(&set).iter().zip(["one", "two"]) {
        lab.expose(copy, name).unwrap();
    }
    lose(&lab, "left", &left);
    lose(&lab, "right", &right);
    let open = fs::File::open(lab.path("two/file")).unwrap();
    let refused = v1::BreakRequest { revert_identity: true, ..request(&set) };
    assert_eq!(code(&lab.break_set(refused)), "volume_in_use", "all or nothing");
    assert_eq!(lab.sets()[0].state(), v1::SetState::Imported);
    assert!(lab.path("one/lost+found").exists(), "what was unmounted is mounted again");
    let broken = lab.break_set(request(&set)).unwrap();
    assert!(broken.notes.iter().any(|note| note.contains("keeps its renewed identity")), "{broken:?}");
    let record = broken.set.unwrap();
    let renewed: Vec<_> = record.luns.iter().map(|lun| lun.identity.is_empty()).collect();
    assert_eq!(renewed.iter().filter(|free| **free).count(), 1, "{record:?}");
    drop(open);
}
