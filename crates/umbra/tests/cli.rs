//! The binary as scripts see it: what is on stdout, what on stderr, which exit status. No server runs, no root is needed.

use serde_json::Value;
use std::process::{Command, Output, Stdio};

fn umbra(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_umbra"))
        .args(["--socket", "/nonexistent/umbra.sock", "--array", "unix:/nonexistent/array.sock"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("start umbra")
}

#[test]
fn an_error_is_three_lines_on_stderr_and_nothing_on_stdout() {
    let ran = umbra(&["lun", "list"]);
    assert_eq!(ran.status.code(), Some(3));
    assert!(ran.stdout.is_empty());
    let told = String::from_utf8(ran.stderr).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].starts_with("error: connect to the array at unix:/nonexistent/array.sock"), "{told}");
    assert_eq!(lines[1], "  code: unreachable (trying again may succeed)");
    assert!(lines[2].starts_with("  hint: "), "{told}");
}

#[test]
fn with_json_an_error_is_one_object_on_stdout_and_nothing_on_stderr() {
    for args in [&["--json", "lun", "list"][..], &["break", "x", "--json", "--mask", "--read-write"]] {
        let ran = umbra(args);
        let told: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        assert_eq!(told["umbra"], 1);
        assert_eq!(told["error"]["exit"].as_i64(), ran.status.code().map(i64::from), "{told}");
        assert!(told["error"]["hint"].is_string(), "{told}");
        assert!(ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_umbra"))
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start umbra");
    drop(child.stdout.take());
    let ran = child.wait_with_output().expect("wait");
    assert_eq!(ran.status.code(), Some(0));
    assert!(ran.stderr.is_empty());
}

#[test]
fn an_array_without_a_pool_and_a_size_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let ran = umbra(&["array", "serve", "--dir", folder.path().join("array").to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(2));
    let told = String::from_utf8(ran.stderr).unwrap();
    assert!(told.contains("--size"), "{told}");
}
