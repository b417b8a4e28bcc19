//! LUNs, hosts, masks: as the management interface says them and as libiscsi sees them.

use crate::bench::{Bench, HOST_A, HOST_B, MIB, code, iscsi_inq, iscsi_ls};
use std::os::unix::fs::PermissionsExt;
use umbra_api::v1;
use umbra_array::PortalAuth;
use umbra_base::ErrorCode;
use uuid::Uuid;

#[test]
fn a_host_sees_over_chap_exactly_what_is_unmasked_to_it() {
    let bench = Bench::with_lun("data", 10 * MIB);
    bench.client.create_lun("secret-plans", 10 * MIB);
    let lun = bench.client.unmask("data", "a").lun.unwrap();
    let shown = &lun.presentations[0];
    assert_eq!((shown.number, shown.host_name.as_str()), (1, "a"));
    assert_eq!(shown.urls, [bench.url(1)]);
    assert!(
        shown.unix_url.starts_with("iscsi+unix:///") && shown.unix_url.ends_with("/1"),
        "{}",
        shown.unix_url
    );

    let (a, b) = (bench.client.secret("a"), bench.client.secret("b"));
    let (ok, list) = iscsi_ls(&bench, HOST_A, Some(&a));
    assert!(ok && list.contains(&bench.iqn()), "{list}");
    assert!(list.contains("Lun:1") && !list.contains("Lun:2"), "{list}");
    let (ok, list) = iscsi_ls(&bench, HOST_B, Some(&b));
    assert!(ok && !list.contains("Lun:1"), "b sees nothing: {list}");

    let (ok, serial) = iscsi_inq(&bench.url(1), HOST_A, Some(&a), Some("128"));
    assert!(ok && serial.contains(&lun.serial), "{serial}");
    let (ok, inquiry) = iscsi_inq(&bench.url(1), HOST_A, Some(&a), None);
    assert!(ok && inquiry.contains("UMBRA"), "{inquiry}");
    bench.stop_and_check();
}

#[test]
fn a_portal_lets_nobody_in_without_the_secret_of_that_host() {
    let bench = Bench::with_lun("data", 10 * MIB);
    bench.client.unmask("data", "a");
    let (a, b) = (bench.client.secret("a"), bench.client.secret("b"));
    assert_ne!(a.secret, b.secret);
    for (initiator, secret) in [(HOST_A, None), (HOST_A, Some(&b)), ("iqn.2026-01.test:nobody", Some(&a))] {
        let (ok, text) = iscsi_inq(&bench.url(1), initiator, secret, None);
        assert!(!ok, "{initiator} got in: {text}");
    }
    assert!(iscsi_inq(&bench.url(1), HOST_A, Some(&a), None).0);
}

#[test]
fn an_insecure_portal_still_masks_by_host() {
    let bench = Bench::with(PortalAuth::InsecureNone);
    bench.client.create_lun("data", MIB);
    bench.client.add_host("a", HOST_A);
    bench.client.unmask("data", "a");
    assert!(iscsi_inq(&bench.url(1), HOST_A, None, None).0);
    assert!(!iscsi_inq(&bench.url(1), HOST_B, None, None).0);
}

#[test]
fn a_masked_lun_does_not_exist_for_the_host_any_more() {
    let bench = Bench::with_lun("data", 10 * MIB);
    bench.client.unmask("data", "a");
    let a = bench.client.secret("a");
    assert!(iscsi_ls(&bench, HOST_A, Some(&a)).1.contains("Lun:1"));
    assert_eq!(bench.client.mask("data", "a").outcome(), v1::Outcome::Changed);
    assert_eq!(bench.client.mask("data", "a").outcome(), v1::Outcome::Unchanged);
    assert!(!iscsi_ls(&bench, HOST_A, Some(&a)).1.contains("Lun:1"));
    bench.client.unmask("data", "a");
    bench.client.unmask("data", "b");
    assert_eq!(bench.client.mask("data", "").lun.unwrap().presentations.len(), 0);
}

