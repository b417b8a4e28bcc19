//! The demo is the story; here it is run as a user runs it: twice at once, and again right after.

use crate::lab::{Ran, UMBRA};
use std::process::{Child, Command, Stdio};

fn demo() -> Child {
    Command::new("timeout")
        .args(["300", UMBRA, "demo", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn told(child: Child) -> Vec<String> {
    let output = child.wait_with_output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
    .ok();
    let story = ran.json();
    let steps = story["steps"].as_array().expect("steps");
    for step in steps {
        assert_eq!(step["ok"], true, "{step}");
    }
    steps.iter().map(|step| step["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_whole_story_twice_at_once_and_again() {
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: the demo needs root and /dev/fuse");
        return;
    }
    let (one, two) = (demo(), demo());
    let (one, two) = (told(one), told(two));
    assert_eq!(one, two, "two at once tell the same story");
    assert_eq!(one, told(demo()), "and so does one right after");
}
