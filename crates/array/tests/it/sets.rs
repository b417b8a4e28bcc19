//! Sets from beginning to break, over the management interface and the real pool.

use crate::bench::{Bench, HOST_A, HOST_B, MIB, code, eventually, iscsi_inq, key};
use umbra_api::v1;
use umbra_base::ErrorCode;

fn working(set: &v1::SetRecord) -> String {
    set.luns[0].working_lun_id.clone()
}

#[test]
fn a_set_lives_from_pending_to_broken() {
    let bench = Bench::with_lun("data", 10 * MIB);
    bench.client.create_lun("wal", 10 * MIB);
    let client = &bench.client;
    let id = client.begin(&["data", "wal"], false, 0);
    let pending = client.get_set(key(&id)).unwrap();
    assert_eq!(pending.state(), v1::SetState::Pending);
    assert!((29_000..=30_000).contains(&pending.lease_left_ms), "{}", pending.lease_left_ms);

    let early = client.commit_set(v1::CommitSetRequest { set_key: id.clone() });
    assert_eq!(code(early), ErrorCode::BadState);
    let cut = v1::CutSetRequest { set_key: id.clone(), hold_limit_ms: 1000 };
    let done = client.cut_set(cut.clone()).unwrap();
    assert!(done.cut_unix_ns > 0 && done.held_us < 1_000_000);
    assert_eq!(client.cut_set(cut).unwrap().cut_unix_ns, done.cut_unix_ns, "asked again: the same cut");

    let commit = v1::CommitSetRequest { set_key: id.clone() };
    let created = client.commit_set(commit.clone()).unwrap();
    assert_eq!(created.outcome(), v1::Outcome::Created);
    assert_eq!(client.commit_set(commit).unwrap().outcome(), v1::Outcome::Unchanged);
    let set = created.set.unwrap();
    assert_eq!((set.state(), set.cut_unix_ns), (v1::SetState::Created, done.cut_unix_ns));
    let lun = client.lun(&working(&set)).unwrap();
    assert_eq!(
        (lun.kind(), lun.presentations.len(), lun.set_id.as_str()),
        (v1::LunKind::Copy, 0, id.as_str())
    );
    assert_eq!(code(client.delete(&lun.id)), ErrorCode::BadState);

    assert_eq!(code(client.begin_break_of(&id, true)), ErrorCode::BadState, "B2: not imported");
    let imported = client.import(&id, "a", false).unwrap().set.unwrap();
    assert_eq!((imported.importer_host.as_str(), imported.epoch), ("a", 1));
    let number = client.lun(&lun.id).unwrap().presentations[0].number;
    assert!(iscsi_inq(&bench.url(number), HOST_A, Some(&client.secret("a")), None).0);

    assert_eq!(code(client.commit_break_of(&id, true)), ErrorCode::BadState, "no intent");
    assert_eq!(client.begin_break_of(&id, true).unwrap().outcome(), v1::Outcome::Changed);
    assert_eq!(client.begin_break_of(&id, true).unwrap().outcome(), v1::Outcome::Unchanged);
    assert_eq!(client.cancel_break(key(&id)).unwrap().set.unwrap().state(), v1::SetState::Imported);
    client.begin_break_of(&id, false).unwrap();
    let broken = client.commit_break_of(&id, true).unwrap().set.unwrap();
    assert_eq!((broken.state(), broken.broken_read_write), (v1::SetState::Broken, true));
    let lun = client.lun(&lun.id).unwrap();
    assert_eq!((lun.kind(), lun.read_only, lun.presentations.len()), (v1::LunKind::Broken, false, 1));

    for refused in [
        client.begin_break_of(&id, true),
        client.commit_break_of(&id, true),
        client.delete_set(key(&id)),
        client.abort_set(key(&id)),
        client.import(&id, "b", true),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::ObjectNotFound);
        assert!(refused.params()["luns"].contains(&lun.id), "it says into which LUNs: {refused:?}");
    }
    let lists =
        |broken| client.list_sets(v1::ListSetsRequest { broken, ..Default::default() }).unwrap().sets.len();
    assert_eq!((lists(false), lists(true)), (0, 1));
    bench.reaped();
    bench.stop_and_check();
}