#[test]
fn a_wish_already_met_is_unchanged() {
    let bench = Bench::with_lun("data", 10 * MIB);
    let id = Uuid::new_v4();
    let first = bench.client.create_lun_as(id, "x", MIB - 1).unwrap();
    assert_eq!((first.outcome(), first.lun.as_ref().unwrap().size_bytes), (v1::Outcome::Created, MIB));
    let again = bench.client.create_lun_as(id, "x", MIB).unwrap();
    assert_eq!(again.outcome(), v1::Outcome::Unchanged);
    assert_eq!(again.lun, first.lun);
    assert_eq!(bench.client.add_host("a", HOST_A).outcome(), v1::Outcome::Unchanged);
    assert_eq!(bench.client.unmask("x", "a").outcome(), v1::Outcome::Changed);
    assert_eq!(bench.client.unmask("x", "a").outcome(), v1::Outcome::Unchanged);
    let read_only = v1::SetLunAccessRequest { key: "x".into(), read_only: true, if_revision: 0 };
    assert_eq!(bench.client.set_lun_access(read_only.clone()).unwrap().outcome(), v1::Outcome::Changed);
    assert_eq!(bench.client.set_lun_access(read_only).unwrap().outcome(), v1::Outcome::Unchanged);
}

#[test]
fn a_lun_grows_is_renamed_and_goes_and_says_when() {
    let bench = Bench::with_lun("data", 10 * MIB);
    let grow = v1::ExtendLunRequest { key: "data".into(), size_bytes: 20 * MIB, if_revision: 0 };
    assert_eq!(bench.client.extend_lun(grow.clone()).unwrap().lun.unwrap().size_bytes, 20 * MIB);
    let stale = v1::ExtendLunRequest { size_bytes: 30 * MIB, if_revision: 1, ..grow };
    assert_eq!(code(bench.client.extend_lun(stale)), ErrorCode::RevisionConflict);
    let rename = v1::RenameLunRequest { key: "data".into(), name: "other".into(), if_revision: 0 };
    bench.client.rename_lun(rename).unwrap();
    assert_eq!(code(bench.client.lun("data")), ErrorCode::ObjectNotFound);
    bench.client.unmask("other", "a");
    assert_eq!(bench.client.delete("other").unwrap().outcome(), v1::Outcome::Deleted);
    let gone = bench.client.delete("other").unwrap_err();
    assert_eq!(gone.code(), ErrorCode::ObjectNotFound);
    assert!(gone.params().contains_key("deleted_unix_ns"), "{gone:?}");
    bench.reaped();
    bench.stop_and_check();
}

#[test]
fn a_deleted_host_is_out_and_its_secret_is_gone() {
    let bench = Bench::with_lun("data", 10 * MIB);
    bench.client.unmask("data", "a");
    let secret = bench.client.secret("a");
    let delete = v1::DeleteHostRequest { key: "a".into(), if_revision: 0 };
    assert_eq!(code(bench.client.delete_host(delete.clone())), ErrorCode::BadState);
    bench.client.mask("data", "a");
    bench.client.delete_host(delete.clone()).unwrap();
    assert!(!iscsi_ls(&bench, HOST_A, Some(&secret)).0);
    let left = std::fs::read_dir(bench.dir.path().join("secrets")).unwrap().count();
    assert_eq!(left, 2, "those of the other host: its own, and the array's towards it");
    assert_eq!(code(bench.client.delete_host(delete)), ErrorCode::ObjectNotFound);
}

#[test]
fn everything_in_the_folder_is_for_its_owner_only() {
    let bench = Bench::with_lun("data", MIB);
    bench.client.secret("a");
    let mode = |name: &str| bench.dir.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for name in ["array.sock", "iscsi.sock", "catalogue.sqlite", "audit.log", "pool.meta", "pool.data"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[test]
fn what_changes_who_sees_what_is_in_the_audit_log_with_who_asked() {
    let bench = Bench::with_lun("data", MIB);
    bench.client.unmask("data", "a");
    bench.client.secret("a");
    bench.client.mask("data", "a");
    bench.client.delete("data").unwrap();
    bench.client.delete("data").unwrap_err();
    let log = std::fs::read_to_string(bench.dir.path().join("audit.log")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> =
        lines.iter().map(|l| (l["action"].as_str().unwrap(), l["result"].as_str().unwrap())).collect();
    let expected = [
        ("add_host", "created"),
        ("add_host", "created"),
        ("unmask_lun", "changed"),
        ("get_host_secret", "unchanged"),
        ("mask_lun", "changed"),
        ("delete_lun", "deleted"),
        ("delete_lun", "object_not_found"),
    ];
    assert_eq!(seen, expected);
    assert!(lines.iter().all(|line| line["principal"]["uid"].is_u64()));
    assert!(!log.contains(&bench.client.secret("a").secret), "never a secret itself");
}
