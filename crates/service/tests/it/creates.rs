//! Creation: sets that are there, sets that are refused, and what is left of those that fail.

use crate::lab::{HOST, Lab, code, copies, eventually, id, reply, run, writable_within};
use std::{fs, path::Path, time::Duration};
use umbra_api::v1;

#[test]
fn a_set_of_two_file_systems_is_created_exposed_and_deleted() {
    let Some(lab) = Lab::new() else { return };
    let (left, right) = (lab.mounted("left", 128, "ext4"), lab.mounted("right", 512, "xfs"));
    fs::write(left.join("before"), "left").unwrap();
    fs::write(right.join("before"), "right").unwrap();
    let set = lab.create(lab.order(&[&left, &right])).unwrap();
    fs::write(left.join("after"), "left").unwrap();

    let record = set.record.clone().unwrap();
    assert_eq!(record.state(), v1::SetState::Imported);
    assert_eq!((record.creator_host.as_str(), record.importer_host.as_str()), (HOST, HOST));
    assert!(
        record.timeline.iter().any(|phase| phase.name == "attest" && phase.outcome == "ok"),
        "{record:?}"
    );
    assert!(record.copies.iter().all(|copy| copy.consistency() == v1::Consistency::FileSystem), "{record:?}");
    assert_eq!(record.copies[1].fs_type, "xfs");

    for (copy, name) in copies(&set).iter().zip(["left", "right"]) {
        let exposed = lab.expose(copy, &format!("copy-{name}")).unwrap();
        assert_eq!(exposed.outcome(), v1::Outcome::Created);
        let at = lab.path(&format!("copy-{name}"));
        assert_eq!(fs::read_to_string(at.join("before")).unwrap(), name);
        assert!(!at.join("after").exists(), "of the instant of the cut");
        assert!(fs::write(at.join("x"), "").is_err(), "read-only");
        let again = lab.expose(copy, &format!("copy-{name}")).unwrap();
        assert_eq!(again.outcome(), v1::Outcome::Unchanged);
        assert_eq!(code(&lab.expose(copy, "elsewhere")), "object_already_exists");
    }
    let unexposed = lab.unexpose(&copies(&set)[0]).unwrap();
    assert_eq!(unexposed.outcome(), v1::Outcome::Deleted);
    assert!(!lab.path("copy-left").exists(), "the folder that was made goes too");
    assert_eq!(lab.unexpose(&copies(&set)[0]).unwrap().outcome(), v1::Outcome::Unchanged);
    lab.expose(&copies(&set)[0], "copy-left").unwrap();

    let deleted = lab.delete(&id(&set)).unwrap();
    assert_eq!(deleted.outcome(), v1::Outcome::Deleted);
    assert!(lab.sets().is_empty());
    assert_eq!(lab.attachments().len(), 2, "the originals only");
    assert_eq!(code(&lab.delete(&id(&set))), "object_not_found");
}

#[test]
fn a_lost_answer_can_be_asked_for_again() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    let set_id = uuid::Uuid::new_v4().to_string();
    let order =
        v1::CreateRequest { operation_id: "op".into(), set_id: set_id.clone(), ..lab.order(&[&left]) };
    let first = lab.create(order.clone()).unwrap();
    assert_eq!(id(&first), set_id);
    assert_eq!(copies(&lab.create(order.clone()).unwrap()), copies(&first));
    // The id of the set alone will do too, when the service has forgotten the operation.
    let again = lab.create(v1::CreateRequest { operation_id: String::new(), ..order.clone() }).unwrap();
    assert_eq!(copies(&again), copies(&first));
    let other = v1::CreateRequest { operation_id: String::new(), volumes: vec!["/x".into()], ..order };
    assert_eq!(code(&lab.create(other)), "object_already_exists");
    assert_eq!(lab.sets().len(), 1);
}

#[test]
fn a_volume_that_lies_on_no_lun_is_refused() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    assert_eq!(code(&lab.create(lab.order(&[&left, Path::new("/proc")]))), "volume_not_supported");
    let device = run("findmnt", &["-no", "SOURCE", left.to_str().unwrap()]);
    assert_eq!(code(&lab.create(lab.order(&[&left, Path::new(device.trim())]))), "volume_not_supported");
    assert!(lab.sets().is_empty());
    assert!(writable_within(&left, Duration::from_secs(5)));
}

#[test]
fn a_file_system_that_somebody_froze_is_refused_and_not_thawed() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    run("fsfreeze", &["-f", left.to_str().unwrap()]);
    let refused = lab.create(lab.order(&[&left]));
    let still_frozen = !writable_within(&left, Duration::from_millis(300));
    run("fsfreeze", &["-u", left.to_str().unwrap()]);
    assert_eq!(code(&refused), "volume_frozen_elsewhere");
    assert!(still_frozen);
    assert!(lab.sets().is_empty());
}

#[test]
fn a_volatile_set_dies_with_its_requester() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    let order = v1::CreateRequest { volatile: true, ..lab.order(&[&left]) };
    lab.wait(async {
        let mut client = lab.service_async().await;
        let mut events = reply(client.create(order).await).unwrap();
        while let Some(event) = events.message().await.unwrap() {
            if let Some(v1::create_event::Event::Created(set)) = event.event {
                assert!(set.record.unwrap().volatile);
                return;
            }
        }
        panic!("no set");
    });
    eventually("the set is gone", Duration::from_secs(10), || lab.sets().is_empty());
}

#[test]
fn a_set_for_transport_is_not_imported_and_cannot_be_exposed_or_broken() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    let set = lab.create(v1::CreateRequest { transportable: true, ..lab.order(&[&left]) }).unwrap();
    assert_eq!(set.record.as_ref().unwrap().state(), v1::SetState::Created);
    assert_eq!(code(&lab.expose(&copies(&set)[0], "copy")), "bad_state");
    assert_eq!(
        code(&lab.break_set(v1::BreakRequest { set_key: id(&set), ..Default::default() })),
        "bad_state"
    );
    lab.delete(&id(&set)).unwrap();
}
