//! What a restart brings back, clean or after a kill.

use crate::bench::{
    Bench, Client, HOST_A, HOST_B, Kill, MIB, code, eventually, iscsi_inq, key, lun_tool, options, run,
    thin_check,
};
use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Stdio},
};
use umbra_api::v1;
use umbra_array::{PoolFiles, Server};
use umbra_base::ErrorCode;

const CHILD_DIR: &str = "UMBRA_TEST_ARRAY_DIR";

/// Not a test: the array as a process of its own, when the variable says where.
#[test]
fn child_array() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        umbra_array::serve(options(Path::new(&dir))).unwrap();
    }
}

fn spawn(dir: &Path) -> Kill {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "restart::child_array", "--nocapture"]).env(CHILD_DIR, dir);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the array is ready", || {
        std::os::unix::net::UnixStream::connect(dir.join("array.sock")).is_ok()
    });
    Kill(child)
}

fn signal(child: &Kill, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(&child.0), signal).unwrap();
}

#[test]
fn after_a_kill_everything_comes_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut array = spawn(dir.path());
    let client = Client::connect(dir.path());
    client.add_host("a", HOST_A);
    client.add_host("b", HOST_B);
    let lun = client.create_lun("data", 10 * MIB);
    client.unmask("data", "a");
    let secret = client.secret("a");
    let breaking = client.create_set(&["data"], false);
    client.import(&breaking.id, "a", false).unwrap();
    client.begin_break_of(&breaking.id, true).unwrap();
    let created = client.create_set(&["data"], true);
    let pending = client.begin(&["data"], false, 600_000);
    client.cut_set(v1::CutSetRequest { set_key: pending.clone(), hold_limit_ms: 0 }).unwrap();

    array.0.kill().unwrap();
    array.0.wait().unwrap();
    array = spawn(dir.path());
    let client = Client::connect(dir.path());
    assert_eq!(client.secret("a"), secret);
    let again = client.lun(&lun.id).unwrap();
    assert_eq!((&again.serial, again.presentations[0].number), (&lun.serial, 1));
    assert_eq!(
        client.get_set(key(&breaking.id)).unwrap().state(),
        v1::SetState::Breaking,
        "the host decides"
    );
    assert_eq!(client.get_set(key(&created.id)).unwrap().state(), v1::SetState::Created);
    assert_eq!(code(client.get_set(key(&pending))), ErrorCode::LeaseExpired);
    assert_eq!(client.list_luns(v1::ListLunsRequest::default()).unwrap().luns.len(), 3);
    let status = client.status();
    let url = format!("iscsi://{}/{}/1", status.portals[0], status.iqn);
    assert!(iscsi_inq(&url, HOST_A, Some(&secret), None).0, "masks are in force, secrets known");
    client.commit_break_of(&breaking.id, true).unwrap();

    signal(&array, rustix::process::Signal::TERM);
    assert!(array.0.wait().unwrap().success(), "SIGTERM is a clean stop");
    thin_check(dir.path());
    assert!(!dir.path().join("array.sock").exists() && !dir.path().join("iscsi.sock").exists());
}

#[test]
fn a_second_array_on_the_folder_is_refused_and_disturbs_nothing() {
    let bench = Bench::with_lun("data", MIB);
    let refused = Server::start(options(bench.dir.path())).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::VolumeInUse);
    bench.client.lun("data").unwrap();
    Client::connect(bench.dir.path()).lun("data").unwrap();
}

#[test]
fn a_first_start_needs_a_size_and_a_later_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let none = umbra_array::Options { size: None, ..options(dir.path()) };
    assert_eq!(Server::start(none.clone()).unwrap_err().code(), ErrorCode::InvalidArgument);
    Server::start(options(dir.path())).unwrap().stop().unwrap();
    Server::start(none).unwrap().stop().unwrap();
}

