//! The pool's offline commands as scripts see them: exit statuses, shapes, and what the tools of others say of the same
//! metadata. The golden pools are those of the checker's tests; a lab's pool stands for those that arrays make.

use crate::lab::{Lab, Ran, UMBRA, run};
use serde_json::Value;
use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A golden pool, unpacked in a folder of its own.
struct Pool {
    _folder: TempDir,
    file: PathBuf,
}

impl Pool {
    fn golden(name: &str) -> Pool {
        let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/dm-thin").join(name);
        let packed = fs::File::open(packed.with_extension("bin.zst")).unwrap();
        let mut bytes = Vec::new();
        ruzstd::decoding::StreamingDecoder::new(packed).unwrap().read_to_end(&mut bytes).unwrap();
        Pool::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Pool {
        let folder = tempfile::Builder::new().prefix("umbra-e2e").tempdir().unwrap();
        let file = folder.path().join("pool.meta");
        fs::write(&file, bytes).unwrap();
        Pool { _folder: folder, file }
    }

    /// The same with a byte of block `block` turned over.
    fn damaged(&self, block: usize) -> Pool {
        let mut bytes = fs::read(&self.file).unwrap();
        bytes[block * 4096 + 200] ^= 1;
        Pool::of(&bytes)
    }

    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    /// `umbra pool COMMAND FILE ARGS`
    fn umbra(&self, command: &str, args: &[&str]) -> Ran {
        let mut line = vec!["pool", command, self.path()];
        line.extend(args);
        run(UMBRA, &line)
    }

    /// What a tool prints of it, if the tool is there.
    fn tool(&self, program: &str, args: &[&str]) -> Option<String> {
        if run("sh", &["-c", &format!("command -v {program}")]).code != 0 {
            eprintln!("SKIPPED: {program} (package thin-provisioning-tools) is not there");
            return None;
        }
        let mut line = args.to_vec();
        line.push(self.path());
        Some(run(program, &line).ok().stdout)
    }
}

/// Exactly one object on stdout, in the present version, and nothing on stderr.
fn object(ran: &Ran) -> Value {
    let told = ran.json();
    assert_eq!(told["umbra"], 1, "{ran:?}");
    assert_eq!(ran.stderr, "", "{ran:?}");
    told
}

#[test]
fn a_sound_pool_is_clean_and_a_check_ends_with_0() {
    let pool = Pool::golden("writer/mid");
    let before = fs::read(&pool.file).unwrap();
    let told = object(&pool.umbra("check", &["--json"]).ok());
    assert_eq!((&told["verdict"], &told["findings_total"]), (&"clean".into(), &0.into()));
    assert_eq!((&told["pool"]["devices"], &told["pool"]["block_bytes"]), (&4.into(), &65536.into()));
    let text = pool.umbra("check", &[]).ok();
    assert!(text.stdout.contains("verdict   clean\n"), "{text:?}");
    assert!(fs::read(&pool.file).unwrap() == before, "a check changes nothing");
}

#[test]
fn wrong_counts_are_repairable_and_end_with_4() {
    // thin_restore of Debian 12 leaves wrong hints behind.
    let ran = Pool::golden("restore/snaps").umbra("check", &["--json"]);
    let told = object(&ran);
    assert_eq!(
        (ran.code, &told["verdict"], &told["lost"]),
        (4, &"repairable".into(), &Value::Array(Vec::new()))
    );
}

#[test]
fn a_damaged_leaf_is_named_with_its_block_and_what_it_costs() {
    let pool = Pool::golden("writer/mid").damaged(41);
    let ran = pool.umbra("check", &["--json"]);
    let told = object(&ran);
    assert_eq!((ran.code, &told["verdict"]), (4, &"error".into()));
    let finding = &told["findings"][0];
    assert_eq!(
        (&finding["problem"], &finding["block"], &finding["tree"], &finding["severity"]),
        (&"bad_checksum".into(), &41.into(), &"mapping tree".into(), &"error".into())
    );
    assert_eq!(finding["costs"]["what"], "virtual_blocks");
    let devices: Vec<&Value> = told["lost"].as_array().unwrap().iter().map(|lost| &lost["device"]).collect();
    assert_eq!(devices, finding["devices"].as_array().unwrap().iter().collect::<Vec<_>>());
    assert_eq!(
        told["lost"][0]["virtual_blocks"][0],
        serde_json::json!({
            "first": finding["costs"]["first"], "last": finding["costs"]["last"]
        })
    );
    let text = pool.umbra("check", &[]);
    assert_eq!(text.code, 4, "{text:?}");
    assert!(text.stdout.contains("block 41") && text.stdout.contains("lost      device"), "{text:?}");
}

#[test]
fn what_cannot_be_looked_at_ends_with_1_and_wrong_usage_with_2() {
    let missing = run(UMBRA, &["pool", "check", "/nonexistent/pool.meta", "--json"]);
    assert_eq!((missing.code, &object(&missing)["error"]["code"]), (1, &"io".into()));
    for args in [
        &["check"][..],
        &["dump", "x", "--format", "yaml"],
        &["delta", "x", "--from", "1"],
        &["check", "/dev/null"],
    ] {
        let mut line = vec!["pool"];
        line.extend(args);
        assert_eq!(run(UMBRA, &line).code, 2, "{args:?}");
    }
    let garbage = Pool::of(&[0x5A; 8192]);
    for (command, args) in
        [("check", &[][..]), ("dump", &[]), ("usage", &[]), ("delta", &["--from", "1", "--to", "2"])]
    {
        assert_eq!(garbage.umbra(command, args).code, 4, "{command}");
    }
}

#[test]
fn data_that_is_too_small_is_an_error() {
    let pool = Pool::golden("writer/mid");
    let data = pool.file.with_file_name("data");
    for (blocks, exit) in [(20_000, 0), (19_999, 4)] {
        fs::File::create(&data).unwrap().set_len(blocks * 65536).unwrap();
        let ran = pool.umbra("check", &["--data", data.to_str().unwrap(), "--json"]);
        assert_eq!(ran.code, exit, "{ran:?}");
    }
    // Beside the metadata of an array's folder the data is found by itself.
    fs::rename(&data, pool.file.with_file_name("pool.data")).unwrap();
    let ran = run(UMBRA, &["pool", "check", pool.file.parent().unwrap().to_str().unwrap(), "--json"]);
    assert_eq!((ran.code, &object(&ran)["findings"][0]["problem"]), (4, &"data_too_short".into()));
}

#[test]
fn a_pool_that_is_open_elsewhere_is_refused_with_what_to_do() {
    let pool = Pool::golden("writer/mid");
    let holder = fs::File::open(&pool.file).unwrap();
    holder.lock().unwrap();
    for (command, args) in
        [("check", &[][..]), ("dump", &[]), ("usage", &[]), ("delta", &["--from", "1", "--to", "2"])]
    {
        let ran = pool.umbra(command, &[args, &["--json"]].concat());
        let told = object(&ran);
        assert_eq!((ran.code, &told["error"]["code"]), (1, &"volume_in_use".into()), "{command}");
        assert!(told["error"]["hint"].as_str().unwrap().contains("stop the array"), "{told}");
    }
    drop(holder);
    pool.umbra("check", &[]).ok();
}

#[test]
fn dump_delta_and_usage_say_what_the_tools_say() {
    for name in ["writer/mid", "kernel/snaps", "kernel/held", "restore/snaps"] {
        let pool = Pool::golden(name);
        let Some(theirs) = pool.tool("thin_dump", &[]) else { return };
        assert!(pool.umbra("dump", &[]).ok().stdout == theirs, "{name}: dump");
        let usage = object(&pool.umbra("usage", &["--json"]).ok());
        assert_usage(&pool, name, &usage);
        let [left, right] = [0, 1].map(|n| usage["devices"][n]["device"].to_string());
        for verbose in [&[][..], &["--verbose"]] {
            let theirs = [&["--thin1", &left, "--thin2", &right], verbose].concat();
            let ours = [&["--from", &left, "--to", &right], verbose].concat();
            let theirs = pool.tool("thin_delta", &theirs).unwrap();
            assert!(pool.umbra("delta", &ours).ok().stdout == theirs, "{name}: delta {verbose:?}");
        }
    }
    let pool = Pool::golden("kernel/held");
    let Some(theirs) = pool.tool("thin_dump", &["-m"]) else { return };
    assert!(pool.umbra("dump", &["--held"]).ok().stdout == theirs, "the metadata snapshot");
}

/// Our usage, as object and as text, against thin_ls.
fn assert_usage(pool: &Pool, name: &str, usage: &Value) {
    let fields = "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS,TRANSACTION,CREATE_TIME,SNAP_TIME";
    let theirs = pool.tool("thin_ls", &["--no-headers", "-o", fields]).unwrap();
    let rows = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let theirs = rows(&theirs);
    let names = [
        "device",
        "mapped_blocks",
        "exclusive_blocks",
        "shared_blocks",
        "transaction_id",
        "creation_time",
        "snapshotted_time",
    ];
    let devices = usage["devices"].as_array().unwrap();
    let ours: Vec<Vec<String>> =
        devices.iter().map(|device| names.map(|name| device[name].to_string()).to_vec()).collect();
    assert_eq!(ours, theirs, "{name}");
    let text = rows(&pool.umbra("usage", &["--blocks"]).ok().stdout);
    assert_eq!(text[1..=theirs.len()], theirs, "{name}: as text");
}

#[test]
fn a_dump_as_json_holds_what_the_xml_holds() {
    let pool = Pool::golden("kernel/snaps");
    let told = object(&pool.umbra("dump", &["--json"]).ok());
    assert_eq!(told, pool.umbra("dump", &["--format", "json"]).ok().json());
    assert_eq!(told["error"], Value::Null);
    let devices = told["devices"].as_array().unwrap();
    let runs = |device: &Value| device["mappings"].as_array().unwrap().len();
    let xml = pool.umbra("dump", &[]).ok().stdout;
    assert_eq!(devices.iter().map(runs).sum::<usize>(), xml.matches("_mapping ").count());
    for device in devices {
        let mapped = device["mappings"].as_array().unwrap().iter().map(|run| run["length"].as_u64().unwrap());
        assert_eq!(mapped.sum::<u64>(), device["mapped_blocks"], "{}", device["device"]);
    }
    let some =
        object(&pool.umbra("dump", &["--json", "--device", "13", "--device", "1", "--skip-mappings"]).ok());
    let ids: Vec<&Value> =
        some["devices"].as_array().unwrap().iter().map(|device| &device["device"]).collect();
    assert_eq!(ids, [13, 1]);
    assert!(some["devices"][0]["mappings"].is_null());
    let unknown = pool.umbra("dump", &["--json", "--device", "99"]);
    assert_eq!((unknown.code, &object(&unknown)["error"]["code"]), (1, &"object_not_found".into()));
}

#[test]
fn changes_alone_are_the_differences_without_what_is_the_same() {
    let pool = Pool::golden("kernel/snaps");
    let differences = |args: &[&str]| {
        let told =
            object(&pool.umbra("delta", &[&["--json", "--from", "0", "--to", "11"], args].concat()).ok());
        told["differences"].as_array().unwrap().clone()
    };
    let mut whole = differences(&[]);
    let all = whole.len();
    whole.retain(|run| run["kind"] != "same");
    assert!(!whole.is_empty() && whole.len() < all);
    assert_eq!(differences(&["--changed"]), whole);
}

#[test]
fn a_listing_that_meets_damage_is_a_whole_object_and_ends_with_4() {
    let pool = Pool::golden("writer/mid").damaged(41);
    let ran = pool.umbra("dump", &["--json"]);
    let told = object(&ran);
    assert_eq!((ran.code, &told["error"]["code"], &told["error"]["exit"]), (4, &"corrupt".into(), &4.into()));
    let text = pool.umbra("dump", &[]);
    assert_eq!(text.code, 4);
    assert!(text.stderr.contains("block 41") && text.stderr.contains("hint: "), "{}", text.stderr);
    let usage = pool.umbra("usage", &["--json"]);
    assert_eq!((usage.code, &object(&usage)["error"]["code"]), (4, &"corrupt".into()));
}

#[test]
fn a_reader_that_goes_away_ends_a_listing_quietly() {
    let pool = Pool::golden("writer/fuzz5");
    for args in [&["dump"][..], &["dump", "--json"]] {
        let mut line = vec!["pool", args[0], pool.path()];
        line.extend(&args[1..]);
        let mut child = Command::new(UMBRA)
            .args(&line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    }
}

#[test]
fn the_pool_of_an_array_is_refused_while_it_runs_and_judged_when_it_is_dead_or_stopped() {
    let Some(mut lab) = Lab::new() else { return };
    let at = lab.mounted("disk", "256M", "ext4");
    fs::File::create(at.join("file")).unwrap().write_all(&[7; 1 << 20]).unwrap();
    run("sync", &["-f", at.to_str().unwrap()]).ok();
    lab.create(&[&at]);
    let folder = lab.path("array");
    let check = || run(UMBRA, &["pool", "check", folder.to_str().unwrap(), "--json"]);
    let busy = check();
    assert_eq!((busy.code, &object(&busy)["error"]["code"]), (1, &"volume_in_use".into()));

    lab.kill_array();
    let dead = object(&check().ok());
    assert_eq!((&dead["verdict"], &dead["behind_log"]), (&"clean".into(), &true.into()), "{dead}");

    lab.start_array(&[]);
    lab.umbra(&["lun", "unmount", at.to_str().unwrap()]).ok();
    lab.umbra(&["lun", "detach", "disk"]).ok();
    lab.stop_array();
    let stopped = object(&check().ok());
    assert_eq!((&stopped["verdict"], &stopped["behind_log"]), (&"clean".into(), &false.into()), "{stopped}");
    assert_eq!(stopped["findings_total"], 0);
    assert_tools_agree(&folder);
}

fn assert_tools_agree(folder: &Path) {
    let pool = Pool::of(&fs::read(folder.join("pool.meta")).unwrap());
    let Some(theirs) = pool.tool("thin_dump", &[]) else { return };
    assert!(pool.umbra("dump", &[]).ok().stdout == theirs, "dump");
    let usage = object(&pool.umbra("usage", &["--json"]).ok());
    assert!(usage["devices"].as_array().unwrap().len() >= 3, "the LUN and both copies: {usage}");
    assert_usage(&pool, "the array's", &usage);
}
