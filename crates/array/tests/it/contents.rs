//! What hosts read and write, through libiscsi over CHAP: copies, broken LUNs, write protection.

use crate::bench::{Bench, HOST_A, MIB, code, key, lun_tool, run, with_secret};
use std::process::Command;
use umbra_api::v1;
use umbra_base::ErrorCode;
use umbra_store::{LunStore, PoolParams, ThinPoolStore};
use uuid::Uuid;

/// Writes the first MiB of a LUN as host `a`, or reads it and compares; what is wrong, if anything is.
fn io(bench: &Bench, number: u32, what: &str, byte: u8) -> Result<(), String> {
    let (ok, text) = run(&mut lun_tool(bench, ("a", HOST_A), number, what, byte));
    if ok { Ok(()) } else { Err(text) }
}

/// Copies the first MiB of one LUN to another as host `a`, by a ROD token.
fn offload(bench: &Bench, from: u32, to: u32) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/rod.py");
    let mut command = Command::new("python3");
    command.args([script, &bench.url(from), HOST_A, &from.to_string(), &to.to_string()]);
    with_secret(&mut command, Some(&bench.client.secret("a")));
    let (ok, text) = run(&mut command);
    assert!(ok, "{text}");
}

fn number(bench: &Bench, lun: &str) -> u32 {
    bench.client.lun(lun).unwrap().presentations[0].number
}

#[test]
fn a_broken_lun_keeps_its_contents_when_its_origin_and_its_sibling_are_deleted() {
    let bench = Bench::with_lun("data", 10 * MIB);
    let client = &bench.client;
    client.unmask("data", "a");
    io(&bench, 1, "write", 0xaa).unwrap();
    let set = client.create_set(&["data"], false);
    let sibling = client.create_set(&["data"], false);
    io(&bench, 1, "write", 0xbb).unwrap();
    client.import(&set.id, "a", false).unwrap();
    let broken = set.luns[0].working_lun_id.clone();
    io(&bench, number(&bench, &broken), "read", 0xaa).unwrap();
    client.begin_break_of(&set.id, true).unwrap();
    client.commit_break_of(&set.id, true).unwrap();

    client.delete("data").unwrap();
    client.delete_set(key(&sibling.id)).unwrap();
    bench.reaped();
    io(&bench, number(&bench, &broken), "read", 0xaa).unwrap();
    io(&bench, number(&bench, &broken), "read", 0xbb).unwrap_err();
    io(&bench, number(&bench, &broken), "write", 0xcc).unwrap();
    io(&bench, number(&bench, &broken), "read", 0xcc).unwrap();
    bench.stop_and_check();
}

#[test]
fn a_lun_that_is_read_only_takes_no_writes_until_it_is_not() {
    let bench = Bench::with_lun("data", 10 * MIB);
    bench.client.unmask("data", "a");
    io(&bench, 1, "write", 0x11).unwrap();
    let set = bench.client.create_set(&["data"], false);
    bench.client.import(&set.id, "a", false).unwrap();
    bench.client.begin_break_of(&set.id, false).unwrap();
    bench.client.commit_break_of(&set.id, false).unwrap();
    let lun = &set.luns[0].working_lun_id;
    assert!(bench.client.lun(lun).unwrap().read_only);
    io(&bench, number(&bench, lun), "write", 0x22).unwrap_err();
    io(&bench, number(&bench, lun), "read", 0x11).unwrap();
    let access = v1::SetLunAccessRequest { key: lun.clone(), read_only: false, if_revision: 0 };
    bench.client.set_lun_access(access).unwrap();
    io(&bench, number(&bench, lun), "write", 0x22).unwrap();
    io(&bench, 1, "read", 0x11).expect("the original is another LUN");
}

#[test]
fn a_token_copies_inside_the_pool_and_leaves_nothing_behind() {
    let bench = Bench::with_lun("data", 10 * MIB);
    bench.client.create_lun("other", 10 * MIB);
    bench.client.unmask("data", "a");
    bench.client.unmask("other", "a");
    let used = || bench.client.status().pool.unwrap().data_used_bytes;
    io(&bench, 1, "write", 0xaa).unwrap();
    let before = used();
    offload(&bench, 1, 2);
    assert_eq!(used(), before, "blocks are shared, not copied");
    io(&bench, 1, "write", 0xbb).unwrap();
    io(&bench, 2, "read", 0xaa).unwrap();
    let dir = bench.stop_and_check();
    let pool = ThinPoolStore::create_or_open(dir.path(), PoolParams::new(256 * MIB)).unwrap();
    assert_eq!(pool.device_ids().unwrap().len(), 2, "the two LUNs");
}