#[test]
fn what_is_not_known_is_not_found() {
    let bench = Bench::with_lun("data", MIB);
    let nothing = "3f2c0a3e-0000-4000-8000-000000000001";
    let client = &bench.client;
    assert_eq!(code(client.begin_break_of(nothing, false)), ErrorCode::ObjectNotFound);
    assert_eq!(code(client.import(nothing, "a", false)), ErrorCode::ObjectNotFound);
    assert_eq!(code(client.delete_set(key(nothing))), ErrorCode::ObjectNotFound);
    assert_eq!(client.abort_set(key(nothing)).unwrap().outcome(), v1::Outcome::Unchanged);
}

#[test]
fn a_takeover_fences_the_old_importer() {
    let bench = Bench::with_lun("data", 10 * MIB);
    let client = &bench.client;
    let set = client.create_set(&["data"], true);
    client.import(&set.id, "a", false).unwrap();
    let refused = client.import(&set.id, "b", false).unwrap_err();
    assert_eq!((refused.code(), refused.params()["importer"].as_str()), (ErrorCode::BadState, "a"));
    let stolen = client.import(&set.id, "b", true).unwrap().set.unwrap();
    assert_eq!((stolen.importer_host.as_str(), stolen.epoch), ("b", 2));
    let (a, b) = (client.secret("a"), client.secret("b"));
    assert!(!iscsi_inq(&bench.url(1), HOST_A, Some(&a), Some("0")).0);
    assert!(iscsi_inq(&bench.url(1), HOST_B, Some(&b), Some("0")).0);
    let unimported = client.unimport_set(key(&set.id)).unwrap().set.unwrap();
    assert_eq!((unimported.state(), unimported.importer_host.as_str()), (v1::SetState::Created, ""));
    client.import(&set.id, "a", false).unwrap();
}

#[test]
fn an_aborted_or_forgotten_set_leaves_nothing_behind() {
    let bench = Bench::with_lun("data", 10 * MIB);
    let client = &bench.client;
    let aborted = client.begin(&["data"], false, 0);
    client.cut_set(v1::CutSetRequest { set_key: aborted.clone(), hold_limit_ms: 0 }).unwrap();
    assert_eq!(client.abort_set(key(&aborted)).unwrap().outcome(), v1::Outcome::Deleted);
    assert_eq!(client.abort_set(key(&aborted)).unwrap().outcome(), v1::Outcome::Unchanged);

    let forgotten = client.begin(&["data"], false, 300);
    client.cut_set(v1::CutSetRequest { set_key: forgotten.clone(), hold_limit_ms: 0 }).unwrap();
    eventually("the lease runs out", || client.get_set(key(&forgotten)).is_err());
    let late = client.commit_set(v1::CommitSetRequest { set_key: forgotten });
    assert_eq!(code(late), ErrorCode::LeaseExpired);
    bench.reaped();
    assert_eq!(client.list_luns(v1::ListLunsRequest::default()).unwrap().luns.len(), 1);
    bench.stop_and_check();
}

#[test]
fn a_renewed_lease_does_not_run_out() {
    let bench = Bench::with_lun("data", 10 * MIB);
    let id = bench.client.begin(&["data"], false, 500);
    bench.client.renew_lease(v1::RenewLeaseRequest { set_key: id.clone(), lease_ms: 60_000 }).unwrap();
    let left = bench.client.get_set(key(&id)).unwrap().lease_left_ms;
    assert!(left > 50_000, "{left}");
    let long = v1::RenewLeaseRequest { set_key: id, lease_ms: 3_600_000 };
    assert_eq!(code(bench.client.renew_lease(long)), ErrorCode::InvalidArgument);
}

#[test]
fn the_same_set_again_is_unchanged_and_another_of_its_id_is_refused() {
    let bench = Bench::with_lun("data", 10 * MIB);
    bench.client.create_lun("wal", MIB);
    let set_id = bench.client.begin(&["data"], false, 0);
    let again = |lun: &str| {
        let origin_lun_keys = vec![lun.to_owned()];
        let request = v1::BeginSetRequest {
            set_id: set_id.clone(),
            host: "a".into(),
            origin_lun_keys,
            ..Default::default()
        };
        bench.client.begin_set(request)
    };
    assert_eq!(again("data").unwrap().outcome(), v1::Outcome::Unchanged);
    assert_eq!(code(again("wal")), ErrorCode::ObjectAlreadyExists);
}
