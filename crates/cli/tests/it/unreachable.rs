//! With nobody at the other end every client command ends with exit 3, `unreachable` and a hint.

use std::ffi::OsString;
use umbra_base::ExitCode;
use umbra_cli::{Action, run};

/// Each client command, as it would be called.
const COMMANDS: [&str; 31] = [
    "writers",
    "providers",
    "volumes",
    "create /v",
    "list",
    "list --broken",
    "show s --timeline",
    "expose c /p",
    "unexpose c",
    "break s",
    "delete s",
    "lun create l --size 1G",
    "lun list",
    "lun show l",
    "lun delete l",
    "lun extend l --size 2G",
    "lun rename l m",
    "lun read-only l",
    "lun read-write l",
    "lun unmask l --to h",
    "lun mask l",
    "lun attach l",
    "lun detach l",
    "lun mount l /p",
    "lun unmount /p",
    "host list",
    "host secret h",
    "pool status",
    "pool extend --data 1G",
    "diff c",
    "diff c d",
];

#[test]
fn nobody_at_the_other_end_is_a_reason_to_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, array) = (folder.path().join("u.sock"), folder.path().join("a.sock"));
    for format in ["", "--json "] {
        for command in COMMANDS {
            let line = format!(
                "umbra {format}--socket {} --array unix:{} {command}",
                socket.display(),
                array.display()
            );
            let Action::Done(code) = run(line.split(' ').map(OsString::from)) else {
                panic!("{line} serves")
            };
            assert_eq!(code, ExitCode::TryAgain, "{line}");
        }
    }
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    let Action::Done(code) = run(["umbra", "--array", "nowhere", "lun", "list"].map(OsString::from)) else {
        panic!("it serves")
    };
    assert_eq!(code, ExitCode::Usage);
}
