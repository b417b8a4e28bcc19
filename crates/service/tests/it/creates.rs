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

/// A LUN with two partitions, ext4 on each, mounted; the mount points.
fn partitioned(lab: &Lab) -> [std::path::PathBuf; 2] {
    let device = lab.lun("disk", 256);
    run("sgdisk", &["-n", "1:0:+100M", "-n", "2:0:+100M", &device]);
    reply(lab.wait(lab.service().detach_lun(v1::DetachLunRequest { key: "disk".into() }))).unwrap();
    let device = lab.attach("disk");
    [1, 2].map(|number| {
        let part = format!("{device}p{number}");
        run("mkfs.ext4", &["-qF", &part]);
        let path = lab.path(&format!("part{number}"));
        let mount = v1::MountLunRequest {
            key: "disk".into(),
            path: path.to_str().unwrap().into(),
            partition: number,
            read_only: false,
        };
        reply(lab.wait(lab.service().mount_lun(mount))).unwrap();
        fs::write(path.join("here"), format!("part {number}")).unwrap();
        path
    })
}

#[test]
fn the_other_partition_of_a_lun_is_an_extra_volume_and_break_says_so() {
    let Some(lab) = Lab::new() else { return };
    let [one, two] = partitioned(&lab);
    let set = lab.create(lab.order(&[&one])).unwrap();
    let extra = &set.record.as_ref().unwrap().extra_volumes;
    assert!(
        extra.len() == 1 && extra[0].contains("p2") && extra[0].contains(two.to_str().unwrap()),
        "{extra:?}"
    );
    let exposed = lab.expose(&copies(&set)[0], "copy").unwrap();
    assert!(exposed.device.ends_with("p1"), "{exposed:?}");
    let kinds: Vec<_> = exposed.identity.iter().map(|change| change.kind.as_str()).collect();
    assert!(kinds.contains(&"gpt-disk-guid") && kinds.contains(&"ext4-uuid"), "{kinds:?}");
    assert_eq!(fs::read_to_string(lab.path("copy/here")).unwrap(), "part 1");
    let broken = lab.break_set(v1::BreakRequest { set_key: id(&set), ..Default::default() }).unwrap();
    assert!(broken.extra_volumes[0].contains("p2"), "{broken:?}");

    let both = lab.create(lab.order(&[&one, &two])).unwrap();
    let record = both.record.clone().unwrap();
    assert_eq!((record.luns.len(), record.copies.len(), record.extra_volumes.len()), (1, 2, 0));
    for (copy, name) in copies(&both).iter().zip(["both-1", "both-2"]) {
        lab.expose(copy, name).unwrap();
    }
    let left = lab.delete(&copies(&both)[0]).unwrap();
    assert_eq!(left.copy_ids, [copies(&both)[0].clone()]);
    assert_eq!(fs::read_to_string(lab.path("both-2/here")).unwrap(), "part 2", "the other copy stays");
    assert_eq!(lab.sets()[0].copies.len(), 1);
    lab.delete(&copies(&both)[1]).unwrap();
    assert!(lab.sets().is_empty(), "the set goes with its last copy");
}

#[test]
fn a_file_system_under_umbra_is_refused_and_named() {
    let Some(mut lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    lab.stop_service();
    let config = fs::read_to_string(lab.path("umbra.toml")).unwrap();
    let state = format!("state = {:?}", lab.path("state"));
    fs::write(lab.path("umbra.toml"), config.replace(&state, &format!("state = {:?}", left.join("state"))))
        .unwrap();
    lab.start_service(&[]);
    let refused = lab.create(lab.order(&[&left]));
    assert_eq!(code(&refused), "volume_under_umbra");
    assert!(refused.unwrap_err().message().contains("state"));
    assert!(lab.sets().is_empty());
}

/// A command writer with data on `path`, whose programs write their event down in `log`; `freeze` does `also`.
fn command_writer(lab: &Lab, path: &Path, log: &Path, also: &str) {
    let program = lab.path("quiesce");
    fs::write(
        &program,
        format!(
            "#!/bin/sh\necho $UMBRA_EVENT >> {}\n[ $UMBRA_EVENT = freeze ] && {{ {also}; }}\nexit 0\n",
            log.display()
        ),
    )
    .unwrap();
    run("chmod", &["755", program.to_str().unwrap()]);
    let event = |name: &str| format!("{name} = {{ run = [{program:?}] }}\n");
    let events: String = ["prepare", "freeze", "attest", "thaw", "post", "abort"].map(event).concat();
    let text = format!("name = \"shop\"\n[command]\npaths = [{path:?}]\n{events}");
    fs::write(lab.path("writers.d/shop.toml"), text).unwrap();
}

#[test]
fn a_writer_is_told_each_event_in_order_and_vouches_for_its_volume() {
    let Some(lab) = Lab::new() else { return };
    let (left, right) = (lab.mounted("left", 64, "ext4"), lab.mounted("right", 64, "ext4"));
    let log = lab.path("events");
    command_writer(&lab, &left, &log, "true");
    let writers = reply(lab.wait(lab.service().list_writers(v1::ListWritersRequest {}))).unwrap().writers;
    assert_eq!(writers[0].state, "stable");
    assert_eq!(writers[0].volumes, [left.to_str().unwrap()]);
    let set = lab.create(lab.order(&[&left, &right])).unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "prepare\nfreeze\nattest\nthaw\npost\n");
    let record = set.record.unwrap();
    assert_eq!(record.copies[0].consistency(), v1::Consistency::Application, "{record:?}");
    assert_eq!(record.copies[0].writers, ["shop"]);
    assert_eq!(record.copies[1].consistency(), v1::Consistency::FileSystem, "{record:?}");

    fs::remove_file(&log).unwrap();
    lab.create(v1::CreateRequest { no_writers: true, ..lab.order(&[&left]) }).unwrap();
    assert!(!log.exists(), "nobody was asked");
}

#[test]
fn a_writer_that_fails_fails_the_set_and_is_thawed() {
    let Some(lab) = Lab::new() else { return };
    let left = lab.mounted("left", 64, "ext4");
    let log = lab.path("events");
    command_writer(&lab, &left, &log, "exit 7");
    let failed = lab.create(lab.order(&[&left]));
    assert_eq!(code(&failed), "writer_failed");
    assert!(failed.unwrap_err().message().contains("shop"));
    let events = fs::read_to_string(&log).unwrap();
    assert!(
        events.starts_with("prepare\nfreeze\n") && events.contains("thaw\n") && events.contains("abort"),
        "{events}"
    );
    assert!(lab.sets().is_empty());
    assert!(writable_within(&left, Duration::from_secs(5)));
}

#[test]
fn a_writer_with_data_outside_of_the_set_fails_it() {
    let Some(lab) = Lab::new() else { return };
    let (left, right) = (lab.mounted("left", 64, "ext4"), lab.mounted("right", 64, "ext4"));
    let log = lab.path("events");
    command_writer(&lab, &left, &log, "true");
    let file = lab.path("writers.d/shop.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("paths = [", &format!("paths = [{right:?}, "))).unwrap();
    assert_eq!(code(&lab.create(lab.order(&[&left]))), "inconsistent_snapshot");
    lab.create(lab.order(&[&left, &right])).unwrap();
}