#[test]
fn copies_of_one_set_go_one_by_one() {
    let bench = Bench::with_lun("data", 10 * MIB);
    let wal = bench.client.create_lun("wal", 10 * MIB);
    let data = bench.client.lun("data").unwrap();
    let copy = |lun: &v1::Lun, volume: &str| v1::CopyRecord {
        copy_id: Uuid::new_v4().to_string(),
        volume: volume.into(),
        extents: vec![v1::Extent { lun_id: lun.id.clone(), offset_bytes: MIB, length_bytes: MIB }],
        ..Default::default()
    };
    let copies = vec![copy(&data, "/data"), copy(&wal, "/wal")];
    let set_key = Uuid::new_v4().to_string();
    let begin = v1::BeginSetRequest {
        set_id: set_key.clone(),
        host: "a".into(),
        origin_lun_keys: vec!["data".into(), "wal".into()],
        copies: copies.clone(),
        ..Default::default()
    };
    bench.client.begin_set(begin).unwrap();
    bench.client.cut_set(v1::CutSetRequest { set_key: set_key.clone(), hold_limit_ms: 0 }).unwrap();
    bench.client.commit_set(v1::CommitSetRequest { set_key: set_key.clone() }).unwrap();
    bench.client.import(&set_key, "a", false).unwrap();

    let mut learned = copies[0].clone();
    learned.set_consistency(v1::Consistency::Application);
    let update =
        v1::UpdateSetRequest { set_key: set_key.clone(), copies: vec![learned], ..Default::default() };
    let set = bench.client.update_set(update.clone()).unwrap().set.unwrap();
    assert_eq!(set.copies[0].consistency(), v1::Consistency::Application);
    assert_eq!(set.copies[1], copies[1]);
    assert_eq!(bench.client.update_set(update).unwrap().outcome(), v1::Outcome::Unchanged);

    let delete = |copy: &v1::CopyRecord| {
        bench.client.delete_copy(v1::DeleteCopyRequest { copy_id: copy.copy_id.clone() })
    };
    let left = delete(&copies[0]).unwrap().set.unwrap();
    assert_eq!((left.copies.len(), left.luns.len()), (1, 1));
    assert_eq!(delete(&copies[1]).unwrap().outcome(), v1::Outcome::Deleted);
    assert_eq!(code(delete(&copies[1])), ErrorCode::ObjectNotFound);
    assert_eq!(code(bench.client.get_set(key(&set_key))), ErrorCode::ObjectNotFound);
    bench.reaped();
    assert_eq!(bench.client.list_luns(v1::ListLunsRequest::default()).unwrap().luns.len(), 2);
    bench.stop_and_check();
}

/// Neither costs a block of data; what they cost in time is told by `bench/pool`, rows 3 and 9.
#[test]
fn a_cut_and_a_break_of_many_luns_cost_no_data() {
    let bench = Bench::with_lun("data0", 10 * MIB);
    let names: Vec<String> = (0..32).map(|n| format!("data{n}")).collect();
    names[1..].iter().for_each(|name| drop(bench.client.create_lun(name, 10 * MIB)));
    bench.client.unmask("data0", "a");
    io(&bench, 1, "write", 0x33).unwrap();
    let used = || bench.client.status().pool.unwrap().data_used_bytes;
    let before = used();
    assert_eq!(before, MIB);

    let luns: Vec<&str> = names.iter().map(String::as_str).collect();
    let set = bench.client.create_set(&luns, false);
    bench.client.import(&set.id, "a", false).unwrap();
    bench.client.begin_break_of(&set.id, true).unwrap();
    bench.client.commit_break_of(&set.id, true).unwrap();
    assert_eq!(used(), before);
    bench.reaped();
    assert_eq!(used(), before);
    assert_eq!(set.luns.len(), 32);
    for part in &set.luns {
        assert_eq!(bench.client.lun(&part.working_lun_id).unwrap().kind(), v1::LunKind::Broken);
    }
}
