//! What is a usage error: exit 2, before any call.

use std::ffi::OsString;
use umbra_base::ExitCode;
use umbra_cli::{Action, run};

fn exit(line: &str) -> Option<ExitCode> {
    match run(line.split(' ').map(OsString::from)) {
        Action::Done(code) => Some(code),
        Action::ServeService(..) | Action::ServeArray(..) => None,
    }
}

#[test]
fn unknown_flags_and_missing_arguments_are_usage_errors() {
    for line in [
        "umbra --nonsense",
        "umbra nonsense",
        "umbra create",
        "umbra create --json",
        "umbra expose copy",
        "umbra lun create name",
        "umbra lun create name --size 10X",
        "umbra lun create name --size 1G --label nothing",
        "umbra lun create name --size 1G --reserve some",
        "umbra pool extend",
        "umbra diff",
        "umbra array serve --dir d --low 0",
        "umbra array serve --dir d --critical 101",
        "umbra array serve --dir d --full-wait 4000",
        "umbra lun unmask name",
        "umbra host add name",
        "umbra array serve",
        "umbra array serve --dir d --listen nowhere",
        "umbra array serve --dir d --insecure-no-auth",
        "umbra writers --quiet -v",
        "umbra lun mount l /x --partition 0",
    ] {
        assert_eq!(exit(line), Some(ExitCode::Usage), "{line}");
    }
}

#[test]
fn illegal_combinations_of_break_are_refused_before_any_call() {
    for flags in [
        "--mask --read-write",
        "--mask --revert-identity",
        "--mask --no-revert-identity",
        "--revert-identity --no-revert-identity",
        "--read-write --revert-identity --no-revert-identity",
    ] {
        let line = format!("umbra --socket /nonexistent/umbra.sock break set {flags}");
        assert_eq!(exit(&line), Some(ExitCode::Usage), "{flags}");
    }
}

#[test]
fn a_volatile_set_and_its_command_need_each_other() {
    assert_eq!(exit("umbra create /v --volatile"), Some(ExitCode::Usage));
    assert_eq!(exit("umbra create /v --exec true"), Some(ExitCode::Usage));
}

#[test]
fn help_and_version_are_answers() {
    for line in ["umbra --help", "umbra --version", "umbra create --help", "umbra lun --help"] {
        assert_eq!(exit(line), Some(ExitCode::Done), "{line}");
    }
}

#[test]
fn serving_is_handed_back() {
    assert_eq!(exit("umbra serve"), None);
    assert_eq!(exit("umbra array serve --dir /d --size 1G --listen 127.0.0.1:0"), None);
}