#[test]
fn the_pool_may_lie_elsewhere() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = PoolFiles { data: elsewhere.path().join("d"), meta: elsewhere.path().join("m") };
    std::fs::File::create(&files.data).unwrap().set_len(64 * MIB).unwrap();
    let options =
        umbra_array::Options { files: Some(files.clone()), ..umbra_array::Options::new(dir.path()) };
    for _first_and_again in 0..2 {
        let server = Server::start(options.clone()).unwrap();
        assert_eq!(Client::connect(dir.path()).status().pool.unwrap().data_bytes, 64 * MIB);
        // The same pool for another folder: refused by the pool's own lock.
        let other = tempfile::tempdir().unwrap();
        let other =
            umbra_array::Options { files: Some(files.clone()), ..umbra_array::Options::new(other.path()) };
        assert_eq!(Server::start(other).unwrap_err().code(), ErrorCode::VolumeInUse);
        server.stop().unwrap();
    }
    assert!(!dir.path().join("pool.data").exists());
}

#[test]
fn a_clean_restart_changes_nothing_that_a_user_sees() {
    let mut bench = Bench::with_lun("data", 10 * MIB);
    bench.client.unmask("data", "b");
    let set = bench.client.create_set(&["data"], false);
    let (before, lun) = (bench.client.status(), bench.client.lun("data").unwrap());
    bench.restart();
    let after = bench.client.status();
    assert_eq!(
        (&after.array_id, &after.iqn, after.revision),
        (&before.array_id, &before.iqn, before.revision)
    );
    let again = bench.client.lun("data").unwrap();
    assert_eq!((again.naa, again.serial, again.revision), (lun.naa, lun.serial, lun.revision));
    assert_eq!(bench.client.get_set(key(&set.id)).unwrap(), set);
    bench.stop_and_check();
}

/// Changes a bit in the root of the mapping tree that the second LUN of a pool has (reference sections 4 and 5.1).
fn damage_second_lun(meta: &Path) {
    const BLOCK: u64 = 4096;
    const MAPPING_ROOT: u64 = 320;
    const MAX_ENTRIES: u64 = 20;
    const NODE_HEADER: u64 = 32;
    let file = OpenOptions::new().read(true).write(true).open(meta).unwrap();
    let number = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    };
    let leaf = number(MAPPING_ROOT) * BLOCK;
    let keys = number(leaf + MAX_ENTRIES) & u64::from(u32::MAX);
    let damaged = number(leaf + NODE_HEADER + 8 * keys + 8) * BLOCK + 100;
    let byte = number(damaged) as u8;
    file.write_all_at(&[byte ^ 1], damaged).unwrap();
}

/// Design A6, decision 008.
#[test]
fn damage_is_named_and_stops_what_needs_it_alone() {
    let mut bench = Bench::with_lun("sound", MIB);
    bench.client.create_lun("hurt", MIB);
    for (lun, number) in [("sound", 1), ("hurt", 2)] {
        bench.client.unmask(lun, "a");
        let (written, why) = run(&mut lun_tool(&bench, ("a", HOST_A), number, "write", 7));
        assert!(written, "{lun}: {why}");
    }
    bench.stop();
    damage_second_lun(&bench.dir.path().join("pool.meta"));

    bench.start_again();
    let does = |number, what, byte| run(&mut lun_tool(&bench, ("a", HOST_A), number, what, byte)).0;
    for what in ["read", "write"] {
        assert!(!does(2, what, 7), "{what} of the damaged LUN");
    }
    assert!(does(1, "read", 7) && does(1, "write", 8) && does(1, "read", 8), "the sound LUN");
    bench.client.create_lun("new", MIB);
    let pool = bench.client.status().pool.unwrap();
    assert_eq!((pool.mode.as_str(), pool.damage.len()), ("read_write", 1), "{pool:?}");
    assert!(
        pool.damage[0].starts_with("cannot read the mappings of virtual blocks 0 and above of device 2 "),
        "{pool:?}"
    );
}
